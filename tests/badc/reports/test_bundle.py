"""The bundle: everything, in the layout that docs/formats.md promises, and what can be left out."""

from __future__ import annotations

import csv
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from badc.errors import RequestError
from badc.reports.bundle import make_bundle
from badc.reports.settings import BundleSettings
from badc.settings.model import settings_from

DAWN = "ST-1_20230509_055000"


@pytest.fixture
def parquet(write_detections, write_coverage):
    path = write_detections([(DAWN, 0, "Ovenbird", 0.5), (DAWN, 70_000, "Veery", 1.0)], "t/X.parquet")
    write_coverage(path, [(DAWN, 0, 60_000, "ok"), (DAWN, 60_000, 120_000, "ok")])
    return path


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


TABLES = {"X.parquet", "X_coverage.parquet"}
QUICKLOOK = {f"X_quicklook/{name}.csv" for name in ("labels", "recordings", "chunks")}
PARQUET = {f"X_parquet_report/{name}.csv" for name in ("labels", "recordings", "timeline")}
PARQUET |= {"X_parquet_report/summary.json"}
DUCKDB = {"X.duckdb"} | {f"X_duckdb_exports/{name}.csv" for name in ("label_summary", "recording_summary", "timeline")}


def test_everything_lies_beside_the_table(parquet):
    made = make_bundle(BundleSettings(parquet=parquet, no_clips=True))
    found = tree(parquet.parent) - TABLES
    assert {str(path.relative_to(parquet.parent)) for path in made.written} == found
    assert found >= QUICKLOOK | PARQUET | DUCKDB | {"X_report.html"}
    assert all(name.startswith("X_report") for name in found - QUICKLOOK - PARQUET - DUCKDB)
    assert made.figures.detections == 2
    assert made.notes == ()


@pytest.mark.parametrize(
    ("left_out", "gone"), [("no_quicklook", QUICKLOOK), ("no_parquet_report", PARQUET), ("no_duckdb_report", DUCKDB)]
)
def test_each_part_can_be_left_out(parquet, left_out, gone):
    make_bundle(BundleSettings(parquet=parquet, no_html=True, **{left_out: True}))
    assert tree(parquet.parent) == (TABLES | QUICKLOOK | PARQUET | DUCKDB) - gone


def test_another_folder_and_prefix(parquet):
    made = make_bundle(
        BundleSettings(parquet=parquet, output_dir=Path("o'ut [1]"), run_prefix="run *?'1", no_html=True)
    )
    assert tree(Path("o'ut [1]")) == {name.replace("X", "run *?'1", 1) for name in QUICKLOOK | PARQUET | DUCKDB}
    assert all(path.is_file() for path in made.written)
    assert tree(parquet.parent) == TABLES


def test_the_settings_reach_every_part(parquet):
    make_bundle(BundleSettings(parquet=parquet, min_confidence=0.75, bucket_minutes=1, no_html=True))
    folder = parquet.parent
    for name in ("X_quicklook/labels.csv", "X_parquet_report/labels.csv", "X_duckdb_exports/label_summary.csv"):
        assert [line.split(",")[0] for line in (folder / name).read_text().splitlines()] == ["label", "Veery"]
    for name in ("X_parquet_report/timeline.csv", "X_duckdb_exports/timeline.csv"):
        assert (folder / name).read_text().splitlines()[1:] == ["1,60000,1,1.0"]


def test_a_second_bundle_replaces_the_first(parquet):
    settings = BundleSettings(parquet=parquet, no_html=True)
    make_bundle(settings)
    before = {path: (parquet.parent / path).read_bytes() for path in QUICKLOOK | PARQUET}
    make_bundle(settings)
    assert {path: (parquet.parent / path).read_bytes() for path in before} == before


