"""Processes that must not outlive the one that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from badc.system import leash

# A parent that holds a child, which has a child of its own.
FAMILY = """
import subprocess, sys, time
from badc.system import leash

SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
CHILD = (
    "import os, subprocess, sys, time\\n"
    "grandchild = subprocess.Popen(sys.argv[1:])\\n"
    "print(os.getpid(), grandchild.pid, flush=True)\\n"
    "time.sleep(600)\\n"
)
child = subprocess.Popen([sys.executable, "-c", CHILD, *SLEEP], stdout=subprocess.PIPE, start_new_session=True)
leash.hold(child)
print(child.stdout.readline().decode(), end="", flush=True)
"""


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 20
    while not is_gone(pid):
        assert time.monotonic() < deadline, f"process {pid} is still alive"
        time.sleep(0.01)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_child_and_grandchild_die_with_a_parent_that_is_killed(
    script: Callable[..., list[str]], end: signal.Signals
) -> None:
    parent = subprocess.Popen(script(FAMILY + "time.sleep(600)\n"), stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout:
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert not any(map(is_gone, pids))
        parent.send_signal(end)
        assert parent.wait(timeout=20) == -end
    for pid in pids:
        wait_until_gone(pid)


def test_child_and_grandchild_die_with_a_parent_that_ends(script: Callable[..., list[str]]) -> None:
    done = subprocess.run(script(FAMILY), capture_output=True, text=True, timeout=60, check=True)
    for pid in map(int, done.stdout.split()):
        wait_until_gone(pid)


def test_a_process_that_was_let_off_survives(script: Callable[..., list[str]]) -> None:
    words = script(FAMILY + "leash.let_off(child)\n")
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    child, grandchild = map(int, done.stdout.split())
    # The watcher ends before its parent does, so what it was to kill is dead by now.
    assert not is_gone(child)
    assert not is_gone(grandchild)
    os.killpg(child, signal.SIGKILL)
    wait_until_gone(grandchild)


def test_killing_a_group_kills_its_children_and_waits() -> None:
    words = "import subprocess, sys, time; c = subprocess.Popen(['sleep', '600']); print(c.pid, flush=True)"
    process = subprocess.Popen(
        [sys.executable, "-c", words + "; time.sleep(600)"], stdout=subprocess.PIPE, start_new_session=True
    )
    leash.hold(process)
    assert process.stdout is not None
    with process.stdout:
        grandchild = int(process.stdout.readline())
    leash.kill_group(process)
    assert process.returncode == -signal.SIGKILL
    wait_until_gone(grandchild)
    leash.kill_group(process)  # a second time does no harm


def test_a_watcher_that_was_killed_is_replaced(script: Callable[..., list[str]]) -> None:
    source = FAMILY.replace(
        "leash.hold(child)", "leash.hold(child); leash._watcher.kill(); leash._watcher.wait(); leash.hold(child)"
    )
    done = subprocess.run(script(source), capture_output=True, text=True, timeout=60, check=True)
    for pid in map(int, done.stdout.split()):
        wait_until_gone(pid)


def test_the_next_watcher_knows_what_the_killed_one_held(script: Callable[..., list[str]]) -> None:
    source = FAMILY + (
        "leash._watcher.kill(); leash._watcher.wait()\n"
        "other = subprocess.Popen(SLEEP, start_new_session=True)\n"
        "leash.hold(other)\n"
        "print(other.pid)\n"
    )
    done = subprocess.run(script(source), capture_output=True, text=True, timeout=60, check=True)
    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == 3
    for pid in pids:
        wait_until_gone(pid)


def test_a_process_can_be_let_off_after_the_watcher_has_ended(script: Callable[..., list[str]]) -> None:
    """As a runner is closed, whose exit handler was there before the watcher's, and so is called after it."""
    source = "import atexit\natexit.register(lambda: leash.kill_group(child))\n" + FAMILY
    done = subprocess.run(script(source), capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    for pid in map(int, done.stdout.split()):
        wait_until_gone(pid)


def test_ctrl_c_does_not_reach_the_watcher_even_before_it_has_a_session_of_its_own(
    script: Callable[..., list[str]],
) -> None:
    source = FAMILY + "print(open(f'/proc/{leash._watcher.pid}/status').read())\n"
    done = subprocess.run(script(source), capture_output=True, text=True, timeout=60, check=True)
    (blocked,) = (int(line.split()[1], 16) for line in done.stdout.splitlines() if line.startswith("SigBlk"))
    assert blocked & 1 << (signal.SIGINT - 1)
    assert blocked & 1 << (signal.SIGTERM - 1)


def test_how_a_process_ended_is_a_sentence() -> None:
    assert leash.how_it_ended(3) == "ended with exit code 3"
    assert leash.how_it_ended(-9) == "was killed by signal 9"
