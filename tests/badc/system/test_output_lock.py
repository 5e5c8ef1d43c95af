"""The lock on outputs, between real processes."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from badc.errors import InUseError, RequestError
from badc.system.output_lock import FOLDER, output_lock, planned_lock

HOLDER = """
import sys
from pathlib import Path
from badc.system.output_lock import output_lock
with output_lock(Path(sys.argv[1]), frozenset(sys.argv[2:]), Path("first.jsonl")):
    print("held", flush=True)
    sys.stdin.read()
"""
LOG = Path("second.jsonl")
Holding = Callable[..., AbstractContextManager["subprocess.Popen[str]"]]


@pytest.fixture
def holding(script: Callable[..., list[str]], tmp_path: Path) -> Holding:
    """Return a context manager: another process that holds the outputs of these recordings below `out`."""

    @contextmanager
    def hold(*recordings: str) -> Iterator[subprocess.Popen[str]]:
        words = [*script(HOLDER), str(tmp_path / "out"), *recordings]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process

    return hold


def lock(tmp_path: Path, *recordings: str) -> list[str]:
    with output_lock(tmp_path / "out", frozenset(recordings), LOG):
        return [path.name for path in (tmp_path / "out" / FOLDER).glob("*.lock")]


def test_a_second_run_on_the_same_recording_is_refused_and_names_the_first(tmp_path: Path, holding: Holding) -> None:
    with holding("A", "B", "C") as first:
        with pytest.raises(RequestError) as caught:
            lock(tmp_path, "B", "C", "D")
        message = str(caught.value)
        assert str(tmp_path / "out") in message
        assert "B and 1 more" in message
        assert f"process {first.pid}" in message
        assert "first.jsonl" in message
        assert "--output-dir" in message


def test_runs_on_other_recordings_or_folders_go_on(tmp_path: Path, holding: Holding) -> None:
    with holding("A"):
        assert len(lock(tmp_path, "B")) == 2
        with output_lock(tmp_path / "other", frozenset("A"), LOG):
            pass


def test_of_two_runs_of_a_dataset_the_second_is_refused_if_they_share_a_recording(tmp_path: Path) -> None:
    def planned(*recordings: str) -> AbstractContextManager[None]:
        return planned_lock(tmp_path / "out", frozenset(recordings), tmp_path / "telemetry")

    with planned("A", "B"):
        assert len(lock(tmp_path, "A")) == 1, "each locks its recordings as it comes to them"
        with planned("C"):
            pass
        with pytest.raises(InUseError, match=r"is to write the outputs of B: process .*telemetry"), planned("B", "C"):
            pass
    with planned("A"):
        pass
    assert list((tmp_path / "out").iterdir()) == []


def test_after_the_first_run_the_second_may(tmp_path: Path, holding: Holding) -> None:
    with holding("A"):
        pass
    assert len(lock(tmp_path, "A")) == 1
    assert list((tmp_path / "out").iterdir()) == [], "nothing is left of the locks"


def test_the_lock_of_a_killed_run_holds_nobody_up(tmp_path: Path, holding: Holding) -> None:
    with holding("A") as first:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        assert len(list((tmp_path / "out" / FOLDER).glob("*.lock"))) == 1
    assert len(lock(tmp_path, "A")) == 1
    assert list((tmp_path / "out").iterdir()) == []


def test_within_one_process_a_second_run_is_refused_too(tmp_path: Path) -> None:
    with output_lock(tmp_path / "out", frozenset("A"), LOG), pytest.raises(RequestError, match="writing the outputs"):
        lock(tmp_path, "A")


def test_a_run_that_fails_gives_its_lock_back(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), output_lock(tmp_path / "out", frozenset("A"), LOG):
        raise ZeroDivisionError
    lock(tmp_path, "A")


def test_a_half_written_lock_of_a_dead_run_holds_nobody_up(tmp_path: Path) -> None:
    folder = tmp_path / "out" / FOLDER
    folder.mkdir(parents=True)
    (folder / "1-ab.lock").write_text('{"pid": 1, "recor')
    assert len(lock(tmp_path, "A")) == 1


def test_folders_of_any_name_work(tmp_path: Path, hostile_id: str) -> None:
    with (
        output_lock(tmp_path / hostile_id, frozenset([hostile_id]), LOG),
        pytest.raises(RequestError),
        output_lock(tmp_path / hostile_id, frozenset([hostile_id]), LOG),
    ):
        pass


def test_many_runs_at_once_get_one_lock_at_a_time(tmp_path: Path, script: Callable[..., list[str]]) -> None:
    source = """
    import sys
    from pathlib import Path
    from badc.errors import InUseError, RequestError
    from badc.system.output_lock import output_lock
    out = Path(sys.argv[1])
    done = 0
    while done < 20:
        try:
            with output_lock(out, frozenset(["A"]), Path("x.jsonl")):
                mark = out / "mark"
                mark.touch(exist_ok=False)
                mark.unlink()
                done += 1
        except RequestError:
            pass
    """
    words = [*script(source), str(tmp_path / "out")]
    running = [subprocess.Popen(words, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    errors = [process.communicate(timeout=60)[1] for process in running]
    assert errors == [""] * 4
    assert list((tmp_path / "out").iterdir()) == []


def test_an_output_folder_that_cannot_be_made_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(OSError, match="out"):
        lock(tmp_path, "A")
