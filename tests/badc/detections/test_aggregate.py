"""Aggregation: the rows of the tables, and how they are sorted."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from badc.chunks.manifest import Chunk, write_manifest
from badc.detections.aggregate import Aggregation, aggregate
from badc.detections.fingerprint import fingerprint_of
from badc.detections.result import ResultStatus
from badc.detections.settings import AggregateSettings
from badc.detections.tables import RUNS_KEY, coverage_path

MakeChunk = Callable[..., Chunk]
Write = Callable[..., Path]
COLUMNS = (
    "recording_id,chunk_id,chunk_start_ms,chunk_end_ms,timestamp_ms,absolute_time_ms,end_ms,absolute_end_ms,label,"
    "label_code,label_name,confidence,status,runner,model_version,chunk_sha256,source_path,dataset_root,"
    "station,recorded_at,detected_at,recorded_utc_offset_min,merged_from,fingerprint,study_area,occurrence"
)
COVERAGE_COLUMNS = (
    "recording_id,chunk_id,start_ms,end_ms,status,runner,detections,station,recorded_at,recorded_utc_offset_min,"
    "fingerprint,notes,study_area"
)
STATION = "GNWT-290_20230331_235938"


def table(folder: Path = Path("out"), **settings: Any) -> Aggregation:
    return aggregate(
        AggregateSettings(
            detections_dir=folder, **{"output": Path("t/all.csv"), "parquet": Path("t/all.parquet"), **settings}
        )
    )


def rows(path: str = "t/all.csv") -> list[dict[str, str]]:
    with Path(path).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def parquet(path: str = "t/all.parquet") -> list[dict[str, Any]]:
    return list(pq.read_table(path).to_pylist())


def as_csv(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds")
    return str(value)


def assert_csv_and_parquet_agree() -> None:
    for stem in ("t/all", "t/all_coverage"):
        expected = [{name: as_csv(value) for name, value in row.items()} for row in parquet(f"{stem}.parquet")]
        found = rows(f"{stem}.csv")
        for row in (*expected, *found):
            row |= {name: f"{float(row[name]):.9f}" for name in ("confidence", "occurrence") if row.get(name)}
        assert found == expected


def test_a_detection_becomes_a_row_with_all_columns(chunk: MakeChunk, detections_file: Write) -> None:
    detections_file(
        chunk(STATION, 60_000, 120_000, sha256="abc"),
        ("Ovenbird", 0.75, 1500, 4500),
        model_version="v2.4",
        dataset_root="/data/set",
    )
    made = table()
    assert (made.files, made.chunks, made.detections, made.bad_files) == (1, 1, 1, [])
    assert Path("t/all.csv").read_text().splitlines()[0] == COLUMNS
    assert rows() == [
        {
            "recording_id": STATION,
            "chunk_id": f"{STATION}_chunk_60000_120000",
            "chunk_start_ms": "60000",
            "chunk_end_ms": "120000",
            "timestamp_ms": "1500",
            "absolute_time_ms": "61500",
            "end_ms": "4500",
            "absolute_end_ms": "64500",
            "label": "Ovenbird",
            "label_code": "",
            "label_name": "",
            "confidence": "0.75",
            "status": "ok",
            "runner": "birdnet",
            "model_version": "v2.4",
            "chunk_sha256": "abc",
            "source_path": f"{STATION}.wav",
            "dataset_root": "/data/set",
            "station": "GNWT-290",
            "recorded_at": "2023-03-31T23:59:38.000",
            "detected_at": "2023-04-01T00:00:39.500",
            "recorded_utc_offset_min": "",
            "merged_from": "1",
            "fingerprint": fingerprint_of({"runner": "birdnet", "model_version": "v2.4"}),
            "study_area": "",
            "occurrence": "",
        }
    ]
    assert_csv_and_parquet_agree()


def test_results_of_several_settings_are_said_first(chunk: MakeChunk, detections_file: Write) -> None:
    """As an interrupted --replace-results leaves them."""
    detections_file(chunk("REC", 0, 1000), model_version="v1")
    detections_file(chunk("REC", 1000, 2000), model_version="v2")
    detections_file(chunk("REC", 2000, 3000), model_version="v2")
    assert table().notes[0] == (
        "these results were made with 2 different settings, which do not compare: 1. v2 (2 chunks); 2. v1 (1 chunk)"
    )


def test_coverage_has_a_row_for_every_chunk(chunk: MakeChunk, detections_file: Write) -> None:
    detections_file(chunk("REC", 0, 1000), ("a", 0.5, 0, 10), ("b", 0.5, 0, 10))
    detections_file(chunk("REC", 1000, 2000))
    made = table()
    assert (made.chunks, made.detections) == (2, 2)
    assert Path("t/all_coverage.csv").read_text().splitlines()[0] == COVERAGE_COLUMNS
    assert [(row["chunk_id"], row["status"], row["detections"]) for row in rows("t/all_coverage.csv")] == [
        ("REC_chunk_0_1000", "ok", "2"),
        ("REC_chunk_1000_2000", "no_detections", "0"),
    ]
    assert set(made.written) == {
        Path(f"t/all{kind}.{suffix}").absolute() for kind in ("", "_coverage") for suffix in ("csv", "parquet")
    }
    assert_csv_and_parquet_agree()


def test_placeholders_are_coverage_and_no_detections(chunk: MakeChunk, detections_file: Write) -> None:
    ghost = ("placeholder", 1.0, 0, 10)
    detections_file(chunk("REC", 0, 1000), ghost, status=ResultStatus.STUB, runner="stub")
    detections_file(chunk("REC", 1000, 2000), ghost, status=ResultStatus.NO_OUTPUT, runner="custom")
    detections_file(chunk("REC", 2000, 3000), ("real", 0.9, 0, 10))
    made = table()
    assert made.analysed_ms == 1000
    assert (
        made.describe() == "1 detection in 3 chunks, 0 of them without an output; 1 chunk whose command wrote nothing"
    )
    assert made.not_analysed == "1 chunk whose command wrote nothing"
    assert [row["label"] for row in rows()] == ["real"]
    assert [(row["status"], row["detections"]) for row in rows("t/all_coverage.csv")] == [
        ("stub", "0"),
        ("no_output", "0"),
        ("ok", "1"),
    ]


def test_older_files_of_hawkears_get_the_code_as_label_and_other_files_keep_theirs(
    chunk: MakeChunk, detections_file: Write
) -> None:
    for number, (label, runner) in enumerate(
        [("Ovenbird", "hawkears"), ("OVEN", "hawkears"), ("a song", "hawkears"), ("Ovenbird", "custom")]
    ):
        path = detections_file(chunk("REC", number * 1000, number * 1000 + 1000), (label, 0.5, 0, 10), runner=runner)
        document = json.loads(path.read_bytes())
        document["detections"][0] |= {"label_code": "OVEN", "label_name": "Ovenbird"}
        path.write_text(json.dumps(document))
    table()
    assert [row["label"] for row in rows()] == ["OVEN", "OVEN", "a song", "Ovenbird"]
    assert {(row["label_code"], row["label_name"]) for row in rows()} == {("OVEN", "Ovenbird")}


def test_rows_are_sorted_by_recording_chunk_time_and_label(chunk: MakeChunk, detections_file: Write) -> None:
    for recording in ("b", "a b", "a", "B", "é"):
        for start in (100_000, 20_000, 3000):
            detections_file(
                chunk(recording, start, start + 3000),
                ("z", 0.5, 10, 20),
                ("y", 0.5, 500, 600),
                ("x", 0.5, 10, 20),
            )
    table()
    keys = [(row["recording_id"], int(row["chunk_start_ms"]), int(row["timestamp_ms"]), row["label"]) for row in rows()]
    assert keys == sorted(keys)
    assert len(keys) == 45
    coverage = [(row["recording_id"], int(row["start_ms"])) for row in rows("t/all_coverage.csv")]
    assert coverage == sorted(coverage)
    assert_csv_and_parquet_agree()


def test_rows_are_sorted_by_what_the_files_say_not_by_their_names(
    chunk: MakeChunk, detections_file: Write, tmp_path: Path
) -> None:
    for number, name in enumerate(("z", "m", "a")):
        path = detections_file(chunk(name, number * 1000, number * 1000 + 1000), ("bird", 0.5, 0, 10))
        path.rename(tmp_path / "out" / f"{number}.json")
    table()
    assert [row["recording_id"] for row in rows()] == ["a", "m", "z"]
    assert_csv_and_parquet_agree()


def test_labels_with_commas_quotes_and_newlines_survive(chunk: MakeChunk, detections_file: Write) -> None:
    labels = ["a, b", 'say "hi"', "o'brien", "two\nlines", "carriage\rreturn", "é漢", "-1", "tab\tbed", '",\n"']
    for number, label in enumerate(labels):
        detections_file(chunk("REC", number * 1000, number * 1000 + 1000), (label, 0.5, 0, 10))
    table()
    assert [row["label"] for row in rows()] == labels
    assert [row["label"] for row in parquet()] == labels


@pytest.mark.parametrize("label", ["plain", "a, b", 'say "hi"', "two\nlines", "carriage\rreturn"])
def test_each_such_label_survives_alone(chunk: MakeChunk, detections_file: Write, label: str) -> None:
    detections_file(chunk(), (label, 0.5, 0, 10))
    table()
    assert [row["label"] for row in rows()] == [label]


def test_hostile_ids_survive(chunk: MakeChunk, detections_file: Write, hostile_ids: tuple[str, ...]) -> None:
    for name in hostile_ids:
        detections_file(chunk(name), ("bird", 0.5, 0, 10))
    table()
    assert sorted(row["recording_id"] for row in rows()) == sorted(hostile_ids)
    assert_csv_and_parquet_agree()


@pytest.mark.parametrize("name", ["site_hawkears", "x.summary", "artifacts"])
def test_no_legal_id_is_skipped_in_silence(chunk: MakeChunk, detections_file: Write, name: str) -> None:
    detections_file(chunk(name, chunk_id=name), ("bird", 0.5, 0, 10))
    detections_file(chunk("REC"), ("bird", 0.5, 0, 10))
    table()
    assert sorted(row["recording_id"] for row in rows()) == sorted([name, "REC"])


@pytest.mark.parametrize("name", ["a[1]", "star*", "o'brien", 'quo"te', "per%20cent", "two words", "é", "a;b", "{x}"])
def test_folders_of_any_name_work(chunk: MakeChunk, detections_file: Write, tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    for recording in ("b", "a"):  # with several, the order of the files is not that of the rows
        detections_file(chunk(recording), ("bird", 0.5, 0, 10)).rename(
            tmp_path / name / f"{'ab'[recording == 'a']}.json"
        )
    write_manifest(tmp_path / name / "m.csv", [chunk("a"), chunk("a", 1000, 2000)])
    made = table(
        tmp_path / name,
        output=tmp_path / name / "t.csv",
        parquet=tmp_path / name / f"{name}.parquet",
        manifest=(tmp_path / name / "m.csv",),
    )
    assert (made.detections, made.chunks, made.missing) == (2, 3, 1)
    assert [row["recording_id"] for row in parquet(f"{name}/{name}.parquet")] == ["a", "b"]


def test_files_without_detections_give_a_table_with_a_header_only(chunk: MakeChunk, detections_file: Write) -> None:
    detections_file(chunk())
    table()
    assert Path("t/all.csv").read_text() == COLUMNS + "\n"
    assert parquet() == []


def test_without_an_output_the_table_goes_into_the_dataset(
    chunk: MakeChunk, detections_file: Write, tmp_path: Path
) -> None:
    (tmp_path / ".datalad").mkdir()
    detections_file(chunk())
    made = table(output=None, parquet=None)
    csv_path = tmp_path / "artifacts" / "aggregate" / "summary.csv"
    assert made.written == [csv_path, coverage_path(csv_path)]
    assert sorted(path.name for path in csv_path.parent.iterdir()) == ["summary.csv", "summary_coverage.csv"]


def test_many_files_are_read_in_batches_with_progress(chunk: MakeChunk, detections_file: Write) -> None:
    for number in range(20):
        detections_file(chunk("REC", number * 1000, number * 1000 + 1000), ("bird", 0.5, 0, 10))
    seen: list[int] = []
    made = aggregate(AggregateSettings(detections_dir=Path("out"), output=Path("t.csv")), seen.append)
    assert made.files == 20 == seen[-1]


def test_the_same_input_gives_the_same_tables(chunk: MakeChunk, detections_file: Write) -> None:
    for name in ("b", "a"):
        detections_file(chunk(name), ("bird", 0.5, 0, 10))
    table()
    first = [Path(f"t/all{kind}").read_bytes() for kind in (".csv", "_coverage.csv")]
    table()
    assert [Path(f"t/all{kind}").read_bytes() for kind in (".csv", "_coverage.csv")] == first


def test_the_tables_say_what_made_each_result(chunk: MakeChunk, detections_file: Write) -> None:
    kinds = [{"runner": "birdnet", "min_confidence": threshold} for threshold in (0.25, 0.1)]
    for number, settings in enumerate([*kinds, None]):
        start = number * 1000
        detections_file(chunk("REC", start, start + 1000), ("Ovenbird", 0.5, 0, 10), settings=settings)
    table()
    digests = [fingerprint_of(settings) for settings in [*kinds, {"runner": "birdnet"}]]
    for name in ("all", "all_coverage"):
        made = pq.read_table(f"t/{name}.parquet")
        assert made.column("fingerprint").to_pylist() == digests
        told = json.loads(pq.read_metadata(f"t/{name}.parquet").metadata[RUNS_KEY.encode()])
        assert told == dict(zip(digests, [*kinds, {"runner": "birdnet"}], strict=True))
