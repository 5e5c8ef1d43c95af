"""Quicklook and parquet report: the rankings, the chunks, the timeline, the figures, and their files."""

from __future__ import annotations

import csv
import json
from itertools import pairwise
from pathlib import Path

import pytest

from badc.reports.rankings.overview import parquet_report
from badc.reports.rankings.quicklook import MOST_STEPS, quicklook
from badc.reports.settings import ParquetReportSettings, QuicklookSettings
from badc.system.bars import sparkline

DAWN = "ST-1_20230509_055000"
SILENT = "ST-2_20230509_060000"
MINUTE = 60_000


@pytest.fixture
def parquet(write_detections, write_coverage):
    path = write_detections(
        [
            (DAWN, 1000, "Ovenbird", 0.5),
            (DAWN, 61_000, "Ovenbird", 1.0),
            (DAWN, 62_000, "Veery", 0.25),
            ("OTHER", 0, "Veery", None),
        ]
    )
    chunks = [(DAWN, n * MINUTE, (n + 1) * MINUTE, "ok" if n < 2 else "no_detections") for n in range(3)]
    write_coverage(path, [*chunks, (SILENT, 0, MINUTE, "no_detections"), (SILENT, MINUTE, 2 * MINUTE, "missing")])
    return path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_quicklook_ranks_labels_and_recordings(parquet):
    made = quicklook(QuicklookSettings(parquet=parquet))
    hours = 4 / 60
    assert made.labels.columns == (
        *("label", "label_name", "detections", "avg_confidence", "max_confidence", "recordings"),
        *("detections_per_hour", "unexpected", "events"),
    )
    assert made.labels.rows == (
        ("Ovenbird", "Ovenbird", 2, 0.75, 1.0, 1, pytest.approx(2 / hours), None, 2),
        ("Veery", "Veery", 2, 0.25, 0.25, 2, pytest.approx(2 / hours), None, 2),
    )
    assert [row[0] for row in made.recordings.rows] == [DAWN, "OTHER", SILENT]
    silent = made.recordings.as_dicts()[2]
    assert (silent["detections"], silent["labels"], silent["detections_per_hour"]) == (0, 0, 0.0)
    assert silent["recorded_at"].isoformat() == "2023-05-09T06:00:00"
    assert made.written == ()


def test_the_tables_are_cut_and_the_csvs_are_whole(parquet):
    made = quicklook(QuicklookSettings(parquet=parquet, top_labels=1, top_recordings=1, output_dir=Path("q [1]")))
    assert (len(made.labels.rows), made.labels.total) == (1, 2)
    assert (len(made.recordings.rows), made.recordings.total) == (1, 3)
    assert [path.name for path in made.written] == ["labels.csv", "recordings.csv", "chunks.csv"]
    assert [len(rows(path)) for path in made.written] == [2, 3, 6]
    assert all(path.read_bytes().endswith(b"\n") for path in made.written)


def test_the_chunks_tell_silence_from_what_was_not_analysed(parquet):
    made = quicklook(QuicklookSettings(parquet=parquet, output_dir=Path("q")))
    found = [
        (row["recording_id"], row["chunk_start_ms"], row["detections"], row["avg_confidence"], row["status"])
        for row in rows(made.written[2])
    ]
    assert found == [
        ("OTHER", "0", "1", "", "ok"),
        (DAWN, "0", "1", "0.5", "ok"),
        (DAWN, "60000", "2", "0.625", "ok"),
        (DAWN, "120000", "0", "", "no_detections"),
        (SILENT, "0", "0", "", "no_detections"),
        (SILENT, "60000", "", "", "missing"),
    ]


def test_the_chunk_timeline_pools_recordings_by_the_start_of_the_chunk(parquet):
    made = quicklook(QuicklookSettings(parquet=parquet))
    assert made.chunks.columns == ("chunk_start_ms", "detections", "avg_confidence", "analysed_chunks")
    assert made.chunks.rows == ((0, 2, 0.5, 2), (60_000, 2, 0.625, 1), (120_000, 0, None, 1))
    assert made.sparkline == "██ "


