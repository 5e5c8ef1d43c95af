"""A small dataset to plan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from badc.chunks.cutting import plan_chunks, write_virtual_manifest
from badc.chunks.manifest import read_manifest
from badc.chunks.status import ChunkState, ChunkStatus, status_path, write_chunk_status
from badc.datasets.inference.plan import plan_orchestration
from badc.datasets.inference.settings import OrchestrateSettings
from badc.detections.result import ChunkResult, ResultStatus, result_path, write_result


@pytest.fixture
def dataset(tmp_path: Path, make_audio: Callable[..., Path]) -> Callable[..., Path]:
    """Return a function that makes a dataset of chunked recordings and returns its root."""

    def make(*names: str, status: ChunkState | None = ChunkState.COMPLETED) -> Path:
        root = tmp_path / "ds"
        for name in names:
            audio = make_audio(f"ds/audio/{name}.wav", seconds=3)
            write_virtual_manifest(plan_chunks(audio, 1), root / "manifests" / f"{name}.csv", hash_chunks=False)
            if status is not None:
                path = status_path(root / "artifacts" / "chunks", name)
                write_chunk_status(path, ChunkStatus(name, None, None, status))
        return root

    return make


def write_outputs(root: Path, name: str, number: int, runner: str = "stub") -> None:
    for chunk in read_manifest(root / "manifests" / f"{name}.csv").chunks[:number]:
        path = result_path(root / "artifacts" / "infer", chunk)
        write_result(path, ChunkResult(chunk, runner, ResultStatus.STUB))


def plan(root: Path, **settings: Any) -> Any:
    return plan_orchestration(OrchestrateSettings(dataset=root, **{"use_hawkears": False} | settings))
