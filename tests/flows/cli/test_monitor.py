"""`badc infer monitor` through a real terminal whose screen is read back, and without one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pexpect
import pyte
import pytest

COMMAND = ["-m", "flows", "infer", "monitor"]
# Writes one event every 50 ms, in two pieces, so that a reader often meets half a line.
WRITER = """
import sys, time
lines = sys.stdin.buffer.read().splitlines(keepends=True)
with open(sys.argv[1], "ab", buffering=0) as stream:
    for line in lines:
        stream.write(line[:40]); time.sleep(0.025); stream.write(line[40:]); time.sleep(0.025)
"""


def events(first: int, count: int, age_s: float = 0.0, workers: int = 2) -> bytes:
    """Return successes of one-minute chunks, the last of them `age_s` seconds ago."""
    end = datetime.now(UTC) - timedelta(seconds=age_s)
    load = {"index": 0, "utilization": 70, "memory_used_mb": 8192, "memory_total_mb": 16384}
    lines = []
    for number in range(first, first + count):
        ended = end - timedelta(seconds=(first + count - 1 - number) * 0.1)
        line = {
            "chunk_id": f"GNWT-290_20230331_235938_chunk_{number * 60_000}_{number * 60_000 + 60_000}",
            "recording_id": "GNWT-290_20230331_235938",
            "status": "success",
            "timestamp": ended.isoformat(),
            "finished_at": ended.isoformat(),
            "runtime_s": 1.5,
            "worker": f"gpu-{number % workers}",
            "gpu_index": number % workers,
            "gpu_name": "Simulated GPU",
            "details": {"attempt": 1, "gpu_metrics": dict.fromkeys(("before", "after", "peak", "mean"), load)},
        }
        lines.append(orjson.dumps(line) + b"\n")
    return b"".join(lines)


class Screen:
    """The command in a terminal of this size."""

    def __init__(self, log: Path, columns: int, rows: int, *options: str, follow: bool = True) -> None:
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.Stream(self._screen)
        self.raw = ""
        words = [*COMMAND, "--log", str(log), "--interval", "0.2", *options, *(["--follow"] if follow else [])]
        environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "55", "LINES": "9"}  # not what counts
        self.process = pexpect.spawn(
            sys.executable, words, dimensions=(rows, columns), encoding="utf-8", timeout=30, env=environment
        )

    def read(self, for_s: float = 0.1) -> str:
        """Return what the screen shows after so many seconds more."""
        until_s = time.monotonic() + for_s
        while time.monotonic() < until_s:
            try:
                piece = self.process.read_nonblocking(65536, timeout=0.05)
            except pexpect.TIMEOUT:
                continue
            except pexpect.EOF:
                break
            self.raw += piece
            self._stream.feed(piece)
        return "\n".join(line.rstrip() for line in self._screen.display)

    def wait_for(self, is_there: str | Callable[[str], bool], within_s: float = 20) -> str:
        until_s = time.monotonic() + within_s
        while time.monotonic() < until_s:
            text = self.read()
            if is_there in text if isinstance(is_there, str) else is_there(text):
                return self.read(0.3)  # the first screen may be drawn in part only
        raise AssertionError(f"{is_there} is not on the screen:\n{text}")

    def end(self) -> int | None:
        """Press Ctrl-C and return the exit code."""
        self.process.sendintr()
        self.read(5)
        self.process.close()
        return self.process.exitstatus


@pytest.fixture
def open_screen(tmp_path: Path) -> Iterator[Callable[..., Screen]]:
    opened: list[Screen] = []

    def make(columns: int = 100, rows: int = 40, *options: str, follow: bool = True) -> Screen:
        opened.append(Screen(tmp_path / "run.jsonl", columns, rows, *options, follow=follow))
        return opened[-1]

    yield make
    for screen in opened:
        screen.process.close(force=True)


def row_of(text: str, label: str) -> list[str]:
    return next(line.split() for line in text.splitlines() if line.startswith(label))


def test_a_wide_terminal_shows_every_column_and_ctrl_c_gives_the_terminal_back(open_screen, tmp_path):
    (tmp_path / "run.jsonl").write_bytes(events(0, 30))
    screen = open_screen(100, 40)
    text = screen.wait_for("last chunk")

    for title in ("worker", "events", "retry", "fail.", "mean", "min/ø/max", "VRAM", "trends", "runtime s", "peak MiB"):
        assert title in text
    assert row_of(text, "gpu-0")[:9] == ["gpu-0", "15", "15", "0", "0", "0", "1.5", "70/70/70", "8.0/16"]
    assert "chunk_1740000_1800000" in text
    assert "Left out" not in text.replace("Left out at 100 x 40: 2 of the last 20 events", "")
    assert screen.end() == 0
    assert screen.raw.rindex("\x1b[?1049l") > screen.raw.rindex("\x1b[?1049h"), "the screen from before is back"
    assert screen.raw.rindex("\x1b[?25h") > screen.raw.rindex("\x1b[?25l"), "the cursor is back"


def test_a_narrow_terminal_says_what_it_leaves_out(open_screen, tmp_path):
    (tmp_path / "run.jsonl").write_bytes(events(0, 60, workers=4))
    text = open_screen(70, 30).wait_for("Left out at 70 x 30")

    left_out = " ".join(text[text.index("Left out") :].split())
    assert "column events, column mean s" in left_out
    assert "of the last 20 events" in left_out
    assert "chunk_3540000" in text.replace("\n", "") or "3540000_3600000" in text
    assert all(row_of(text, f"gpu-{number}")[1] == "15" for number in range(4))


def test_many_workers_on_a_low_terminal_leave_room_for_events(open_screen, tmp_path):
    (tmp_path / "run.jsonl").write_bytes(events(0, 60, workers=16))
    text = open_screen(100, 24).wait_for("Left out at 100 x 24")

    assert "trends of VRAM and retries" in text
    assert "of 16 workers" in text
    assert "2340000" in text or "3540000" in text
    assert text.count(" success ") >= 4


def test_a_log_that_another_process_writes(open_screen, tmp_path):
    log = tmp_path / "run.jsonl"
    log.write_bytes(events(0, 2))
    screen = open_screen()
    screen.wait_for("gpu-1")
    with subprocess.Popen([sys.executable, "-c", WRITER, str(log)], stdin=subprocess.PIPE) as writer:
        writer.communicate(events(2, 60))
    text = screen.wait_for(lambda text: row_of(text, "gpu-0")[1] == "31" and row_of(text, "gpu-1")[1] == "31")

    assert "62 chunks done" in text
    assert "no events" not in text, "no half line was taken for a whole one"


def test_rotation_and_truncation(open_screen, tmp_path):
    log = tmp_path / "run.jsonl"
    log.write_bytes(events(0, 10))
    screen = open_screen()
    screen.wait_for("10 chunks done")
    log.rename(tmp_path / "run.jsonl.1")
    screen.wait_for("the log is gone; waiting for it")
    log.write_bytes(events(10, 5))
    screen.wait_for("rotated 1 ×")
    screen.wait_for("15 chunks done")
    with log.open("r+b") as stream:
        stream.truncate(0)
        stream.write(events(50, 3))
    screen.wait_for("truncated; counted anew")
    screen.wait_for("\n3 chunks done")
    assert screen.end() == 0


def test_a_worker_that_is_silent_for_long_is_flagged(open_screen, tmp_path):
    (tmp_path / "run.jsonl").write_bytes(events(1, 1, age_s=600) + events(0, 1))
    text = open_screen().wait_for("silent: gpu-1")

    assert "10:0" in " ".join(row_of(text, "gpu-1"))
    assert row_of(text, "gpu-1")[-1] == "!"
    assert row_of(text, "gpu-0")[-1] == "s"


def test_a_run_that_has_ended_has_trends_and_no_silent_worker(tmp_path):
    log = tmp_path / "run.jsonl"
    log.write_bytes(events(0, 30, age_s=86_400))
    job = {"status": "success", "attempts": 1, "retries": 0}
    summary = {"telemetry_log": str(log), "state": "completed", "jobs": {f"c{n}": job for n in range(30)}}
    log.with_name("run.jsonl.summary.json").write_bytes(orjson.dumps(summary))
    done = subprocess.run([sys.executable, *COMMAND, "--log", log], capture_output=True, text=True, check=True)

    assert "run.jsonl: completed" in done.stdout
    assert "silent" not in done.stdout
    assert "!" not in done.stdout
    assert "util  ········" in done.stdout
    assert re.search("util  ·+▆", done.stdout)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_ascii_characters_are_enough_to_draw_it(tmp_path, encoding):
    log = tmp_path / "run.jsonl"
    log.write_bytes(events(0, 30))
    words = [sys.executable, *COMMAND, "--log", log, *(["--ascii"] if encoding == "utf-8" else [])]
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run(words, capture_output=True, env=environment, check=True)

    text = done.stdout.decode("ascii")
    assert re.search(r"util  \.+\+", text)
    assert "?" not in text
    assert "-----" in text


def test_ascii_holds_on_a_terminal_too(open_screen, tmp_path):
    (tmp_path / "run.jsonl").write_bytes(events(0, 30))
    screen = open_screen(100, 40, "--ascii")
    assert re.search(r"util  \.+\+", screen.wait_for("last chunk"))
    assert screen.raw.isascii()


def test_without_a_log_the_newest_one_of_the_dataset_is_shown(tmp_path):
    place = tmp_path / "set" / "artifacts" / "telemetry" / "infer"
    place.mkdir(parents=True)
    for name, number in (("OLD", 3), ("NEW", 5)):
        (place / f"{name}.jsonl").write_bytes(events(0, number))
    os.utime(place / "OLD.jsonl", (1e9, 1e9))
    for words, folder in ((["set"], tmp_path), (["--once"], tmp_path / "set")):
        command = [sys.executable, "-m", "flows", "infer", "monitor", *words]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        assert done.stdout.startswith("NEW.jsonl: no summary yet")


def test_without_a_terminal_it_prints_once_and_plainly(tmp_path):
    log = tmp_path / "run.jsonl"
    log.write_bytes(events(0, 30) + b'{"chunk_id":"half')
    done = subprocess.run([sys.executable, *COMMAND, "--log", log, "--tail", "5"], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert done.stdout.count("gpu-0  ") >= 1
    assert done.stdout.count(" success ") == 5
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_without_follow_it_prints_once_on_a_terminal(open_screen, tmp_path):
    (tmp_path / "run.jsonl").write_bytes(events(0, 30))
    screen = open_screen(100, 40, follow=False)
    screen.process.expect(pexpect.EOF)
    screen.process.close()

    assert screen.process.exitstatus == 0
    assert "30 chunks done" in screen.process.before
    assert "\x1b[?1049h" not in screen.process.before


def test_a_log_that_is_not_there_is_one_clear_error(tmp_path):
    done = subprocess.run([sys.executable, *COMMAND, "--log", tmp_path / "x.jsonl"], capture_output=True, text=True)

    assert done.returncode == 2
    assert done.stdout == ""
    assert "x.jsonl: the telemetry log cannot be read (No such file or directory)" in done.stderr
    assert "Traceback" not in done.stderr


def cpu_s(process_id: int) -> float:
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100  # clock ticks are 10 ms on Linux


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads CPU time and memory from /proc")
def test_a_million_lines(open_screen, tmp_path):
    block = events(0, 10_000, workers=4)
    with (tmp_path / "run.jsonl").open("wb") as stream:
        for _ in range(99):
            stream.write(block)
        stream.write(events(0, 10_000, workers=4))
    begin = time.monotonic()
    screen = open_screen(100, 40)
    screen.wait_for(lambda text: "counting older events" in text and "gpu-3" in text and "Left out" in text)
    first_screen_s = time.monotonic() - begin
    before_s, refreshes_before = cpu_s(screen.process.pid), screen.raw.count("last chunk")
    screen.read(10)
    refreshes = screen.raw.count("last chunk") - refreshes_before
    per_refresh_s = (cpu_s(screen.process.pid) - before_s) / refreshes
    status = Path(f"/proc/{screen.process.pid}/status").read_text()
    memory_mb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
    print(f"first screen {first_screen_s:.2f} s, {per_refresh_s * 1000:.1f} ms/refresh, {memory_mb:.0f} MB")

    assert first_screen_s < 6  # 3 s on a machine that is not busy
    assert refreshes > 10
    assert per_refresh_s < 0.1  # 0.05 s on a machine that is not busy
    assert memory_mb < 150