def test_nothing_is_written_when_the_database_is_open(parquet):
    path = parquet.parent / "X.duckdb"
    with duckdb.connect(str(path)) as old:
        old.execute("CREATE TABLE t (n INTEGER)")
        with pytest.raises(RequestError, match="the database is open elsewhere"):
            make_bundle(BundleSettings(parquet=parquet))
    assert tree(parquet.parent) == TABLES | {"X.duckdb"}


@pytest.mark.parametrize("prefix", ["../x", "a/b", "", ".."])
def test_a_prefix_is_a_name(parquet, prefix):
    with pytest.raises(RequestError, match=r"--run-prefix: "):
        settings_from(BundleSettings, {"parquet": parquet, "run_prefix": prefix})


def test_a_folder_that_cannot_be_made(parquet):
    Path("file").touch()
    with pytest.raises(OSError, match="file") as raised:
        make_bundle(BundleSettings(parquet=parquet, output_dir=Path("file/out"), no_html=True))
    assert raised.value.filename is not None
    assert tree(parquet.parent) == TABLES


@pytest.mark.parametrize("has_coverage", [False, True])
def test_a_table_without_times_gets_every_report(write_detections, write_coverage, has_coverage):
    times = ("chunk_start_ms", "chunk_end_ms", "timestamp_ms", "end_ms", "absolute_time_ms", "absolute_end_ms")
    nothing = dict.fromkeys((*times, "recorded_at", "detected_at"))
    parquet = write_detections([("A", 0, "Ovenbird", 0.5), ("B", 0, "Veery", 1.0)], "t/X.parquet", **nothing)
    if has_coverage:
        write_coverage(parquet, [("A", 0, 60_000, "ok")])
    made = make_bundle(BundleSettings(parquet=parquet))
    assert tree(parquet.parent) >= QUICKLOOK | PARQUET | DUCKDB | {"X_report.html"}
    assert made.figures.detections == 2
    page = (parquet.parent / "X_report.html").read_text()
    assert "Ovenbird" in page
    assert "Veery" in page


def test_the_chart_of_one_recording_is_of_one_with_times(write_detections):
    many = [("untimed", 0, f"bird {n}", 0.5) for n in range(5)]
    rows = write_detections(many, "untimed.parquet", absolute_time_ms=None, absolute_end_ms=None, chunk_start_ms=None)
    timed = write_detections([(DAWN, 0, "Ovenbird", 0.5)], "timed.parquet")
    Path("t").mkdir()
    pq.write_table(pa.concat_tables([pq.read_table(rows), pq.read_table(timed)]), "t/X.parquet")
    make_bundle(BundleSettings(parquet=Path("t/X.parquet"), no_clips=True))
    assert f"The recording {DAWN}" in Path("t/X_report.html").read_text()


RUN = ("=cmd()", "+1-800", "-x", "@x", "\t=x")
KEPT = ("-1.5", "+3", "-1e5", "Ovenbird", "a=b")


@pytest.mark.parametrize("for_spreadsheets", [False, True])
def test_csvs_for_spreadsheets_mark_what_would_be_run(write_detections, for_spreadsheets):
    found = [(f"={n}()", 0, label, 0.5) for n, label in enumerate((*RUN, *KEPT))]
    parquet = write_detections([*found, (DAWN, 0, "twice", 0.5), (DAWN, 1, "twice", 0.5)], "t/X.parquet")
    make_bundle(BundleSettings(parquet=parquet, no_html=True, for_spreadsheets=for_spreadsheets))
    for path in ("X_quicklook/labels.csv", "X_parquet_report/labels.csv", "X_duckdb_exports/label_summary.csv"):
        with Path("t", path).open(newline="") as stream:
            labels = [row["label"] for row in csv.DictReader(stream)]
        assert labels[0] == "twice", "the order is kept"
        marked = {f"'{label}" if for_spreadsheets else label for label in RUN}
        assert set(labels) == {"twice", *KEPT, *marked}
    with Path("t/X_quicklook/recordings.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert all(row["recording_id"].startswith("'=" if for_spreadsheets else "=") for row in rows[1:])
    assert rows[0]["avg_confidence"] == "0.5"
