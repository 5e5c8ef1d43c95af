"""Plans: rows of any kind, in CSV and in JSON, there and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from badc.datasets.chunking.plan import ChunkPlanRow
from badc.errors import RequestError
from badc.system.row_files import PlanRow, read_plan, write_plan_csv, write_plan_json

CHUNK_COLUMNS = "recording_id,audio_path,manifest_path,chunk_output_dir,chunk_duration,overlap"


class Row(PlanRow):
    """A row with every kind of value that a plan has."""

    recording_id: str
    arguments: tuple[str, ...] = ()
    max_gpus: int | None = None
    use_it: bool = False
    note: str | None = None


ROWS = [
    Row(recording_id="REC", arguments=("--config", "a b,c", '"q"', "é", ""), max_gpus=2, use_it=True),
    Row(recording_id='two\nlines, "quoted"', note="\u2028 x"),
    Row(recording_id="007", max_gpus=0),
]


def chunk_row(recording_id: str = "REC") -> ChunkPlanRow:
    return ChunkPlanRow(
        recording_id=recording_id,
        audio_path=f"audio/{recording_id}.wav",
        manifest_path=f"manifests/{recording_id}.csv",
        chunk_output_dir=f"artifacts/chunks/{recording_id}",
        chunk_duration=60.0,
        overlap=0.0,
    )


@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_a_plan_comes_back_as_it_was(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "new folder" / f"plan.{suffix}"
    if suffix == "csv":
        write_plan_csv(path, Row, ROWS)
    else:
        write_plan_json(path, ROWS)
    assert read_plan(path, Row) == ROWS
    assert path.read_bytes().endswith(b"\n")


def test_the_chunk_plan_has_its_columns(tmp_path: Path, hostile_id: str) -> None:
    write_plan_csv(tmp_path / "p.csv", ChunkPlanRow, [chunk_row(hostile_id)])
    write_plan_json(tmp_path / "p.json", [chunk_row(hostile_id)])
    assert (tmp_path / "p.csv").read_text().splitlines()[0] == CHUNK_COLUMNS
    assert [list(row) for row in json.loads((tmp_path / "p.json").read_bytes())] == [CHUNK_COLUMNS.split(",")]
    assert read_plan(tmp_path / "p.csv", ChunkPlanRow) == read_plan(tmp_path / "p.json", ChunkPlanRow)


def test_a_list_in_csv_is_a_json_array_in_one_field(tmp_path: Path) -> None:
    write_plan_csv(tmp_path / "p.csv", Row, [Row(recording_id="R", arguments=("--a", "b"))])
    assert (tmp_path / "p.csv").read_text().splitlines()[1] == 'R,"[""--a"",""b""]",,false,'


def test_an_empty_plan_keeps_its_columns(tmp_path: Path) -> None:
    write_plan_csv(tmp_path / "p.csv", ChunkPlanRow, [])
    write_plan_json(tmp_path / "p.json", [])
    assert (tmp_path / "p.csv").read_text() == f"{CHUNK_COLUMNS}\n"
    assert read_plan(tmp_path / "p.csv", ChunkPlanRow) == read_plan(tmp_path / "p.json", ChunkPlanRow) == []


def test_plans_of_other_tools_are_read(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(b'\xef\xbb\xbfuse_it,recording_id,theirs,arguments\r\nTrue,A,x,[]\r\n\r\nFalse,B,y,"[""-v""]"\r\n')
    assert read_plan(path, Row) == [Row(recording_id="A", use_it=True), Row(recording_id="B", arguments=("-v",))]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.csv", "", "the plan is empty"),
        ("p.csv", "a,b\n", ":1: no column recording_id"),
        ("p.csv", "recording_id,max_gpus\nR,two\n", ":2: max_gpus 'two': input should be a valid integer"),
        ("p.csv", "recording_id,arguments\nR,x y\n", ":2: arguments 'x y': input should be a valid tuple"),
        ("p.json", "{", "the plan is not JSON"),
        ("p.json", "{}", "the plan is not a JSON array"),
        ("p.json", "[7]", ": row 1: the row 7: input should be a valid dictionary"),
        ("p.json", '[{"max_gpus": 1}]', ": row 1: recording_id is missing"),
    ],
)
def test_what_is_no_plan_is_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(RequestError) as refused:
        read_plan(tmp_path / name, Row)
    assert message in str(refused.value)
    assert str(refused.value).startswith(str(tmp_path / name))


def test_every_bad_row_is_told(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("recording_id,max_gpus\nA,x\nB,1\nC,y\n")
    with pytest.raises(RequestError, match=r"p\.csv:2: (?s:.*)p\.csv:4: "):
        read_plan(tmp_path / "p.csv", Row)


def test_missing_and_not_utf8(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no such plan"):
        read_plan(tmp_path / "none.csv", Row)
    (tmp_path / "p.csv").write_bytes(b"recording_id\n\xff\n")
    with pytest.raises(RequestError, match="not UTF-8"):
        read_plan(tmp_path / "p.csv", Row)
    with pytest.raises(RequestError, match="cannot be read"):
        read_plan(tmp_path, Row)
