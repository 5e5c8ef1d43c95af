"""Telemetry logs: whole lines, readable at any moment and after the hardest end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from badc.telemetry.events import ChunkEvent, EventStatus, TelemetryLog, last_events, parse_event, read_events


def event(chunk_id: str = "c", status: EventStatus = EventStatus.START) -> ChunkEvent:
    return ChunkEvent(chunk_id, "REC", status, "2024-05-01T00:00:00.000+00:00")


def write(path: Path, count: int) -> None:
    log = TelemetryLog(path)
    for number in range(count):
        log.write(event(f"c{number}"))
    log.close()


def test_an_event_is_on_disk_as_a_line_as_soon_as_it_is_written(tmp_path: Path) -> None:
    log = TelemetryLog(tmp_path / "sub" / "r.jsonl")
    log.write(event())
    line = (tmp_path / "sub" / "r.jsonl").read_text()
    assert line.endswith("}\n")
    assert json.loads(line) == {
        "chunk_id": "c",
        "recording_id": "REC",
        "status": "start",
        "timestamp": "2024-05-01T00:00:00.000+00:00",
        "finished_at": None,
        "runtime_s": None,
        "worker": None,
        "gpu_index": None,
        "gpu_name": None,
        "host": None,
        "details": {},
    }
    log.close()


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    full = ChunkEvent(
        "c", "é,\n", EventStatus.FAILURE, "t0", "t1", 1.5, "gpu-0", 0, "A100", {"error": "no\nluck"}, "node1"
    )
    log = TelemetryLog(tmp_path / "r.jsonl")
    log.write(full)
    log.write(event())
    log.close()
    assert list(read_events(tmp_path / "r.jsonl")) == [full, event()]


def test_an_existing_log_is_continued(tmp_path: Path) -> None:
    write(tmp_path / "r.jsonl", 2)
    write(tmp_path / "r.jsonl", 1)
    assert [found.chunk_id for found in read_events(tmp_path / "r.jsonl")] == ["c0", "c1", "c0"]


def test_a_half_written_last_line_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    write(path, 3)
    path.write_bytes(path.read_bytes()[:-20])
    assert [found.chunk_id for found in read_events(path)] == ["c0", "c1"]
    assert [found.chunk_id for found in last_events(path, 1)] == ["c1"]


def test_a_log_that_ends_within_a_line_is_continued_on_a_line_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    write(path, 2)
    path.write_bytes(path.read_bytes()[:-20])
    write(path, 1)
    assert [found.chunk_id for found in read_events(path)] == ["c0", "c0"]


@pytest.mark.parametrize("line", [b"", b"null", b"[]", b"5", b"{}", b'{"chunk_id": "c"}', b"\xff", b"{" * 5000])
def test_a_line_that_is_no_event_is_none(line: bytes) -> None:
    assert parse_event(line) is None


def test_a_line_of_another_tool_may_have_more_and_fewer_keys() -> None:
    found = parse_event(b'{"chunk_id": "c", "status": "success", "timestamp": "t", "theirs": 1, "details": null}')
    assert found == ChunkEvent("c", "", EventStatus.SUCCESS, "t")


@pytest.mark.parametrize("count", [0, 1, 5, 1999, 2000, 3000])
def test_the_last_events_are_those_at_the_end(tmp_path: Path, count: int) -> None:
    write(tmp_path / "r.jsonl", 2000)
    found = [found.chunk_id for found in last_events(tmp_path / "r.jsonl", count)]
    assert found == [f"c{number}" for number in range(max(0, 2000 - count), 2000)]


def test_an_empty_log_has_no_last_events(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").touch()
    assert last_events(tmp_path / "r.jsonl", 5) == []


def test_reading_while_the_log_grows_gives_every_whole_event_once(tmp_path: Path) -> None:
    log = TelemetryLog(tmp_path / "r.jsonl")
    log.write(event("c0"))
    reader = read_events(tmp_path / "r.jsonl")
    assert next(reader).chunk_id == "c0"
    log.write(event("c1"))
    assert [found.chunk_id for found in reader] == ["c1"]
    log.close()


def test_after_a_kill_the_log_holds_everything_that_was_written(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from badc.telemetry.events import *\n"
        "log = TelemetryLog(Path(sys.argv[1]))\n"
        "for n in range(50): log.write(ChunkEvent(f'c{n}', 'REC', EventStatus.START, 't'))\n"
        f"os.kill(os.getpid(), {signal.SIGKILL.value})"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "r.jsonl"], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(read_events(tmp_path / "r.jsonl"))) == 50


def test_a_disk_that_fills_up_is_an_error_and_never_half_a_line_in_silence(tmp_path: Path) -> None:
    """A file size limit stands for the disk: the write that reaches it is cut short, as on a full disk."""
    program = (
        "import resource, signal, sys; from pathlib import Path; from badc.telemetry.events import *\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "log = TelemetryLog(Path(sys.argv[1])); written = 0\n"
        "try:\n"
        "    for written in range(100): log.write(ChunkEvent('c', 'REC', EventStatus.START, 't'))\n"
        "except OSError: print(written)"
    )
    path = tmp_path / "r.jsonl"
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, timeout=60, check=True)
    assert len(list(read_events(path))) == int(done.stdout), "a write that was cut short was taken for a whole one"


def test_a_log_in_a_place_that_cannot_be_written_is_an_os_error() -> None:
    with pytest.raises(OSError, match="/proc"):
        TelemetryLog(Path("/proc/badc/r.jsonl"))


def test_a_full_device_is_an_os_error() -> None:
    if not os.path.exists("/dev/full"):  # noqa: PTH110
        pytest.skip("no /dev/full here")
    log = TelemetryLog(Path("/dev/full"))
    with pytest.raises(OSError, match="No space left"):
        log.write(event())


@pytest.mark.long
@pytest.mark.slow
def test_the_end_of_a_log_of_a_million_lines_is_read_at_once(tmp_path: Path) -> None:
    write(tmp_path / "few.jsonl", 1000)
    with (tmp_path / "r.jsonl").open("wb") as stream:
        for _ in range(1000):
            stream.write((tmp_path / "few.jsonl").read_bytes())
    assert [found.chunk_id for found in last_events(tmp_path / "r.jsonl", 2)] == ["c998", "c999"]
    assert sum(1 for _ in read_events(tmp_path / "r.jsonl")) == 1_000_000
