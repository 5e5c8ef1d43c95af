"""Endurance: a long run in which a tenth of the chunks fail at first, and workers are killed all along."""

from __future__ import annotations

import os
import resource
import shlex
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil
import pytest

from badc.telemetry.events import EventStatus, FailureKind, read_events
from tests.conftest import FAKES
from tests.flows.conftest import read_summary, unended_starts
from tests.flows.server.test_books import short_chunks

pytestmark = [pytest.mark.slow, pytest.mark.long]
CHUNKS, PER_TASK, KILL_EVERY = 20_000, 5, 500
TASKS = CHUNKS // PER_TASK
HOST = FAKES / "flaky_resident.py"
PARTS = 5  # of the run, over which what it holds is compared


@dataclass(frozen=True, slots=True)
class Held:
    """What the command's own process holds when so many chunks are done."""

    done: int
    mib: float
    threads: int
    descriptors: int


def test_20000_chunks_are_each_done_once_whatever_fails_and_dies(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    host = shlex.join([sys.executable, "-S", "-E", str(HOST), str(tmp_path / "state")])
    words = ["infer", "run", short_chunks(tmp_path, CHUNKS), "--runner-resident", host, "--chunks-per-task", PER_TASK]
    words += ["--cpu-workers", 2, "--max-gpus", 0, "--output-dir", "out", "--telemetry-log", "run.jsonl"]
    begin, cpu_before_s = time.monotonic(), _cpu_s()
    with (tmp_path / "said.txt").open("w") as said:
        run = subprocess.Popen(
            [sys.executable, "-m", "flows", *map(str, words)],
            cwd=tmp_path,
            env=os.environ | {"PREFECT_API_URL": "", "PREFECT_HOME": str(tmp_path / "prefect")},
            stdout=said,
            stderr=said,
        )
        try:
            held, kills = _watch(run, tmp_path / "run.jsonl")
        finally:
            run.kill()
    parts = _in_parts(held)
    print(f"\n{time.monotonic() - begin:.0f} s, {_cpu_s() - cpu_before_s:.0f} s of a core, {kills} workers killed")
    print(*parts, sep="\n")
    assert run.returncode == 0, (tmp_path / "said.txt").read_text()[-3000:]
    assert kills >= CHUNKS // KILL_EVERY - 1

    _require_each_done_once(tmp_path)
    _require_right_books(tmp_path / "prefect" / "prefect.db")
    first, last = parts[1], parts[-1]  # the first part also brings up what there is one of
    assert last.mib - first.mib < 20
    assert last.threads - first.threads <= 4
    # About three stay open for each killed worker, but none for a chunk.
    assert last.descriptors - first.descriptors <= 8 + 4 * kills


def _watch(run: subprocess.Popen[bytes], log: Path) -> tuple[list[Held], int]:
    """Kill a worker whenever so many more chunks are done; return what the process held meanwhile, and the kills."""
    process = psutil.Process(run.pid)
    held: list[Held] = []
    done = kills = position = 0
    while run.poll() is None:
        time.sleep(0.5)
        if log.exists():
            with log.open("rb") as stream:
                stream.seek(position)
                new = stream.read()
            whole = new[: new.rfind(b"\n") + 1]
            position += len(whole)
            done += whole.count(b'"status":"success"')
        try:
            if done >= (kills + 1) * KILL_EVERY and done < CHUNKS:
                kills += _kill_a_worker(process)
            with process.oneshot():
                mib = process.memory_info().rss / (1 << 20)
                held.append(Held(done, mib, process.num_threads(), process.num_fds()))
        except psutil.Error:  # one that has just ended
            continue
    return held, kills


def _kill_a_worker(process: psutil.Process) -> bool:
    """Kill a worker that has its host, as a lack of memory would; return whether there was one."""
    for child in process.children(recursive=True):
        if str(HOST) in child.cmdline() and (worker := child.parent()) is not None:
            worker.kill()
            return True
    return False


def _in_parts(held: list[Held]) -> list[Held]:
    """Return the medians of what was held in each of a few equal parts of the run, from first chunk to last."""
    running = [each for each in held if 0 < each.done < CHUNKS]
    parts = [[each for each in running if each.done * PARTS // CHUNKS == part] for part in range(PARTS)]
    return [
        Held(
            part[-1].done,
            median(each.mib for each in part),
            round(median(each.threads for each in part)),
            round(median(each.descriptors for each in part)),
        )
        for part in parts
    ]


def _require_each_done_once(folder: Path) -> None:
    log = folder / "run.jsonl"
    events = list(read_events(log))
    done = Counter(event.chunk_id for event in events if event.status is EventStatus.SUCCESS)
    assert len(done) == CHUNKS
    assert set(done.values()) == {1}
    assert unended_starts(log) == []
    failures = [event for event in events if event.status is EventStatus.FAILURE]
    lost = [event for event in failures if event.details.get("failure_kind") == FailureKind.WORKER_LOST]
    on_purpose = [event for event in failures if "fails on purpose" in event.details["error"]]
    failed_once = {path.name for path in (folder / "state").iterdir()}
    print(f"{len(on_purpose)} failures on purpose, {len(lost)} attempts lost with their worker, {len(failures)} in all")
    assert len(on_purpose) + len(lost) == len(failures)
    assert {event.chunk_id for event in on_purpose} <= failed_once
    # A worker may die with the answer of its host.
    assert len(failed_once) - len(on_purpose) <= len(lost)
    assert 0.09 * CHUNKS < len(failed_once) < 0.11 * CHUNKS

    summary = read_summary(log)
    assert summary["state"] == "completed"
    assert Counter(job["status"] for job in summary["jobs"].values()) == {"success": CHUNKS}
    assert sum(worker["success"] for worker in summary["workers"].values()) == CHUNKS
    assert len(list((folder / "out" / "REC").glob("*.json"))) == CHUNKS


def _require_right_books(database: Path) -> None:
    """Require that Prefect knows every task run, all completed, and the flow run that had them."""
    with sqlite3.connect(database) as connection:
        tasks = connection.execute("SELECT state_type, count(*) FROM task_run GROUP BY 1").fetchall()
        flows = connection.execute("SELECT state_type, count(*) FROM flow_run GROUP BY 1").fetchall()
        (again,) = connection.execute("SELECT count(*) FROM task_run WHERE run_count > 1").fetchone()
    print(f"{tasks} task runs, {again} of them with a retry; {database.stat().st_size / TASKS / 1000:.1f} kB for each")
    assert tasks == [("COMPLETED", TASKS)]
    assert flows == [("COMPLETED", 1)]
    assert again > 0.3 * TASKS  # at least one of the chunks failed: 1 - 0.9 ** PER_TASK


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
