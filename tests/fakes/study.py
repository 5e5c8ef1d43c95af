"""A made-up study, as tables: several stations that recorded at set hours over some weeks, species with a rhythm.

The numbers are random, always the same for the same arguments; the tables have the real schemas.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from badc.detections.tables import COVERAGE_SCHEMA, DETECTIONS_SCHEMA

WARBLERS = (
    ("Tennessee Warbler", "Leiothlypis peregrina"),
    ("Bay-breasted Warbler", "Setophaga castanea"),
    ("Blackburnian Warbler", "Setophaga fusca"),
    ("Hermit Thrush", "Catharus guttatus"),
    ("Swainson's Thrush", "Catharus ustulatus"),
    ("White-throated Sparrow", "Zonotrichia albicollis"),
    ("Common Loon", "Gavia immer"),
    ("Great Horned Owl", "Bubo virginianus"),
    ("Common Nighthawk", "Chordeiles minor"),
    ("Ruby-crowned Kinglet", "Corthylio calendula"),
    ("Canada Jay", "Perisoreus canadensis"),
    ("Boreal Chorus Frog", "Pseudacris maculata"),
    ("Olive-sided Flycatcher", "Contopus cooperi"),
    ("Wilson's Snipe", "Gallinago delicata"),
)
_PEAKS = (4, 5, 5, 21, 4, 5, 22, 1, 22, 6, 9, 23, 6, 3)
_CHUNK_MS = 60_000
_CHUNKS = 10  # a chunk a minute, ten minutes an hour
RECORDED_HOURS = (*range(3, 11), *range(19, 24))


def write_study(
    folder: Path,
    *,
    labels: Sequence[tuple[str, str]] = WARBLERS,
    stations: int = 6,
    days: int = 30,
    per_recording: float = 6.0,
    clip: Path | None = None,
    seed: int = 1,
) -> Path:
    """Write `study.parquet`, `study_coverage.parquet` and `sites.csv` into a folder; return the first.

    Station 0 lacks its second week. Of station 1's last day the chunks are missing. The strongest detection of each of
    the first three species is in the real recording `clip`, where that is given.
    """
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    detections: list[dict[str, Any]] = []
    coverage: list[dict[str, Any]] = []
    first = datetime(2023, 5, 14)
    weights = 1 / np.arange(1, len(labels) + 1) ** 1.1
    for station in range(stations):
        name = f"BOR-{station + 1:03}"
        for day in range(days):
            if station == 0 and 7 <= day < 14:
                continue
            for hour in RECORDED_HOURS:
                start = first + timedelta(days=day, hours=hour)
                missing = station == 1 and day == days - 1
                _record(random, detections, coverage, name, start, labels, weights, per_recording, missing)
    if clip is not None:
        _use_clip(detections, labels, clip)
    detections.sort(key=lambda row: (row["recording_id"], row["chunk_start_ms"], row["timestamp_ms"], row["label"]))
    pq.write_table(pa.Table.from_pylist(detections, DETECTIONS_SCHEMA), folder / "study.parquet")
    pq.write_table(pa.Table.from_pylist(coverage, COVERAGE_SCHEMA), folder / "study_coverage.parquet")
    lines = ["station,latitude,longitude,study_area,timezone"]
    lines += [
        f"BOR-{n + 1:03},{56.2 + n * 0.1:.3f},{-117.6 + n * 0.2:.3f},{'North' if n % 2 else 'South'},America/Edmonton"
        for n in range(stations)
    ]
    (folder / "sites.csv").write_text("\n".join(lines) + "\n")
    return folder / "study.parquet"


def _record(
    random: np.random.Generator,
    detections: list[dict[str, Any]],
    coverage: list[dict[str, Any]],
    station: str,
    start: datetime,
    labels: Sequence[tuple[str, str]],
    weights: np.ndarray[Any, Any],
    per_recording: float,
    missing: bool,
) -> None:
    recording = f"{station}_{start:%Y%m%d_%H%M%S}"
    number = 0 if missing else random.poisson(per_recording)
    peaks = np.array([_PEAKS[n % len(_PEAKS)] for n in range(len(labels))])
    away = np.abs((peaks - start.hour + 12) % 24 - 12)
    chance = weights * np.exp(-((away / 2.2) ** 2))
    chance /= chance.sum()
    found: dict[int, int] = {}
    for label in random.choice(len(labels), size=number, p=chance):
        chunk = int(random.integers(_CHUNKS))
        found[chunk] = found.get(chunk, 0) + 1
        at = int(random.integers(0, 20)) * 3000
        common, scientific = labels[label]
        absolute = chunk * _CHUNK_MS + at
        detections.append(
            _chunk_of(recording, chunk)
            | {
                "timestamp_ms": at,
                "end_ms": at + 3000,
                "absolute_time_ms": absolute,
                "absolute_end_ms": absolute + 3000,
                "label": common,
                "label_code": None,
                "label_name": scientific,
                "confidence": round(0.25 + 0.7 * float(random.beta(1.2 + label % 3, 1.6)), 4),
                "status": "ok",
                "runner": "birdnet",
                "model_version": "BirdNET_GLOBAL_6K_V2.4_FP32",
                "source_path": f"audio/{recording}.wav",
                "station": station,
                "recorded_at": start,
                "detected_at": start + timedelta(milliseconds=absolute),
            }
        )
    for chunk in range(_CHUNKS):
        ids = _chunk_of(recording, chunk)
        coverage.append(
            {
                "recording_id": recording,
                "chunk_id": ids["chunk_id"],
                "start_ms": ids["chunk_start_ms"],
                "end_ms": ids["chunk_end_ms"],
                "status": "missing" if missing else "ok" if chunk in found else "no_detections",
                "runner": None if missing else "birdnet",
                "detections": found.get(chunk, 0),
                "station": station,
                "recorded_at": start,
            }
        )


def _chunk_of(recording: str, chunk: int) -> dict[str, Any]:
    start, end = chunk * _CHUNK_MS, (chunk + 1) * _CHUNK_MS
    return {
        "recording_id": recording,
        "chunk_id": f"{recording}_chunk_{start}_{end}",
        "chunk_start_ms": start,
        "chunk_end_ms": end,
    }


def _use_clip(detections: list[dict[str, Any]], labels: Sequence[tuple[str, str]], clip: Path) -> None:
    """Let the best detection of three species be what BirdNET finds in the real recording of ten seconds."""
    windows = ((0, 0.7908, 3000), (1, 0.4586, 0), (2, 0.4538, 6000))
    for number, confidence, at in windows:
        row = next(row for row in detections if row["label"] == labels[number][0] and row["chunk_start_ms"] == 0)
        others = [other for other in detections if other["label"] == row["label"] and other is not row]
        for other in others:
            other["confidence"] = round(other["confidence"] * (confidence - 0.001), 4)
        row |= {
            "confidence": confidence,
            "source_path": str(clip),
            "chunk_end_ms": 10_000,
            "timestamp_ms": at,
            "end_ms": at + 3000,
            "absolute_time_ms": at,
            "absolute_end_ms": at + 3000,
        }