def test_many_chunks_are_pooled_into_few_steps(write_detections):
    found = [("R", n * MINUTE, "x", 0.5) for n in range(500) for _ in range(1 + n // 250)]
    made = quicklook(QuicklookSettings(parquet=write_detections(found)))
    assert len(made.chunks.rows) <= MOST_STEPS
    assert sum(row[1] for row in made.chunks.rows) == len(found) == 750
    starts = [row[0] for row in made.chunks.rows]
    assert {b - a for a, b in pairwise(starts)} == {1_800_000}
    assert len(made.sparkline) <= 60
    assert (made.sparkline[0], made.sparkline[-2]) == ("▄", "█")


def test_a_sparkline_shows_zero_and_the_smallest():
    assert sparkline([0, 1, 1000]) == " ▁█"
    assert sparkline([]) == ""
    assert sparkline([0, 0]) == "  "


def test_an_empty_table_has_no_chunks(write_detections):
    made = quicklook(QuicklookSettings(parquet=write_detections([]), output_dir=Path("q")))
    assert (made.labels.rows, made.recordings.rows, made.chunks.rows, made.sparkline) == ((), (), (), "")
    assert [len(rows(path)) for path in made.written] == [0, 0, 0]


def test_a_parquet_report_counts_time_from_the_start_of_the_recordings(write_detections):
    hour = 60 * MINUTE
    found = [("A", 0, "x", 0.5), ("B", hour - 1, "x", 1.0), ("A", 2 * hour, "x", 0.25)]
    path = write_detections(found)
    made = parquet_report(ParquetReportSettings(parquet=path))
    assert made.timeline.columns == ("bucket_index", "bucket_start_ms", "detections", "avg_confidence")
    assert made.timeline.rows == ((0, 0, 2, 0.75), (2, 2 * hour, 1, 0.25))
    made = parquet_report(ParquetReportSettings(parquet=path, bucket_minutes=30))
    assert [row[:3] for row in made.timeline.rows] == [(0, 0, 1), (1, hour // 2, 1), (4, 2 * hour, 1)]


def test_the_files_of_a_parquet_report(parquet):
    made = parquet_report(ParquetReportSettings(parquet=parquet, top_labels=1, output_dir=Path("r")))
    assert [path.name for path in made.written] == ["labels.csv", "recordings.csv", "timeline.csv", "summary.json"]
    assert [len(rows(path)) for path in made.written[:3]] == [2, 3, 1]
    assert rows(made.written[2])[0] == {
        "bucket_index": "0",
        "bucket_start_ms": "0",
        "detections": "4",
        "avg_confidence": "0.583333333",
    }
    summary = json.loads(made.written[3].read_text())
    assert summary == {
        "parquet": str(parquet),
        "coverage": str(parquet.with_name("d_coverage.parquet")),
        "min_confidence": 0.0,
        "thresholds": None,
        "bucket_minutes": 60,
        "detections": 4,
        "labels": 2,
        "recordings": 2,
        "stations": 1,
        "avg_confidence": 0.583333333,
        "max_confidence": 1.0,
        "first_detected_at": "2023-05-09T05:50:01.000",
        "last_detected_at": "2023-05-09T05:51:02.000",
        "chunks": {"missing": 1, "no_detections": 2, "ok": 2},
        "analysed_recordings": 2,
        "analysed_hours": pytest.approx(4 / 60),
        "detections_per_hour": pytest.approx(60),
        "events": 4,
    }


def test_without_coverage_the_figures_do_not_pretend(write_detections):
    made = parquet_report(ParquetReportSettings(parquet=write_detections([("A", 0, "x", 0.5)]), output_dir=Path("r")))
    summary = json.loads(made.written[3].read_text())
    assert summary["coverage"] is summary["analysed_hours"] is summary["detections_per_hour"] is None
    assert summary["chunks"] == {}
    assert "no table of coverage" in made.notes[0]


def test_min_confidence_holds_for_all_of_it(parquet):
    made = parquet_report(ParquetReportSettings(parquet=parquet, min_confidence=0.5))
    assert [row[:3] for row in made.labels.rows] == [("Ovenbird", "Ovenbird", 2)]
    assert (made.figures.detections, made.figures.recordings) == (2, 1)
    assert [row[2] for row in made.timeline.rows] == [2]


def test_a_second_report_is_the_same_to_the_byte(write_detections):
    path = write_detections([(f"R{n % 50}", n, f"bird {n % 7}", (n * 7919 % 1000) / 999) for n in range(30_000)])
    contents = []
    for folder in ("a", "b"):
        made = parquet_report(ParquetReportSettings(parquet=path, output_dir=Path(folder)))
        made_too = quicklook(QuicklookSettings(parquet=path, output_dir=Path(folder, "q")))
        contents.append([path.read_bytes() for path in (*made.written, *made_too.written)])
    assert contents[0] == contents[1]
