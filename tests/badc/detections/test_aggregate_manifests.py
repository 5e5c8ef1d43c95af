"""Aggregation with manifests: what they fill in, what is missing, and outputs of an earlier cut."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from badc.chunks.manifest import write_manifest
from badc.errors import RequestError
from tests.badc.detections.test_aggregate import STATION, MakeChunk, Write, assert_csv_and_parquet_agree, rows, table


def test_manifests_tell_which_chunks_are_missing(chunk: MakeChunk, detections_file: Write, tmp_path: Path) -> None:
    detections_file(chunk(STATION, 0, 1000), ("bird", 0.5, 0, 10))
    (tmp_path / "manifests").mkdir()
    path = tmp_path / "manifests" / "REC.csv"
    write_manifest(path, [chunk(STATION, 0, 1000), chunk(STATION, 1000, 2000)])
    made = table(manifest=(tmp_path / "manifests", path))  # the folder holds that file too: no row comes twice
    assert (made.chunks, made.missing, made.detections) == (2, 1, 1)
    found = rows("t/all_coverage.csv")
    assert [(row["start_ms"], row["status"], row["detections"]) for row in found] == [
        ("0", "ok", "1"),
        ("1000", "missing", "0"),
    ]
    assert (found[1]["station"], found[1]["recorded_at"]) == ("GNWT-290", "2023-03-31T23:59:38.000")
    assert_csv_and_parquet_agree()


def test_outputs_of_an_earlier_cut_are_left_out(chunk: MakeChunk, detections_file: Write, tmp_path: Path) -> None:
    for start_ms in (0, 1000):
        detections_file(chunk(STATION, start_ms, start_ms + 1000), ("bird", 0.5, 0, 10))
    detections_file(chunk(STATION, 0, 2000), ("bird", 0.5, 0, 10), ("bird", 0.5, 1000, 1010))
    detections_file(chunk("OTHER", 0, 1000), ("bird", 0.5, 0, 10))
    write_manifest(tmp_path / "m.csv", [chunk(STATION, 0, 2000)])
    made = table(manifest=(tmp_path / "m.csv",))
    assert (made.chunks, made.missing, made.unlisted, made.detections) == (2, 0, 2, 3)
    assert "2 chunks of an earlier cut, which the manifests do not list, are left out" in made.describe()
    assert sorted(row["chunk_id"] for row in rows()) == [*[f"{STATION}_chunk_0_2000"] * 2, "OTHER_chunk_0_1000"]
    assert_csv_and_parquet_agree()


def test_manifests_fill_in_what_detections_lack(chunk: MakeChunk, tmp_path: Path) -> None:
    (tmp_path / "out" / STATION).mkdir(parents=True)
    bare = {"chunk_id": "c", "detections": [{"label": "bird", "timestamp_ms": 500, "end_ms": 900}]}
    (tmp_path / "out" / STATION / "c.json").write_text(json.dumps(bare))
    table()
    assert (rows()[0]["recording_id"], rows()[0]["absolute_time_ms"]) == (STATION, "")
    listed = chunk(STATION, 60_000, 61_000, chunk_id="c", sha256="abc", source_path="audio/a.wav")
    write_manifest(tmp_path / "m.csv", [listed])
    table(manifest=(tmp_path / "m.csv",))
    (row,) = rows()
    assert (row["chunk_start_ms"], row["chunk_end_ms"], row["chunk_sha256"]) == ("60000", "61000", "abc")
    assert (row["source_path"], row["absolute_time_ms"], row["absolute_end_ms"]) == ("audio/a.wav", "60500", "60900")
    assert row["detected_at"] == "2023-04-01T00:00:38.500"
    assert_csv_and_parquet_agree()


def test_a_manifest_alone_gives_a_coverage_of_missing_chunks(chunk: MakeChunk, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write_manifest(tmp_path / "m.csv", [chunk()])
    made = table(manifest=(tmp_path / "m.csv",))
    assert (made.chunks, made.missing, made.detections) == (1, 1, 0)


def test_a_bad_manifest_and_a_folder_without_manifests_are_refused(
    chunk: MakeChunk, detections_file: Write, tmp_path: Path
) -> None:
    detections_file(chunk())
    (tmp_path / "m.csv").write_text("what\nis this\n")
    (tmp_path / "none").mkdir()
    for path, reason in ((tmp_path / "m.csv", "missing"), (tmp_path / "none", "holds no manifest")):
        with pytest.raises(RequestError, match=reason):
            table(manifest=(path,))
