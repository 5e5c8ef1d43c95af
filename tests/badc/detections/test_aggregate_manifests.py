"""Aggregation with manifests: what they fill in, what is missing, and outputs of an earlier cut."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from badc.chunks.manifest import write_manifest
from badc.datasets.not_chunked import not_chunked_beside
from badc.detections.aggregate import NotChunked, aggregate
from badc.detections.settings import AggregateSettings
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


def test_recordings_without_chunks_are_in_the_coverage(
    chunk: MakeChunk, detections_file: Write, tmp_path: Path
) -> None:
    detections_file(chunk("REC", 0, 1000), ("bird", 0.5, 0, 10))
    write_manifest(tmp_path / "m.csv", [chunk("REC", 0, 1000)])
    others = [
        NotChunked(STATION, tmp_path / f"{STATION}.wav", "never chunked"),
        NotChunked("REC", tmp_path, ""),
    ]
    settings = AggregateSettings(detections_dir="out", output="t/all.csv", parquet="t/all.parquet", manifest=("m.csv",))
    made = aggregate(settings, not_chunked=others)
    assert (made.chunks, made.missing, made.not_chunked, made.detections) == (1, 0, 1, 1)
    assert "; not analysed: 1 recording without chunks" in made.describe()
    found = {row["recording_id"]: row for row in rows("t/all_coverage.csv")}
    assert list(found) == [STATION, "REC"]
    assert found[STATION] == {
        **dict.fromkeys(found[STATION], ""),
        **{"recording_id": STATION, "status": "not_chunked", "detections": "0", "notes": "never chunked"},
        **{"station": "GNWT-290", "recorded_at": "2023-03-31T23:59:38.000"},
    }
    assert_csv_and_parquet_agree()


@pytest.mark.parametrize("folder", ["manifests", "manifests/REC.csv", "elsewhere"])
def test_a_folder_of_manifests_tells_which_recordings_have_none(
    chunk: MakeChunk, detections_file: Write, tmp_path: Path, folder: str
) -> None:
    for name in ("REC", "bad"):
        (tmp_path / "ds" / "audio" / f"{name}.wav").parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "ds" / "audio" / f"{name}.wav").touch()
    audio = str(tmp_path / "ds" / "audio" / "REC.wav")
    for place in ("ds/manifests", "elsewhere"):
        write_manifest(tmp_path / place / "REC.csv", [chunk("REC", 0, 1000, source_path=audio)])
    given = tmp_path / folder if folder == "elsewhere" else tmp_path / "ds" / folder
    found = not_chunked_beside(AggregateSettings(detections_dir="out", manifest=(given,)))
    expected = [] if folder != "manifests" else [NotChunked("bad", tmp_path / "ds/audio/bad.wav", "never chunked")]
    assert found == expected


def test_a_bad_manifest_and_a_folder_without_manifests_are_refused(
    chunk: MakeChunk, detections_file: Write, tmp_path: Path
) -> None:
    detections_file(chunk())
    (tmp_path / "m.csv").write_text("what\nis this\n")
    (tmp_path / "none").mkdir()
    for path, reason in ((tmp_path / "m.csv", "missing"), (tmp_path / "none", "holds no manifest")):
        with pytest.raises(RequestError, match=reason):
            table(manifest=(path,))
