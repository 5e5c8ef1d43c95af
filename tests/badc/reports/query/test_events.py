"""Events: what follows without a gap is one, counted as the view has them, whatever the order and the lengths."""

from __future__ import annotations

import random
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from badc.detections.tables import DETECTIONS_SCHEMA
from badc.reports.query import events as counting
from badc.reports.query.counts import choose
from badc.reports.query.event_settings import EventSettings
from badc.reports.query.tables import open_tables
from badc.reports.rankings.quicklook import quicklook
from badc.reports.rankings.rollup import roll_up
from badc.reports.rankings.summary import summarise
from badc.reports.settings import QuicklookSettings, RollupSettings, SummarySettings

ONE = "ST-1_20230509_055959"
TWO = "ST-2_20230509_113000"
# Of three seconds each: three in a row, one window missing, then one more; then after more than one window.
FOUND = [(ONE, at, "Veery", 0.5) for at in (0, 3000, 6000, 12_000, 18_001)]


@pytest.fixture
def parquet(write_detections):
    return write_detections(
        [*FOUND, (ONE, 1500, "Ovenbird", 0.9), (TWO, 0, "Veery", 0.75), (TWO, 60_000, "Veery", 1.0)]
    )


def events(parquet, **more):
    with open_tables(parquet) as database:
        choose(database)
        query = counting.events_query("chosen", EventSettings(**more))
        return database.execute(
            f"SELECT recording_id, label, start_ms, end_ms, detections FROM ({query}) ORDER BY ALL"
        ).fetchall()


def test_an_event_goes_on_over_one_missing_window_and_ends_after_more(parquet):
    assert events(parquet) == [
        (ONE, "Ovenbird", 1500, 4500, 1),
        (ONE, "Veery", 0, 15_000, 4),
        (ONE, "Veery", 18_001, 21_001, 1),
        (TWO, "Veery", 0, 3000, 1),
        (TWO, "Veery", 60_000, 63_000, 1),
    ]


@pytest.mark.parametrize(
    ("gap_s", "veeries"), [(0, [(0, 9000), (12_000, 15_000), (18_001, 21_001)]), (3.001, [(0, 21_001)])]
)
def test_the_longest_gap_can_be_given(parquet, gap_s, veeries):
    found = [row[2:4] for row in events(parquet, max_gap_s=gap_s) if row[:2] == (ONE, "Veery")]
    assert found == veeries


def test_the_reports_count_events_after_the_columns_that_they_had(parquet, write_coverage):
    write_coverage(parquet, [(ONE, 0, 60_000, "ok"), ("ST-3_20230509_113000", 0, 60_000, "no_detections")])
    looked = quicklook(QuicklookSettings(parquet=parquet, output_dir=Path("q")))
    assert [(row[0], row[2], row[-1]) for row in looked.labels.rows] == [("Veery", 7, 4), ("Ovenbird", 1, 1)]
    assert [(row[0], row[3], row[-1]) for row in looked.recordings.rows] == [
        (ONE, 6, 3),
        (TWO, 2, 2),
        ("ST-3_20230509_113000", 0, 0),
    ]
    assert looked.written[0].read_text().startswith("label,label_name,detections,")
    made = roll_up(RollupSettings(folder=parquet.parent, max_gap_s=3.001))
    assert [(row[0], row[-1]) for row in made.labels.rows] == [("Veery", 3), ("Ovenbird", 1)]
    assert [(row[0], row[-1]) for row in made.stations.rows] == [("ST-1", 2), ("ST-2", 2), ("ST-3", 0)]


def test_an_event_belongs_to_the_hour_and_the_night_in_which_it_begins(parquet):
    def counted(group):
        rows = summarise(SummarySettings(parquet=parquet, group_by=(group,))).groups.as_dicts()
        return [(row[group], row["detections"], row["events"]) for row in rows]

    # 05:59:59 and then 06:00:00.5 to 06:00:17.
    assert counted("hour") == [(5, 1, 1), (6, 5, 2), (11, 2, 2)]
    assert counted("night") == [(date(2023, 5, 8), 8, 5)]
    assert counted("study_area") == [(None, 8, 5)]


def test_times_that_are_not_known_make_events_of_their_own(write_detections):
    rows = pq.read_table(write_detections(FOUND)).to_pylist()
    nowhere = dict.fromkeys(("absolute_time_ms", "absolute_end_ms", "timestamp_ms", "end_ms", "detected_at"))
    rows += [rows[0] | nowhere] * 2
    # Without an end, a detection has no length, and so no window: the gap of 3 s to the next is too long.
    rows += [rows[0] | {"label": "x", "absolute_end_ms": None, "end_ms": None}, rows[1] | {"label": "x"}]
    pq.write_table(pa.Table.from_pylist(rows, DETECTIONS_SCHEMA), "t.parquet")
    assert [row[2:] for row in events(Path("t.parquet")) if row[1] == "Veery"] == [
        (0, 15_000, 4),
        (18_001, 21_001, 1),
        (None, None, 1),
        (None, None, 1),
    ]
    made = summarise(SummarySettings(parquet=Path("t.parquet"))).groups.as_dicts()
    assert {row["label"]: row["events"] for row in made} == {"Veery": 4, "x": 2}


@pytest.mark.parametrize("max_gap_s", [None, 0, 2.5])
@pytest.mark.parametrize("origin", ["", "source_path"])
def test_the_counts_are_those_of_the_view(write_detections, monkeypatch, max_gap_s, origin):
    """Windows of all lengths that hold, touch and repeat each other, out of order, in several blocks."""
    monkeypatch.setattr(counting, "_HELD_DETECTIONS", 50)
    dice = random.Random(17)
    names = [(dice.choice([ONE, TWO, "R 3", "AUDIO-4"]), dice.randrange(0, 120_000, 500)) for _ in range(400)]
    rows = [
        row
        | {"absolute_end_ms": row["absolute_time_ms"] + dice.choice([0, 500, 3000, 20_000])}
        | {"station": dice.choice([None, "S"]), "source_path": dice.choice("ab")}
        for row in pq.read_table(write_detections([(*name, dice.choice("abc"), 0.5) for name in names])).to_pylist()
    ]
    pq.write_table(pa.Table.from_pylist(rows, DETECTIONS_SCHEMA), "t.parquet")
    given = EventSettings(max_gap_s=max_gap_s)
    with open_tables(Path("t.parquet")) as database:
        choose(database)
        counting.count_events(database, given, by_hour=True, origin=origin)
        tables = [f"(SELECT * FROM chosen WHERE source_path = '{part}')" for part in "ab"] if origin else ["chosen"]
        views = " UNION ALL ".join(f"({counting.events_query(table, given)})" for table in tables)
        same = "SELECT label, recording_id, station, date, hour, night, "
        expected = database.execute(f"{same} count(*) FROM ({views}) GROUP BY ALL ORDER BY ALL").fetchall()
        counted = database.execute(f"{same} sum(events) FROM event_counts GROUP BY ALL ORDER BY ALL").fetchall()
        assert counted == expected
        assert len(expected) > 20
