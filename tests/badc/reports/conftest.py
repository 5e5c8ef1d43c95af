"""What the tests of reports share: small tables, written as their makers write them, and a browser."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from badc.detections.tables import COVERAGE_SCHEMA, DETECTIONS_SCHEMA, coverage_path
from badc.recordings.names import parse_recording_name

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
Found = tuple[str, int, str, float | None]


@pytest.fixture
def write_detections(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a table of detections: (recording, ms from its start, label, confidence) each."""

    def write(found: Sequence[Found], path: Path | str = "d.parquet", chunk_ms: int = 60_000, **same: Any) -> Path:
        rows = [_detection(*one, chunk_ms) | same for one in found]
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, DETECTIONS_SCHEMA), target)
        return target

    return write


@pytest.fixture
def write_coverage() -> Callable[..., Path]:
    """Return a function that writes the coverage beside a table: (recording, start ms, end ms, status, maybe notes)."""

    def write(parquet: Path, chunks: Sequence[tuple[Any, ...]]) -> Path:
        rows = []
        for recording, start, end, status, *notes in chunks:
            origin = parse_recording_name(recording)
            rows.append(
                {
                    "recording_id": recording,
                    "chunk_id": f"{recording}_chunk_{start}_{end}",
                    "start_ms": start,
                    "end_ms": end,
                    "status": status,
                    "notes": notes[0] if notes else None,
                    "station": origin.station,
                    "recorded_at": origin.recorded_at,
                    "recorded_utc_offset_min": origin.utc_offset_min,
                }
            )
        path = coverage_path(parquet)
        pq.write_table(pa.Table.from_pylist(rows, COVERAGE_SCHEMA), path)
        return path

    return write


def _detection(recording: str, at_ms: int, label: str, confidence: float | None, chunk_ms: int) -> dict[str, Any]:
    origin = parse_recording_name(recording)
    start = at_ms // chunk_ms * chunk_ms
    detected: datetime | None = None
    if origin.recorded_at is not None:
        detected = origin.recorded_at + timedelta(milliseconds=at_ms)
    return {
        "recording_id": recording,
        "chunk_id": f"{recording}_chunk_{start}_{start + chunk_ms}",
        "chunk_start_ms": start,
        "chunk_end_ms": start + chunk_ms,
        "timestamp_ms": at_ms - start,
        "absolute_time_ms": at_ms,
        "end_ms": at_ms - start + 3000,
        "absolute_end_ms": at_ms + 3000,
        "label": label,
        "label_name": label,
        "confidence": confidence,
        "status": "ok",
        "runner": "birdnet",
        "source_path": f"audio/{recording}.wav",
        "dataset_root": "/data/set",
        "station": origin.station,
        "recorded_at": origin.recorded_at,
        "detected_at": detected,
        "recorded_utc_offset_min": origin.utc_offset_min,
    }


# Not for the whole session: Playwright keeps an event loop running, beside which Prefect cannot work in this process.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium: the system's, or where we may, installed as the Debian package."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra: dev)")
    executable = next(filter(None, map(shutil.which, BROWSERS)), None) or installed_browser()
    if executable is None:
        pytest.skip(
            f"no browser here: none of {', '.join(BROWSERS)} is in PATH, and apt-get could not install chromium"
        )
    with playwright.sync_playwright() as driver:
        # Chromium's own sandbox does not start as root, as in containers; the page is ours.
        opened = driver.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield opened
        opened.close()


def installed_browser() -> str | None:
    """Install Debian's chromium where this process may, and return its path."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return None
    apt = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300"]
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
        if subprocess.run([*apt, *words], env=environment, capture_output=True).returncode != 0:
            return None
    return shutil.which("chromium")
