"""What the tests of the domain share: rows of manifests, audio of any format, and runners for one process."""

from __future__ import annotations

import csv
import json
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from badc.chunks.manifest import Chunk, chunk_id_of
from badc.detections.result import ChunkResult, Detection, ResultStatus, result_path, write_result
from badc.inference.plan import InferPlan, plan_inference
from badc.inference.settings import InferSettings

HOSTILE_IDS = (
    "two words",
    "comma, here",
    'double"quote',
    "o'brien",
    "[1]*?",
    "é漢",
    "$(touch pwned)",
    "a;touch pwned",
    "{braces}",
    "-dash",
    "back`tick`",
)


@pytest.fixture(autouse=True)
def _work_in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what lands in the working directory land in the test's own folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=HOSTILE_IDS)
def hostile_id(request: pytest.FixtureRequest) -> str:
    """An id that is a legal file name and trips careless code."""
    return str(request.param)


@pytest.fixture
def hostile_ids() -> tuple[str, ...]:
    """All hostile ids at once."""
    return HOSTILE_IDS


@pytest.fixture
def csv_file(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a manifest from rows as they are, good or bad."""

    def write(
        rows: Iterable[Sequence[object]],
        header: str = "recording_id,chunk_id,source_path,start_ms,end_ms,overlap_ms,sha256,notes",
        name: str = "REC.csv",
        newline: str = "\n",
    ) -> Path:
        path = tmp_path / name
        with path.open("w", encoding="utf-8", newline="") as stream:
            stream.write(header + newline)
            csv.writer(stream, lineterminator=newline).writerows(rows)
        return path

    return write


@pytest.fixture
def noise() -> Callable[..., np.ndarray[Any, Any]]:
    """Return a function that makes noise of shape `(frames, channels)`, always the same."""

    def make(seconds: float, rate: int, channels: int = 1) -> np.ndarray[Any, Any]:
        return np.random.default_rng(7).uniform(-0.5, 0.5, (round(seconds * rate), channels))

    return make


@pytest.fixture
def make_audio(tmp_path: Path, noise: Callable[..., np.ndarray[Any, Any]]) -> Callable[..., Path]:
    """Return a function that writes noise in any format and returns the file's path."""

    def make(
        name: str = "REC.wav",
        seconds: float = 3.0,
        rate: int = 8000,
        channels: int = 1,
        subtype: str | None = None,
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        sf.write(path, noise(seconds, rate, channels), rate, subtype=subtype)
        return path

    return make


@pytest.fixture
def chunk() -> Callable[..., Chunk]:
    """Return a function that makes a chunk with a well-formed id."""

    def make(recording_id: str = "REC", start_ms: int = 0, end_ms: int = 1000, **more: Any) -> Chunk:
        source = more.pop("source_path", f"{recording_id}.wav")
        chunk_id = more.pop("chunk_id", chunk_id_of(recording_id, start_ms, end_ms))
        return Chunk(recording_id, chunk_id, source, start_ms, end_ms, **more)

    return make


@pytest.fixture
def plan(make_recording: Callable[..., Path], make_manifest: Callable[..., Path]) -> Callable[..., InferPlan]:
    """Return a function that plans a run over a recording of noise in chunks of one second."""

    def make(name: str = "REC.wav", seconds: float = 4.0, **settings: Any) -> InferPlan:
        return plan_inference(
            InferSettings(manifest=make_manifest(make_recording(name, seconds)), **{"output_dir": "out", **settings})
        )

    return make


@pytest.fixture
def detections_file(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a chunk's detections as a run does, below `out`."""

    def write(
        chunk: Chunk,
        *found: tuple[str, float, int, int],
        status: ResultStatus | None = None,
        runner: str = "birdnet",
        **more: Any,
    ) -> Path:
        detections = tuple(Detection(label, confidence, at, end) for label, confidence, at, end in found)
        status = status or (ResultStatus.OK if found else ResultStatus.NO_DETECTIONS)
        path = result_path(tmp_path / "out", chunk)
        write_result(path, ChunkResult(chunk, runner, status, detections, **more))
        return path

    return write


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., list[str]]:
    """Return a function that writes a Python program and returns the words that run it."""

    def write(source: str, name: str = "program.py") -> list[str]:
        path = tmp_path / name
        path.write_text(textwrap.dedent(source), encoding="utf-8")
        return [sys.executable, str(path)]

    return write


@pytest.fixture
def lines_of() -> Callable[[Path], list[dict[str, Any]]]:
    """Return a function that reads a JSONL file."""

    def read(path: Path) -> list[dict[str, Any]]:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    return read


@pytest.fixture
def _fresh_runner() -> Iterator[None]:
    """Close the runner that this process keeps, before and after the test."""
    from badc.runners.current import close_runner

    close_runner()
    yield
    close_runner()
