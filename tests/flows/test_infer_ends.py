"""How runs end that do not end by themselves, and how the next run goes on from there."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from badc.telemetry.events import EventStatus, read_events
from badc.telemetry.summary import RunState
from tests.flows.conftest import read_summary, unended_starts

pytestmark = pytest.mark.slow
START_TIMEOUT_S = 90.0


def wait_until(condition: Callable[[], bool], timeout_s: float = START_TIMEOUT_S) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "what the test waits for did not happen"
        time.sleep(0.05)


def successes(log: Path) -> set[str]:
    return {e.chunk_id for e in read_events(log) if e.status is EventStatus.SUCCESS} if log.exists() else set()


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def gone(processes: list[psutil.Process]) -> bool:
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


def analysed(state: Path) -> dict[str, int]:
    """How often the fake detector was started for each chunk."""
    return {path.name: len(path.read_text().splitlines()) for path in state.iterdir()}


@pytest.fixture
def started(badc, make_recording, make_manifest, fake, tmp_path):
    """A run of 20 chunks of half a second each, on two workers of its own, of which some are done."""
    manifest = make_manifest(make_recording(seconds=20))
    log = tmp_path / "first.jsonl"
    command = fake("detector", "--seconds", 0.5, "--state", tmp_path / "state")
    words = ["infer", "run", manifest, "--runner-cmd", command, "--cpu-workers", 2, "--output-dir", "out"]
    process = badc(*words, "--telemetry-log", log)
    wait_until(lambda: len(successes(log)) >= 3)
    yield process, words, log
    if process.poll() is None:
        process.kill()


def test_after_kill_9_the_telemetry_log_is_enough_to_resume(started, badc, tmp_path):
    process, words, log = started
    children = family(process)
    process.kill()
    process.communicate()
    wait_until(lambda: gone(children), 30)
    done = successes(log)
    assert 0 < len(done) < 20
    for path in (tmp_path / "out" / "REC").glob("*.json"):
        assert path.read_bytes().endswith(b"}\n"), "outputs that exist are whole"

    before = analysed(tmp_path / "state")
    second = badc(*words, "--telemetry-log", tmp_path / "second.jsonl", "--resume-summary", log)
    _, err = second.communicate(timeout=120)
    assert second.returncode == 0, err
    after = analysed(tmp_path / "state")
    assert {chunk for chunk in after if after[chunk] > before.get(chunk, 0)} == set(after) - done
    summary = read_summary(tmp_path / "second.jsonl")
    assert summary["state"] == "completed"
    assert [job["status"] for job in summary["jobs"].values()] == ["success"] * 20
    skipped = {e.chunk_id for e in read_events(tmp_path / "second.jsonl") if e.status is EventStatus.SKIPPED}
    assert skipped == done

    # Resume once more, from the second run's log alone, after one output was deleted: only that one runs again.
    (tmp_path / "out" / "REC" / "REC_chunk_0_1000.json").unlink()
    third = badc(*words, "--telemetry-log", tmp_path / "third.jsonl", "--resume-summary", tmp_path / "second.jsonl")
    assert third.wait(120) == 0
    assert successes(tmp_path / "third.jsonl") == {"REC_chunk_0_1000"}
    assert len(read_summary(tmp_path / "third.jsonl")["jobs"]) == 20


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_a_signal_lets_running_chunks_finish_and_leaves_no_orphans(started, number):
    process, _, log = started
    children = family(process)
    line = next(line for line in process.stderr if line.startswith("Telemetry: "))
    assert line == f"Telemetry: {log}\n"
    assert process.poll() is None, "so that the log can be followed"
    # As a terminal does it, and Prefect's worker: to every process of the group.
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=60)

    assert process.returncode == 130, err
    summary = read_summary(log)
    assert summary["state"] == "interrupted"
    statuses = [job["status"] for job in summary["jobs"].values()]
    assert statuses.count("not_run") > 0
    assert "failure" not in statuses, "running chunks were let finish"
    failed = [e.details["error"] for e in read_events(log) if e.status is EventStatus.FAILURE]
    assert failed == [], "in their first attempt: the workers were left alone"
    assert statuses.count("success") == len(successes(log))
    assert unended_starts(log) == []
    assert "Resume with: badc infer run" in err
    assert "Traceback" not in err
    wait_until(lambda: gone(children), 30)


@pytest.mark.long
def test_a_run_that_is_interrupted_begins_no_further_chunk_of_a_batch(
    badc, make_recording, make_manifest, fake, tmp_path
):
    log = tmp_path / "run.jsonl"
    command = fake("detector", "--seconds", 0.5)
    process = badc(
        *("infer", "run", make_manifest(make_recording(seconds=60)), "--runner-cmd", command),
        *("--chunks-per-task", 60, "--grace-period", 600, "--output-dir", "out", "--telemetry-log", log),
    )
    wait_until(lambda: successes(log))
    process.send_signal(signal.SIGINT)
    wait_until(lambda: "no new chunks" in process.stderr.readline())
    done = len(successes(log))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    statuses = Counter(job["status"] for job in read_summary(log)["jobs"].values())
    assert set(statuses) == {"success", "not_run"}, "neither a failure nor an attempt that was cut off"
    assert statuses["success"] <= done + 4, "the one that ran, and what began before the worker heard of it"


@pytest.mark.long
def test_a_second_ctrl_c_stops_running_chunks_at_once(badc, make_recording, make_manifest, fake, tmp_path):
    log = tmp_path / "run.jsonl"
    command = fake("detector", "--seconds", 300, "--state", tmp_path / "state")
    manifest = make_manifest(make_recording())
    process = badc("infer", "run", manifest, "--runner-cmd", command, "--output-dir", "out", "--telemetry-log", log)
    wait_until(lambda: (tmp_path / "state").exists() and any((tmp_path / "state").iterdir()))
    children = family(process)
    assert any("detector.py" in " ".join(child.cmdline()) for child in children)
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)

    assert process.returncode == 130, err
    assert read_summary(log)["state"] == "interrupted"
    assert unended_starts(log) == []
    wait_until(lambda: gone(children), 30)


@pytest.mark.long
def test_a_killed_workers_chunk_runs_again_without_user_action(badc, make_recording, make_manifest, fake, tmp_path):
    log = tmp_path / "run.jsonl"
    manifest = make_manifest(make_recording(seconds=3))
    command = fake("detector", "--seconds", 2, "--state", tmp_path / "state")
    process = badc(
        *("infer", "run", manifest, "--runner-cmd", command, "--output-dir", "out", "--telemetry-log", log),
        *("--max-retries", 0),
    )
    wait_until(lambda: (tmp_path / "state").exists() and any((tmp_path / "state").iterdir()))
    detector = next(child for child in family(process) if "detector.py" in " ".join(child.cmdline()))
    worker = detector.parent()
    worker.kill()
    _, err = process.communicate(timeout=120)

    assert process.returncode == 0, err
    assert gone([detector]), "the killed worker's command went with it"
    summary = read_summary(log)
    assert [job["status"] for job in summary["jobs"].values()] == ["success"] * 3
    lost = [e for e in read_events(log) if e.status is EventStatus.FAILURE]
    assert len(lost) == 1
    assert "the worker died during this attempt" in lost[0].details["error"]
    assert unended_starts(log) == []


def test_cancelling_in_prefect_stops_a_run_that_was_started_from_the_shell(started, prefect_api):
    process, _, log = started
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
    from prefect.states import Cancelling

    with get_client(sync_client=True) as client:
        run = client.read_flow_runs(sort="START_TIME_DESC", limit=1)[0]
        assert run.state.is_running()
        client.set_flow_run_state(run.id, Cancelling())
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130, err
        assert client.read_flow_run(run.id).state.is_cancelled()
        of_run = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
        # States travel as events, which the server takes in when it can.
        wait_until(lambda: all(each.state.is_final() for each in client.read_task_runs(flow_run_filter=of_run)), 60)
        states = {each.state_name for each in client.read_task_runs(flow_run_filter=of_run)}
    assert "Cancelled" in states
    assert states <= {"Cancelled", "Completed"}
    assert "cancelled in Prefect" in err
    assert read_summary(log)["state"] == "interrupted"


@pytest.mark.long
def test_a_run_outlives_its_prefect_server(badc, make_recording, make_manifest, fake, tmp_path):
    log = tmp_path / "run.jsonl"
    manifest = make_manifest(make_recording(seconds=6))
    command = fake("detector", "--seconds", 1)
    process = badc(
        *("infer", "run", manifest, "--runner-cmd", command, "--output-dir", "out", "--telemetry-log", log),
        PREFECT_API_URL="",
        PREFECT_HOME=str(tmp_path / "prefect"),
    )
    wait_until(lambda: len(successes(log)) >= 1)
    servers = [child for child in family(process) if "flows.server.app" in child.cmdline()]
    assert len(servers) == 1, "exactly one local server"
    (port,) = {listener.laddr.port for listener in servers[0].net_connections("tcp") if listener.status == "LISTEN"}
    servers[0].kill()
    servers[0].wait(10)
    with pytest.raises(OSError, match="in use"):  # by the run: nobody else gets the port meanwhile
        socket.create_server(("127.0.0.1", port))
    _, err = process.communicate(timeout=150)

    assert process.returncode == 0, err
    assert len(successes(log)) == 6
    assert read_summary(log)["state"] == "completed"
    assert "Traceback" not in err
    assert "prefect" not in err, "nothing but our own output"


def test_an_api_that_does_not_answer_is_refused(badc, make_recording, make_manifest, tmp_path):
    begin = time.monotonic()
    process = badc("infer", "run", make_manifest(make_recording()), PREFECT_API_URL="http://127.0.0.1:9/api")
    _, err = process.communicate(timeout=60)

    assert process.returncode == 2
    assert "PREFECT_API_URL http://127.0.0.1:9/api: no Prefect server answers there" in err
    assert "Traceback" not in err
    assert time.monotonic() - begin < 30


def test_a_scheduler_that_does_not_answer_is_refused(infer, make_recording, make_manifest):
    from badc.errors import RequestError

    with pytest.raises(RequestError, match=r"--scheduler tcp://127.0.0.1:9: no Dask scheduler answers"):
        infer(make_manifest(make_recording()), scheduler="tcp://127.0.0.1:9")


@pytest.mark.long
def test_after_200_chunks_prefect_has_200_completed_task_runs(infer, make_recording, make_manifest):
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import TaskRunFilter

    outcome = infer(make_manifest(make_recording(seconds=20), chunk_s=0.1))
    assert outcome.state is RunState.COMPLETED
    assert outcome.progress.done == 200

    with get_client(sync_client=True) as client:
        run = client.read_flow_runs(sort="START_TIME_DESC", limit=1)[0]
        assert run.state.is_completed()
        of_run = {"flow_run_id": {"any_": [run.id]}}

        def count(**state: object) -> int:
            found, offset = 0, 0
            while page := client.read_task_runs(
                task_run_filter=TaskRunFilter.model_validate(of_run | state), limit=200, offset=offset
            ):
                found, offset = found + len(page), offset + len(page)
            return found

        # States travel as events, which the server takes in when it can.
        wait_until(lambda: count(state={"type": {"any_": ["COMPLETED"]}}) == 200, 60)
        assert count() == 200


@pytest.mark.long
@pytest.mark.parametrize(("number", "after_s"), [(signal.SIGINT, 1.5), (signal.SIGTERM, 0.7)])
def test_a_signal_during_the_start_ends_it_cleanly(badc, make_recording, make_manifest, tmp_path, number, after_s):
    log = tmp_path / "run.jsonl"
    process = badc("infer", "run", make_manifest(make_recording()), "--output-dir", "out", "--telemetry-log", log)
    time.sleep(after_s)
    children = family(process)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)

    assert process.returncode in (130, -number), "before Python has its handlers the system ends it"
    assert "Traceback" not in err
    assert not log.exists() or read_summary(log)["state"] == "interrupted"
    wait_until(lambda: gone(children), 30)


@pytest.mark.long
def test_ctrl_c_while_the_workers_come_up_ends_a_run_cleanly(badc, make_recording, make_manifest):
    process = badc("infer", "run", make_manifest(make_recording()), "--max-gpus", 0, "--cpu-workers", 2)
    # As a terminal does it, and Prefect's worker: the workers get it too, in the middle of their imports.
    wait_until(lambda: any("spawn_main" in " ".join(child.cmdline()) for child in family(process)))
    children = family(process)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "badc: interrupted" in err
    wait_until(lambda: gone(children), 30)


@pytest.mark.long
@pytest.mark.parametrize("after_s", [0, pytest.param(0.1, marks=pytest.mark.long)])
def test_ctrl_c_after_the_last_line_takes_nothing_back(badc, make_recording, make_manifest, after_s):
    process = badc("infer", "run", make_manifest(make_recording(seconds=1)), "--max-gpus", 0)
    while not process.stdout.readline().startswith("workers\t"):
        assert process.poll() is None
    time.sleep(after_s)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "interrupted" not in err
    assert "Traceback" not in err


@pytest.mark.long
def test_a_worker_with_many_threads_analyses_one_chunk_at_a_time(infer, make_recording, make_manifest, fake, tmp_path):
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=4, dashboard_address="127.0.0.1:0") as cluster:
        outcome = infer(
            make_manifest(make_recording(seconds=4)),
            scheduler=cluster.scheduler_address,
            runner_cmd=fake("detector", "--seconds", 0.5),
        )
    assert outcome.state is RunState.COMPLETED
    running = most = 0
    for event in read_events(tmp_path / "run.jsonl"):
        running += 1 if event.status is EventStatus.START else -1
        most = max(most, running)
    assert most == 1


@pytest.mark.long
@pytest.mark.parametrize("how", ["deleted", "emptied"])
def test_an_output_that_is_lost_in_mid_run_is_missed_and_named(started, badc, tmp_path, how):
    process, words, log = started
    chunk = sorted(successes(log))[0]
    output = tmp_path / "out" / "REC" / f"{chunk}.json"
    if how == "deleted":
        output.unlink()
    else:
        output.write_bytes(b"")
    out, err = process.communicate(timeout=60)

    assert process.returncode == 1, err
    assert f"{chunk}: its output was deleted or emptied after it was written: {output}" in err
    assert "failed: 19/20 chunks, 1 failed" in out
    summary = read_summary(log)
    assert summary["state"] == "failed"
    assert {key for key, job in summary["jobs"].items() if job["status"] == "failure"} == {chunk}
    assert sum(count["success"] for count in summary["workers"].values()) == 19

    second = badc(*words, "--telemetry-log", tmp_path / "second.jsonl", "--resume-summary", f"{log}.summary.json")
    _, err = second.communicate(timeout=60)
    assert second.returncode == 0, err
    assert successes(tmp_path / "second.jsonl") == {chunk}


@pytest.mark.long
@pytest.mark.parametrize("how", ["deleted", "cut"])
def test_a_log_that_is_lost_in_mid_run_is_missed(started, how):
    process, _, log = started
    if how == "deleted":
        log.unlink()
    else:
        os.truncate(log, 0)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    assert f"{log}: the telemetry log was deleted, replaced or cut during the run" in err
    assert read_summary(log)["state"] == "failed"


@pytest.mark.long
def test_an_output_of_an_earlier_run_that_is_deleted_in_mid_run_is_missed(
    badc, make_recording, make_manifest, fake, tmp_path
):
    manifest, output = make_manifest(make_recording(seconds=6)), tmp_path / "out" / "REC"
    words = ["infer", "run", manifest, "--output-dir", "out", "--runner-cmd", fake("detector", "--seconds", 0.5)]
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    assert badc(*words, "--telemetry-log", first).wait(60) == 0
    for name in ("0_1000", "1000_2000", "2000_3000"):
        (output / f"REC_chunk_{name}.json").unlink()
    process = badc(*words, "--telemetry-log", second, "--resume-summary", f"{first}.summary.json")
    wait_until(lambda: len(successes(second)) >= 1)
    (output / "REC_chunk_5000_6000.json").unlink()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    assert "REC_chunk_5000_6000: its output was deleted" in err
    assert "3/4 chunks, 1 failed" in out
    assert "2 done before" in out
