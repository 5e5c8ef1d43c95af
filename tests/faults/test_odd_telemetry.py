"""Telemetry logs with values that no run writes, and ids that would drive a terminal."""

from __future__ import annotations

import copy
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from badc.telemetry.events import last_events, read_events
from badc.telemetry.summary import read_jobs
from flows.cli.commands.monitor import monitor
from flows.cli.main import telemetry

_START = {
    "chunk_id": "REC_chunk_0_3000",
    "recording_id": "REC",
    "status": "start",
    "timestamp": "2026-05-09T07:18:55.729+00:00",
    "finished_at": None,
    "runtime_s": None,
    "worker": "gpu-0",
    "gpu_index": 0,
    "gpu_name": "NVIDIA H100",
    "details": {"attempt": 1},
}
_READING = {"utilization": 50, "memory_used_mb": 100, "memory_total_mb": 80_000, "power_w": 70.5}
_END = _START | {
    "status": "success",
    "finished_at": "2026-05-09T07:18:58.729+00:00",
    "runtime_s": 3.0,
    "details": {"attempt": 1, "output": "o.json", "gpu_metrics": {"before": _READING, "mean": {"utilization": 40.5}}},
}
_FAILURE = _END | {"status": "failure", "details": {"attempt": 1, "error": "no", "backoff_s": 1.5}}
_ODD: list[Any] = [None, True, -1, 1e308, 2**63, "x", "", [], {}, {"a": 1}, [1, [2]], "9" * 400, "2023-13-45T99:00"]
_ODD += ["0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59-23:59", "REC_chunk_0_" + "9" * 400, "\x1b[31m", "é\u202e"]


def _spoil(value: Any, chance: random.Random) -> Any:
    """Return a copy of an event in which a few values, at any depth, are others."""
    value = copy.deepcopy(value)
    for _ in range(chance.choice([0, 1, 1, 2, 3])):
        place = value
        while True:
            key = chance.choice(list(place))
            if not isinstance(place[key], dict) or not place[key] or chance.random() < 0.3:
                place[key] = copy.deepcopy(chance.choice(_ODD))
                break
            place = place[key]
    return value


@pytest.mark.parametrize("seed", range(40))
def test_odd_values_end_no_reader(tmp_path: Path, capsys: pytest.CaptureFixture[str], seed: int) -> None:
    chance = random.Random(seed)
    log = tmp_path / "run.jsonl"
    log.write_bytes(
        b"".join(orjson.dumps(_spoil(chance.choice([_START, _END, _FAILURE]), chance)) + b"\n" for _ in range(40))
    )
    list(read_events(log))
    last_events(log, 5)
    read_jobs(log)
    telemetry(log=log, tail=100)
    telemetry(log=log, tail=100, as_json=True)
    monitor(log=log, follow=False)
    printed = capsys.readouterr()
    assert "\x1b" not in printed.out


def test_ids_and_errors_do_not_drive_the_terminal(tmp_path: Path) -> None:
    """In commands of their own, as users see them."""
    hostile = "R\x1b]0;owned\x07\x1b[31m_chunk_0_3000"
    log = tmp_path / "run.jsonl"
    events = [_START | {"chunk_id": hostile}, _FAILURE | {"chunk_id": hostile, "worker": "gpu-0\x1b[2J"}]
    events[1]["details"] = {"attempt": 1, "error": "line\n\x1b[31mred\x9b5m"}
    log.write_bytes(b"".join(orjson.dumps(event) + b"\n" for event in events))
    for words in (["telemetry"], ["infer", "monitor", "--once"]):
        command = [sys.executable, "-m", "flows", *words, "--log", str(log)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert "_chunk_0_3000" in done.stdout
        assert {letter for letter in done.stdout if not letter.isprintable()} <= {"\n", "\t"}
