"""The Python API: tables and bundles as DataFrames, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from badc.detections.tables import DETECTIONS_SCHEMA
from badc.errors import RequestError
from badc.reports import load_coverage, load_detections, load_effort, load_runs, open_bundle, summary
from badc.reports.files.database import make_database
from badc.reports.files.frames import BundleDatabase
from badc.reports.settings import DatabaseSettings

DAWN = "ST-1_20230509_055000"


@pytest.fixture
def parquet(write_detections, write_coverage):
    path = write_detections([(DAWN, 5000, "Veery", 0.9), (DAWN, 0, "Ovenbird", 0.5), ("A", 0, "Veery", None)])
    write_coverage(path, [(DAWN, 0, 60_000, "ok"), (DAWN, 60_000, 120_000, "missing")])
    return path


@pytest.fixture
def database(parquet):
    return make_database(DatabaseSettings(parquet=parquet, database=Path("x.duckdb"))).database


def test_detections_come_in_order_with_their_types(parquet):
    frame = load_detections(parquet)
    assert list(frame.columns[: len(DETECTIONS_SCHEMA)]) == DETECTIONS_SCHEMA.names
    assert list(frame["label"]) == ["Veery", "Ovenbird", "Veery"]
    assert frame["absolute_time_ms"].tolist() == [0, 0, 5000]
    assert pd.api.types.is_datetime64_any_dtype(frame["local_time"])
    assert frame["detected_at"][2] == pd.Timestamp("2023-05-09 05:50:05")
    assert pd.isna(frame["confidence"][0])


def test_detections_can_be_chosen(parquet):
    Path("sites.csv").write_text("station,latitude,longitude,study_area,timezone,clock\nST-1,1,2,N,Asia/Tokyo,utc\n")
    frame = load_detections(
        str(parquet),
        sites="sites.csv",
        min_confidence=0.5,
        labels=["veery"],
        columns=["label", "study_area", "date", "hour"],
    )
    assert frame.to_dict("records") == [
        {"label": "Veery", "study_area": "N", "date": pd.Timestamp(date(2023, 5, 9)), "hour": 14}
    ]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"columns": ["label", "species"]}, "there is no column species; there are recording_id, chunk_id, "),
        ({"labels": ["very"]}, "no detection is labelled 'very'; did you mean 'Veery'?"),
        ({"min_confidence": 2}, "min_confidence 2 is not between 0 and 1"),
        ({"sites": "none.csv"}, "none.csv: no such CSV of sites"),
    ],
)
def test_a_wrong_request_for_detections_is_refused(parquet, more, message):
    with pytest.raises(RequestError) as raised:
        load_detections(parquet, **more)
    assert message in str(raised.value)


def test_coverage_effort_and_runs_are_read_beside_the_detections(parquet):
    coverage = load_coverage(parquet, columns=["recording_id", "analysed", "length_ms"])
    assert coverage.values.tolist() == [[DAWN, True, 60_000], [DAWN, False, 60_000]]
    with pytest.raises(RequestError, match="there is no column status_; there are recording_id, "):
        load_coverage(parquet, columns=["status_"])
    (hour,) = load_effort(parquet).to_dict("records")
    assert (hour["station"], hour["night"], hour["hour"]) == ("ST-1", pd.Timestamp(2023, 5, 8), 5)
    assert hour["analysed_ms"] == 60_000
    (run,) = load_runs(parquet).to_dict("records")
    assert (run["settings"], run["detections"]) == ({"runner": "birdnet"}, 3)


def test_a_summary_is_that_of_the_command_and_can_be_complete(parquet):
    frame = summary(parquet, by=["station", "label"], complete=True, min_confidence=0.5)
    assert frame[["station", "label", "detections", "analysed_hours"]].values.tolist() == [
        ["ST-1", "Ovenbird", 1, 1 / 60],
        ["ST-1", "Veery", 1, 1 / 60],
    ]
    assert summary(parquet, min_confidence=0.8, labels=["veery", "ovenbird"], complete=True)["detections"].tolist() == (
        [1, 0]
    )
    with pytest.raises(RequestError, match="group_by: 'species' is not one of label, recording_id"):
        summary(parquet, by=["species"])
    with pytest.raises(RequestError, match="minimum: extra inputs are not permitted"):
        summary(parquet, minimum=0.5)


def test_a_bundle_gives_its_views(database):
    with open_bundle(database) as bundle:
        assert isinstance(bundle, BundleDatabase)
        assert bundle.label_summary.values.tolist() == [
            ["Veery", "Veery", 2, 0.9, 2],
            ["Ovenbird", "Ovenbird", 1, 0.5, 1],
        ]
        assert list(bundle.recording_summary["recording_id"]) == [DAWN, "A"]
        assert bundle.timeline_summary["detections"].tolist() == [3]
        assert bundle.detections["label"].tolist() == ["Veery", "Ovenbird", "Veery"]
        assert bundle.coverage["analysed"].tolist() == [True, False]
        assert bundle.effort["analysed_ms"].tolist() == [60_000]
        assert bundle.events["detections"].tolist() == [1, 1, 1]
        assert bundle.query("SELECT count(*) AS n FROM detections WHERE label = ?", ["Veery"])["n"][0] == 2
        with pytest.raises(RequestError, match=r"x\.duckdb: .*nothing"):
            bundle.query("SELECT nothing FROM detections")
    with pytest.raises(RequestError, match=r"x\.duckdb: "):
        bundle.query("SELECT 1")


def test_an_open_bundle_cannot_be_changed(database):
    with open_bundle(str(database)) as bundle, pytest.raises(RequestError, match="read-only"):
        bundle.query("DROP TABLE detections")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("DROP VIEW label_summary", "label_summary is missing, so it is no database of `badc report duckdb`"),
        (
            "DROP TABLE coverage; CREATE OR REPLACE VIEW timeline_summary AS SELECT 1 AS bucket_index",
            "coverage, timeline_summary.bucket_start_ms, timeline_summary.detections, "
            "timeline_summary.avg_confidence are missing",
        ),
    ],
)
def test_a_database_that_lacks_something_is_refused(database, change, message):
    with duckdb.connect(str(database)) as opened:
        opened.execute(change)
    with pytest.raises(RequestError) as raised:
        open_bundle(database)
    assert message in str(raised.value)
    with duckdb.connect(str(database)):
        pass  # nothing holds it


def test_what_is_no_database_is_refused():
    with pytest.raises(RequestError, match=r"none\.duckdb: no such database; `badc report bundle` writes one"):
        open_bundle("none.duckdb")
    Path("x.duckdb").write_text("no database " * 2000)
    with pytest.raises(RequestError, match=r"x\.duckdb: cannot be opened"):
        open_bundle("x.duckdb")


def test_the_package_is_quick_to_import():
    code = "import sys, badc.reports; print(sorted({'duckdb', 'pandas', 'pyarrow', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
