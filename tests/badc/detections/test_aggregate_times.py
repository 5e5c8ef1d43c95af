"""Aggregation: where the time of day in the tables comes from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from badc.chunks.manifest import write_manifest
from tests.badc.detections.test_aggregate import MakeChunk, Write, assert_csv_and_parquet_agree, rows, table

AUDIOMOTH = "Recorded at 19:17:30 10/12/2019 (UTC+2) by AudioMoth 0FE081F80FE081F0 at gain setting 2"


@pytest.fixture
def marsh(tmp_path: Path) -> Path:
    """A recording whose name says nothing, in a dataset, with the comment that an AudioMoth writes."""
    path = tmp_path / "audio" / "marsh.wav"
    path.parent.mkdir()
    (tmp_path / ".datalad").mkdir()
    with sf.SoundFile(path, "w", 8000, 1, subtype="PCM_16") as stream:
        stream.comment = AUDIOMOTH
        stream.write(np.zeros(24_000))
    return path


def test_where_the_name_says_nothing_the_header_tells_the_start(
    chunk: MakeChunk, detections_file: Write, marsh: Path
) -> None:
    for start in (0, 1000):
        listed = chunk("marsh", start, start + 1000, source_path="audio/marsh.wav")
        detections_file(listed, ("bird", 0.5, 500, 900))
    table()
    assert [(row["recorded_at"], row["recorded_utc_offset_min"], row["detected_at"]) for row in rows()] == [
        ("2019-12-10T19:17:30.000", "120", "2019-12-10T19:17:30.500"),
        ("2019-12-10T19:17:30.000", "120", "2019-12-10T19:17:31.500"),
    ]
    assert {row["recorded_utc_offset_min"] for row in rows("t/all_coverage.csv")} == {"120"}
    assert_csv_and_parquet_agree()


def test_without_the_audio_the_start_is_not_known(chunk: MakeChunk, detections_file: Write, marsh: Path) -> None:
    detections_file(chunk("marsh", source_path="audio/marsh.wav"), ("bird", 0.5, 500, 900))
    marsh.unlink()
    marsh.symlink_to(".git/annex/objects/dropped")
    made = table()
    assert made.bad == 0
    assert (rows()[0]["recorded_at"], rows()[0]["detected_at"]) == ("", "")


def test_manifests_lead_to_the_header_too(chunk: MakeChunk, marsh: Path, tmp_path: Path) -> None:
    """For chunks without an output, and for files of other tools that do not name the recording's file."""
    (tmp_path / "out").mkdir()
    bare = {"chunk_id": "c", "recording_id": "marsh", "detections": [{"label": "a", "timestamp_ms": 0, "end_ms": 1}]}
    (tmp_path / "out" / "c.json").write_text(json.dumps(bare))
    listed = [
        chunk("marsh", n * 1000, n * 1000 + 1000, chunk_id=name, source_path="audio/marsh.wav")
        for n, name in enumerate("cd")
    ]
    write_manifest(tmp_path / "manifests.csv", listed)
    table(manifest=(tmp_path / "manifests.csv",))
    assert rows()[0]["detected_at"] == "2019-12-10T19:17:30.000"
    assert rows()[0]["recorded_utc_offset_min"] == "120"
    found = rows("t/all_coverage.csv")
    assert [(row["status"], row["recorded_at"]) for row in found] == [
        ("", "2019-12-10T19:17:30.000"),
        ("missing", "2019-12-10T19:17:30.000"),
    ]


def test_a_header_is_read_once_for_all_chunks(
    chunk: MakeChunk, detections_file: Write, marsh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from badc.recordings import start_times

    reads: list[Path] = []
    real = start_times._in_header
    monkeypatch.setattr(start_times, "_in_header", lambda path: (reads.append(path), real(path))[1])
    for start in range(0, 20_000, 1000):
        detections_file(chunk("marsh", start, start + 1000, source_path="audio/marsh.wav"))
    table()
    assert len(reads) == 1


def test_an_offset_in_the_name_has_its_column(chunk: MakeChunk, detections_file: Write) -> None:
    detections_file(chunk("S4A00001_20200101T053000-0930_Dawn"), ("bird", 0.5, 0, 10))
    table()
    assert (rows()[0]["recorded_at"], rows()[0]["recorded_utc_offset_min"]) == ("2020-01-01T05:30:00.000", "-570")


def test_the_header_adds_the_offset_and_disagreements_are_counted(
    chunk: MakeChunk, detections_file: Write, marsh: Path
) -> None:
    for name in ("B_20191210_191730", "C_20191210_031730", "D_20191210_041730"):
        marsh.with_name(f"{name}.wav").write_bytes(marsh.read_bytes())
        for start in (0, 1000):
            listed = chunk(name, start, start + 1000, source_path=f"audio/{name}.wav")
            detections_file(listed, ("bird", 0.5, 0, 10))
    made = table()
    assert [row["recorded_utc_offset_min"] for row in rows()] == ["120", "120", "", "", "", ""]
    assert made.describe().endswith(
        "; 2 recordings have several start times, of which the first counts (such as C_20191210_031730: name "
        "2019-12-10 03:17:30, comment 2019-12-10 19:17:30+02:00)"
    )


def test_the_notes_of_a_chunk_are_in_the_coverage(chunk: MakeChunk, detections_file: Write, tmp_path: Path) -> None:
    listed = [chunk("R", n * 1000, n * 1000 + 1000, notes=note) for n, note in enumerate(["salvaged: x", "", "m"])]
    for one in listed[:2]:
        detections_file(one)
    write_manifest(tmp_path / "m.csv", listed)
    table(manifest=(tmp_path / "m.csv",))
    assert [row["notes"] for row in rows("t/all_coverage.csv")] == ["salvaged: x", "", "m"]
