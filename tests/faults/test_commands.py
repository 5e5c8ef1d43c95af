"""What a runner's command does that it should not."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest

from badc.chunks.manifest import Chunk
from badc.errors import RunnerError, RunnerTimeoutError
from badc.recordings.audio import probe, window_of
from badc.runners.command import CommandSpec
from badc.runners.interface import WorkerPlace


@pytest.fixture
def detect(make_recording, tmp_path):
    """Return a function that runs a script on a chunk of a second."""
    recording = make_recording(seconds=1)
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    def run(script: str, **settings: object) -> object:
        path = tmp_path / "script.sh"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        runner = CommandSpec(runner_cmd=str(path), **settings).prepared().open(WorkerPlace(scratch))
        chunk = Chunk("REC", "REC_chunk_0_1000", str(recording), 0, 1000)
        return runner.detect(chunk, window_of(recording, probe(recording), 0, 1000))

    return run


@pytest.mark.parametrize("command", ['mkfifo "$4"', 'ln -s /dev/zero "$4"', 'mkdir "$4"'])
def test_an_output_that_is_no_file_fails_at_once(detect, command) -> None:
    with pytest.raises(RunnerError, match="invalid output: not a file"):
        detect(command)


def test_an_output_of_gigabytes_is_not_read(detect) -> None:
    with pytest.raises(RunnerError, match="4,096 MiB, more than 256"):
        detect('truncate -s 4G "$4"')


def test_a_link_to_itself_as_output_fails_the_attempt(detect) -> None:
    with pytest.raises(RunnerError, match="invalid output"):
        detect('ln -s "$4" "$4"')


def _sleeping(seconds: str) -> list[psutil.Process]:
    return [one for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == ["sleep", seconds]]


def test_a_child_that_left_its_group_ends_with_the_time_of_its_chunk(detect, tmp_path) -> None:
    seconds = "617.25"
    before = time.monotonic()
    with pytest.raises(RunnerTimeoutError):
        detect(f"setsid sh -c 'setsid sleep {seconds} & sleep {seconds}' & sleep {seconds}", chunk_timeout_s=1.0)
    assert time.monotonic() - before < 10
    _, alive = psutil.wait_procs(_sleeping(seconds), timeout=5)
    assert alive == []
    assert Path(tmp_path / "script.sh").exists()
