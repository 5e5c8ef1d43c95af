"""The memory limit: a runner that takes more is killed, and the attempt says why."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from badc.system.memory import MemoryLimit

HUNGRY = "data = bytearray(400 * 2**20); data[::4096] = b'x' * len(data[::4096]); import time; time.sleep(60)"


def started(code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code], start_new_session=True)


def test_what_takes_more_is_killed_and_named() -> None:
    process = started(HUNGRY)
    try:
        with MemoryLimit(0.35, interval_s=0.05) as limit:
            assert process.wait(30) == -9
        assert limit.reason is not None
        assert "more than --worker-memory-gib 0.35" in limit.reason
    finally:
        process.kill()


@pytest.mark.parametrize("limit_gib", [None, 50.0])
def test_what_stays_below_is_left_alone(limit_gib: float | None) -> None:
    process = started("import time; time.sleep(60)")
    try:
        with MemoryLimit(limit_gib, interval_s=0.05) as limit:
            time.sleep(0.4)
            assert process.poll() is None
        assert limit.reason is None
    finally:
        process.kill()
        process.wait()
