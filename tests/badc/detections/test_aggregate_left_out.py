"""Aggregation: files that are left out or cannot be used, and tables that are not written."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from badc.detections.aggregate import aggregate
from badc.detections.settings import AggregateSettings
from badc.errors import BadcError, RequestError
from badc.system.annex import ContentElsewhereError
from tests.badc.detections.test_aggregate import MakeChunk, Write, rows, table


def test_files_that_macos_left_beside_others_are_passed_over(
    chunk: MakeChunk, detections_file: Write, tmp_path: Path
) -> None:
    path = detections_file(chunk("REC", 0, 1000), ("a", 0.5, 0, 10))
    (tmp_path / "manifests").mkdir()
    header = "recording_id,chunk_id,source_path,start_ms,end_ms,overlap_ms,sha256,notes"
    row = "REC,REC_chunk_0_1000,REC.wav,0,1000,0,,"
    (tmp_path / "manifests" / "REC.csv").write_text(f"{header}\n{row}\n")
    for beside in (path, tmp_path / "manifests" / "REC.csv"):
        beside.with_name(f"._{beside.name}").write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        ")
    made = table(manifest=(tmp_path / "manifests",))
    assert (made.files, made.bad, made.detections) == (1, 0, 1)


def test_folders_passed_over_with_results_are_named(chunk: MakeChunk, detections_file: Write) -> None:
    detections_file(chunk("A"))
    for name in (".x", "Recycled/B", ".git"):
        Path("out", name).mkdir(parents=True)
        Path("out", name, "B_chunk_0_1000.json").write_text("{}")
    Path("out", ".empty").mkdir()
    note = "passed over, as hidden or not of a user's making: {}; rename those that are wanted"
    made = table()
    assert (made.files, made.notes[-1]) == (1, note.format(".x, Recycled"))
    Path("out/Recycled").rename("Recycled")
    Path("none").mkdir()
    Path("Recycled").rename("none/Recycled")
    assert (table(Path("none")).written, table(Path("none")).notes) == ([], [note.format("Recycled")])


def test_a_recordings_table_is_not_replaced_by_that_of_another_output_folder(
    chunk: MakeChunk, detections_file: Write
) -> None:
    detections_file(chunk("A"))
    shutil.copytree("out/A", "low/A")
    assert table(Path("out/A")).written
    with pytest.raises(
        RequestError, match=r"t/all\.parquet: is the table of the detections in \S+/out/A; name another"
    ):
        table(Path("low/A"))
    assert table(Path("out/A")).written, "again"
    assert table(Path("out")).written, "a table of all is made of whatever its user says"
    assert table(Path("low")).written


BAD = {
    "truncated": (b'{"chunk_id": "x", "detections": [', "not JSON"),
    "empty": (b"", "not JSON"),
    "list": (b"[]", "not a JSON object"),
    "number": (b"7", "not a JSON object"),
    "latin": ('{"chunk_id": "café"}'.encode("latin-1"), "not JSON"),
    "no id": (b"{}", "no chunk_id"),
    "id": (b'{"chunk_id": 5}', "'chunk_id' is not text"),
    "confidence": (b'{"chunk_id": "x", "detections": [{"label": "a", "confidence": "high"}]}', "confidence is text"),
    "time": (b'{"chunk_id": "x", "detections": [{"label": "a", "timestamp_ms": "1"}]}', "timestamp_ms is text"),
    "start": (b'{"chunk_id": "x", "chunk": {"start_ms": "0"}, "detections": []}', "chunk.start_ms"),
    "window": (b'{"chunk_id": "x", "chunk": 5, "detections": []}', "'chunk' is not an object"),
    "detections": (b'{"chunk_id": "x", "detections": {}}', "an object, not a list"),
    "label": (b'{"chunk_id": "x", "detections": [{"confidence": 0.5}]}', "has no label"),
    "huge time": (b'{"chunk_id": "x", "detections": [{"label": "a", "timestamp_ms": 1e300}]}', "timestamp_ms"),
    "huge end": (b'{"chunk_id": "x", "detections": [{"label": "a", "end_ms": 9223372036854775808}]}', "end_ms"),
    "huge start": (b'{"chunk_id": "x", "chunk": {"start_ms": 9223372036854775808}, "detections": []}', "start_ms"),
    "status": (b'{"chunk_id": "x", "status": [], "detections": []}', "'status' is not text"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_listed_with_its_reason_and_the_others_are_used(
    chunk: MakeChunk, detections_file: Write, tmp_path: Path, kind: str
) -> None:
    data, reason = BAD[kind]
    detections_file(chunk(), ("bird", 0.5, 0, 10))
    bad = tmp_path / "out" / "REC" / "bad.json"
    bad.write_bytes(data)
    made = table()
    assert (made.files, made.detections) == (2, 1)
    ((path, why),) = made.bad_files
    assert path == bad
    assert reason in why
    assert [row["label"] for row in rows()] == ["bird"]


def test_tables_are_not_made_without_what_is_elsewhere(
    chunk: MakeChunk, detections_file: Write, tmp_path: Path
) -> None:
    detections_file(chunk(), ("bird", 0.5, 0, 10))
    (tmp_path / "out" / "REC" / "gone.json").symlink_to(".git/annex/objects/none")
    with pytest.raises(ContentElsewhereError, match=r"gone\.json: .*`datalad -C .* get gone\.json`"):
        table()
    assert not list(tmp_path.glob("*.csv"))


def test_strict_stops_at_a_bad_file_and_writes_nothing(
    chunk: MakeChunk, detections_file: Write, tmp_path: Path
) -> None:
    detections_file(chunk(), ("bird", 0.5, 0, 10))
    bad = tmp_path / "out" / "REC" / "bad.json"
    bad.write_text("[]")
    with pytest.raises(BadcError, match=r"bad\.json: not a JSON object"):
        table(strict=True)
    assert [path for path in tmp_path.rglob("*") if path.suffix in (".csv", ".parquet")] == []


def test_an_empty_folder_writes_no_table(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    made = table()
    assert (made.files, made.written) == (0, [])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_missing_folder_is_refused_by_name() -> None:
    with pytest.raises(RequestError, match="none: no such folder"):
        table(Path("none"))


def test_a_table_that_is_a_folder_is_refused(chunk: MakeChunk, detections_file: Write, tmp_path: Path) -> None:
    detections_file(chunk())
    with pytest.raises(RequestError, match="is a folder"):
        table(parquet=tmp_path)


def test_the_two_tables_cannot_be_one_file(chunk: MakeChunk, detections_file: Write) -> None:
    folder = detections_file(chunk()).parent.parent
    settings = AggregateSettings(detections_dir=folder, output=folder / "t", parquet=folder / "t")
    with pytest.raises(RequestError, match="must be two files"):
        aggregate(settings)
