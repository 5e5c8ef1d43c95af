"""What the tests of resident commands share."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from badc.recordings.audio import AudioWindow, probe, window_of
from badc.runners.interface import WorkerPlace
from badc.runners.resident_command import ResidentRunner, ResidentSpec


def window(path: Path, start_ms: int, end_ms: int) -> AudioWindow:
    return window_of(path, probe(path), start_ms, end_ms)


@pytest.fixture
def resident(script: Callable[..., list[str]], tmp_path: Path) -> Iterator[Callable[..., ResidentRunner]]:
    """Return a function that makes the runner of a program."""
    runners: list[ResidentRunner] = []
    (tmp_path / "scratch").mkdir()

    def make(
        source: str,
        secrets: tuple[tuple[str, str], ...] = (),
        embeds: bool = False,
        at_once: int = 1,
        timeout_s: float | None = 30,
        **environment: str,
    ) -> ResidentRunner:
        spec = ResidentSpec(
            runner_resident=shlex.join(script(source)), chunk_timeout_s=timeout_s, secrets=secrets, runner_env=()
        )
        runners.append(spec.open(WorkerPlace(tmp_path / "scratch", environment, at_once, embeds)))
        return runners[-1]

    yield make
    for runner in runners:
        runner.close()
    assert list((tmp_path / "scratch").iterdir()) == [], "temporary files are left"
