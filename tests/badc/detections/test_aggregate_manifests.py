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


def bare(path: str, chunk_id: str, **more: object) -> None:
    """Write a file of detections that names no recording."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    found = [{"label": "bird", "timestamp_ms": 500, "end_ms": 900}]
    Path(path).write_text(json.dumps({"chunk_id": chunk_id, "status": "ok", "detections": found} | more))


def test_a_chunk_is_found_by_its_id_wherever_its_file_lies(chunk: MakeChunk, tmp_path: Path) -> None:
    write_manifest(tmp_path / "a.csv", [chunk(STATION, 60_000, 61_000, chunk_id="c"), chunk(STATION, chunk_id="d")])
    bare("out/batch 7/anything.json", "c")
    bare("out/flat.json", "d", recording_id="")
    bare("out/REC/x.json", "of no manifest")
    made = table(manifest=(tmp_path / "a.csv",))
    assert (made.missing, made.bad) == (0, 0)
    assert [(row["recording_id"], row["chunk_id"], row["absolute_time_ms"]) for row in rows()] == [
        (STATION, "d", "500"),
        (STATION, "c", "60500"),
        ("REC", "of no manifest", ""),
    ]
    assert rows()[1]["detected_at"] == "2023-04-01T00:00:38.500"


def test_a_chunk_id_of_several_recordings_is_reported_unless_the_folder_says_which(
    chunk: MakeChunk, tmp_path: Path
) -> None:
    for name in ("A", "B"):
        write_manifest(tmp_path / f"{name}.csv", [chunk(name, chunk_id="c")])
    bare("out/B/c.json", "c")
    bare("out/elsewhere/c.json", "c")
    made = table(manifest=(tmp_path / "A.csv", tmp_path / "B.csv"))
    ((path, reason),) = made.bad_files
    assert path == tmp_path / "out/elsewhere/c.json"
    assert reason == "names no recording, and the manifests have its chunk in several: A, B"
    assert [row["recording_id"] for row in rows()] == ["B"]
    assert [(row["recording_id"], row["status"]) for row in rows("t/all_coverage.csv")] == [
        ("A", "missing"),
        ("B", "ok"),
    ]


HEADER = "filename,start_time,end_time,class_name,class_code,score\n"


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("name", ["c.wav", "MD5E-s12--abc.wav"])
def test_a_file_that_only_names_hawkears_output_gets_its_detections(tmp_path: Path, moved: bool, name: str) -> None:
    raw = tmp_path / "out/REC/c_hawkears"
    named = Path("/gone/REC/c_hawkears") if moved else raw
    bare("out/REC/c.json", "c", detections=[], status=None, hawkears_output=str(named), runner="hawkears")
    raw.mkdir()
    (raw / "HawkEars_labels.csv").write_text(f"{HEADER}{name},1.5,4.5,Hermit Thrush,HETH,0.75\n")
    table()
    (row,) = rows()
    assert (row["label"], row["label_code"], row["label_name"]) == ("HETH", "HETH", "Hermit Thrush")
    assert (row["timestamp_ms"], row["end_ms"], row["confidence"], row["status"]) == ("1500", "4500", "0.75", "ok")
    (raw / "HawkEars_labels.csv").write_text(HEADER)
    assert table().detections == 0
    assert [row["status"] for row in rows("t/all_coverage.csv")] == ["no_detections"]


@pytest.mark.parametrize(
    ("folder", "text", "reason"),
    [
        ("c_hawkears", None, "which has no HawkEars_labels.csv"),
        ("c_hawkears", "filename,score\n", "it lacks start_time"),
        ("c_hawkears", f"{HEADER}c.wav,soon,2,a,A,0.5\n", "start_time is 'soon'"),
        ("shared", f"{HEADER}other.wav,1,2,a,A,0.5\n", "its rows are of other.wav, not of this chunk"),
    ],
)
def test_a_hawkears_output_that_cannot_be_used_is_a_bad_file_and_not_silence(
    tmp_path: Path, folder: str, text: str | None, reason: str
) -> None:
    raw = tmp_path / "out/REC" / folder
    raw.mkdir(parents=True)
    if text is not None:
        (raw / "HawkEars_labels.csv").write_text(text)
    bare("out/REC/c.json", "c", detections=None, hawkears_output=str(raw))
    made = table()
    assert (made.chunks, made.bad) == (0, 1)
    assert reason in made.bad_files[0][1]


def test_rows_of_a_shared_table_go_to_their_chunks_and_own_detections_count_first(tmp_path: Path) -> None:
    raw = tmp_path / "out/raw"
    raw.mkdir(parents=True)
    (raw / "HawkEars_labels.csv").write_text(f"{HEADER}a.wav,1,2,x,AAAA,0.5\nb.wav,1,2,y,BBBB,0.5\n")
    for name in ("a", "b"):
        bare(f"out/REC/{name}.json", name, detections=[], hawkears_output=str(raw))
    bare("out/REC/c.json", "c", hawkears_output=str(raw))
    bare("out/REC/d.json", "d", status="no_detections", detections=[], hawkears_output="nowhere")
    made = table()
    assert made.bad_files == []
    assert {(row["chunk_id"], row["label"]) for row in rows()} == {("a", "AAAA"), ("b", "BBBB"), ("c", "bird")}
