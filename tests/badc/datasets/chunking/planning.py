"""Planning and chunking a small dataset, and what spoils it in between."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from badc.chunks.manifest import read_manifest
from badc.chunks.status import status_path
from badc.datasets.chunking.decision import ChunkDecision, RecordingToChunk
from badc.datasets.chunking.plan import DatasetPlan, plan_dataset
from badc.datasets.chunking.recording import ChunkOutcome, chunk_recording
from badc.datasets.chunking.settings import ChunkSettings

SITES = ("siteA/20230509_094500.wav", "siteB/20230509_094500.WAV")


def plan(dataset: Path, fetching: bool = False, **settings: Any) -> DatasetPlan:
    return plan_dataset(ChunkSettings(dataset=dataset, **{"chunk_duration_s": 1.0, **settings}), fetching)


def run(dataset: Path, **settings: Any) -> list[ChunkOutcome]:
    planned = plan(dataset, **settings)
    return [chunk_recording(recording, planned.order) for recording in planned.todo]


def decisions(planned: DatasetPlan) -> dict[str, tuple[ChunkDecision, str]]:
    return {r.recording_id: (r.decision, r.reason) for r in planned.recordings}


def only(planned: DatasetPlan, recording_id: str = "c") -> RecordingToChunk:
    (found,) = [r for r in planned.recordings if r.recording_id == recording_id]
    return found


def ids_of(dataset: Path) -> dict[str, list[str]]:
    paths = (dataset / "manifests").rglob("*.csv")
    return {path.name: [chunk.chunk_id for chunk in read_manifest(path).chunks] for path in paths}


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def spoil_nothing(dataset: Path) -> None:
    pass


def remove_manifest(dataset: Path) -> None:
    (dataset / "manifests" / "c.csv").unlink()


def cut_manifest(dataset: Path) -> None:
    path = dataset / "manifests" / "c.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def break_manifest(dataset: Path) -> None:
    (dataset / "manifests" / "c.csv").write_text("no manifest\n")


def remove_status(dataset: Path) -> None:
    status_path(dataset / "artifacts" / "chunks", "c").unlink()


def break_status(dataset: Path) -> None:
    status_path(dataset / "artifacts" / "chunks", "c").write_text('{"status": "compl')


def set_status(**changes: Any) -> Callable[[Path], None]:
    def change(dataset: Path) -> None:
        path = status_path(dataset / "artifacts" / "chunks", "c")
        path.write_text(json.dumps(json.loads(path.read_bytes()) | changes))

    return change


def grow_audio(dataset: Path) -> None:
    shutil.copy(dataset / "audio" / SITES[0], dataset / "audio" / "north" / "c.flac")
