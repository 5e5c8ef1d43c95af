"""`report summary`: counts, averages over detections, and rates over analysed audio, for every kind of group."""

from __future__ import annotations

import csv
from datetime import date
from pathlib import Path

import pytest

from badc.errors import RequestError
from badc.reports.rankings.summary import summarise
from badc.reports.settings import Group, SummarySettings
from badc.settings.model import settings_from

DAWN = "ST-1_20230509_055000"  # half an hour is analysed: ten minutes before six, twenty after
NIGHT = "ST-2_20230509_230000"  # an hour is analysed
SILENT = "ST-3_20230510_120000"  # half an hour is analysed, and nothing found
MINUTE = 60_000


@pytest.fixture
def parquet(write_detections, write_coverage):
    path = write_detections(
        [
            (DAWN, 1000, "Ovenbird", 0.5),
            (DAWN, 2000, "Ovenbird", 0.75),
            (DAWN, 11 * MINUTE, "Ovenbird", 1.0),
            (DAWN, 12 * MINUTE, "Veery", None),
            (NIGHT, 0, "Veery", 0.25),
            ("UNKNOWN", 0, "Veery", 0.75),
        ]
    )
    write_coverage(
        path,
        [
            (DAWN, 0, 20 * MINUTE, "ok"),
            (DAWN, 20 * MINUTE, 30 * MINUTE, "no_detections"),
            (DAWN, 30 * MINUTE, 40 * MINUTE, "missing"),
            (NIGHT, 0, 60 * MINUTE, "ok"),
            (SILENT, 0, 30 * MINUTE, "no_detections"),
            ("ST-4_20230510_120000", 0, 30 * MINUTE, "stub"),
        ],
    )
    return path


def groups(parquet, *group_by, **more):
    """Return the groups without their events, and of labels without what is unexpected, which nothing is known of."""
    made = summarise(SummarySettings(parquet=parquet, group_by=group_by, **more))
    columns, rows = made.groups.columns, list(made.groups.rows)
    assert columns[-1] == "events"
    columns, rows = columns[:-1], [row[:-1] for row in rows]
    if columns[-1] == "unexpected":
        assert {row[-1] for row in rows} <= {None}
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    assert columns[-6:] == (
        ("detections", "avg_confidence", "max_confidence", "recordings", "analysed_hours", "detections_per_hour")
    )
    return rows


def test_labels_share_all_analysed_hours(parquet):
    assert groups(parquet, "label") == [
        ("Ovenbird", 3, 0.75, 1.0, 1, 2.0, 1.5),
        ("Veery", 3, 0.5, 0.75, 3, 2.0, 1.5),
    ]
    assert groups(parquet) == groups(parquet, "label")


def test_a_station_has_its_own_hours_and_a_silent_one_has_a_row(parquet):
    assert groups(parquet, "station") == [
        ("ST-1", 4, 0.75, 1.0, 1, 0.5, 8.0),
        ("ST-2", 1, 0.25, 0.25, 1, 1.0, 1.0),
        (None, 1, 0.75, 0.75, 1, None, None),  # no coverage tells how long that was
        ("ST-3", 0, None, None, 0, 0.5, 0.0),
    ]


def test_hours_are_in_their_order_with_the_effort_of_each(parquet):
    assert groups(parquet, "hour") == [
        (5, 2, 0.625, 0.75, 1, pytest.approx(1 / 6), pytest.approx(12)),
        (6, 2, 1.0, 1.0, 1, pytest.approx(1 / 3), pytest.approx(6)),
        (12, 0, None, None, 0, 0.5, 0.0),
        (23, 1, 0.25, 0.25, 1, 1.0, 1.0),
        (None, 1, 0.75, 0.75, 1, None, None),
    ]


def test_a_night_is_from_noon_to_noon_and_has_the_date_of_its_evening(write_detections, write_coverage):
    night = "ST-1_20230509_113000"
    path = write_detections([(night, minutes * MINUTE, "Veery", 0.5) for minutes in (29, 30, 1469)])
    write_coverage(
        path, [(night, 0, 25 * 60 * MINUTE, "ok"), ("ST-2_20230510_120000", 0, 30 * MINUTE, "no_detections")]
    )
    assert [(row[0], row[1], row[-2]) for row in groups(path, "night")] == [
        (date(2023, 5, 8), 1, 0.5),  # 11:59
        (date(2023, 5, 9), 2, 24.0),  # 12:00, and 11:59 on the next day
        (date(2023, 5, 10), 0, 1.0),
    ]


def test_dates_and_recordings(parquet):
    assert [row[:2] for row in groups(parquet, "date")] == [
        (date(2023, 5, 9), 5),
        (date(2023, 5, 10), 0),
        (None, 1),
    ]
    assert [row[:2] for row in groups(parquet, "recording_id")] == [(DAWN, 4), (NIGHT, 1), ("UNKNOWN", 1), (SILENT, 0)]


def test_labels_by_hour_have_the_hours_effort_and_no_empty_rows(parquet):
    assert groups(parquet, "label,hour") == [
        ("Ovenbird", 5, 2, 0.625, 0.75, 1, pytest.approx(1 / 6), pytest.approx(12)),
        ("Ovenbird", 6, 1, 1.0, 1.0, 1, pytest.approx(1 / 3), pytest.approx(3)),
        ("Veery", 6, 1, None, None, 1, pytest.approx(1 / 3), pytest.approx(3)),
        ("Veery", 23, 1, 0.25, 0.25, 1, 1.0, 1.0),
        ("Veery", None, 1, 0.75, 0.75, 1, None, None),
    ]


def test_a_complete_summary_has_each_label_wherever_audio_was_analysed(parquet):
    assert groups(parquet, "label,station", complete=True) == [
        ("Ovenbird", "ST-1", 3, 0.75, 1.0, 1, 0.5, 6.0),
        ("Veery", "ST-1", 1, None, None, 1, 0.5, 2.0),
        ("Veery", "ST-2", 1, 0.25, 0.25, 1, 1.0, 1.0),
        ("Veery", None, 1, 0.75, 0.75, 1, None, None),  # no coverage tells how long that was
        ("Ovenbird", "ST-2", 0, None, None, 0, 1.0, 0.0),
        ("Ovenbird", "ST-3", 0, None, None, 0, 0.5, 0.0),
        ("Veery", "ST-3", 0, None, None, 0, 0.5, 0.0),
    ]
    # One that was asked for and is never sure enough, too.
    assert groups(parquet, "label", complete=True, labels=("veery", "ovenbird"), min_confidence=0.8) == [
        ("Ovenbird", 1, 1.0, 1.0, 1, 2.0, 0.5),
        ("Veery", 0, None, None, 0, 2.0, 0.0),
    ]
    assert groups(parquet, "hour", complete=True) == groups(parquet, "hour")


@pytest.mark.parametrize("group", list(Group))
@pytest.mark.parametrize("second", list(Group))
def test_every_pair_of_groups_counts_every_detection_once(parquet, group, second):
    made = summarise(SummarySettings(parquet=parquet, group_by=(group, second), limit=0))
    count = made.groups.columns.index("detections")
    assert sum(row[count] for row in made.groups.rows) == 6
    keys = [row[:count] for row in made.groups.rows]
    assert len(set(keys)) == len(keys)


def test_the_average_is_over_detections_not_over_groups(write_detections):
    path = write_detections([("A", 0, "x", 0.2), ("B", 0, "x", 0.8), ("B", 1, "x", 0.8)])
    assert groups(path, "label")[0][2] == 0.6


def test_without_coverage_rates_are_empty_and_a_note_says_so(write_detections):
    path = write_detections([(DAWN, 0, "Ovenbird", 0.5)])
    made = summarise(SummarySettings(parquet=path))
    assert made.groups.rows == (("Ovenbird", 1, 0.5, 0.5, 1, None, None, None, 1),)
    assert made.notes == (f"no table of coverage beside {path}, so detections per analysed hour are not known",)


def test_coverage_of_a_stub_run_gives_no_rate(write_detections, write_coverage):
    path = write_detections([(DAWN, 0, "Ovenbird", 0.5)])
    beside = write_coverage(path, [(DAWN, 0, MINUTE, "stub")])
    made = summarise(SummarySettings(parquet=path))
    assert made.groups.rows[0][-3:-1] == (None, None)
    assert made.notes == (f"{beside}: no chunk was analysed, so detections per analysed hour are not known",)


def test_min_confidence_leaves_out_the_lower_and_the_unknown(parquet):
    assert [row[:2] for row in groups(parquet, "label", min_confidence=0.75)] == [("Ovenbird", 2), ("Veery", 1)]


def test_labels_are_chosen_by_label_code_or_name_in_any_case(write_detections):
    path = write_detections([("A", 0, "Seiurus aurocapilla", 0.5)], label_code="OVEN", label_name="Ovenbird")
    for word in ("oven", "OVENBIRD", "seiurus aurocapilla"):
        assert [row[0] for row in groups(path, "label", labels=(word,))] == ["Seiurus aurocapilla"]


def test_an_unknown_label_is_named_with_the_nearest_and_the_others_are_counted(parquet):
    made = summarise(SummarySettings(parquet=parquet, labels=("Ovenbrid", "Veery")))
    assert [row[0] for row in made.groups.rows] == ["Veery"]
    assert "no detection is labelled 'Ovenbrid'; did you mean 'Ovenbird'?" in made.notes
    assert groups(parquet, "label", labels=("Nothing like it",)) == []


HOSTILE = ['=HYPERLINK("x")', "comma, here", 'say "hi"', "two\nlines", "o'brien", "é漢", "-dash", " space", "\\", "%s"]


def test_labels_of_any_kind_are_kept_as_they_are(write_detections):
    path = write_detections([("R", n, label, 0.5) for n, label in enumerate(HOSTILE)])
    made = summarise(SummarySettings(parquet=path, output=Path("out dir/a'b.csv"), limit=0))
    assert sorted(row[0] for row in made.groups.rows) == sorted(HOSTILE)
    with made.written.open(encoding="utf-8", newline="") as stream:
        assert sorted(row["label"] for row in csv.DictReader(stream)) == sorted(HOSTILE)
    chosen = summarise(SummarySettings(parquet=path, labels=("o'brien", '"comma, here"'))).groups.rows
    assert [row[0] for row in chosen] == ["comma, here", "o'brien"]


def test_the_csv_has_all_groups_whatever_the_limit(parquet):
    made = summarise(SummarySettings(parquet=parquet, group_by=("hour",), limit=2, output=Path("hours.csv")))
    assert (len(made.groups.rows), made.groups.total) == (2, 5)
    lines = made.written.read_text().splitlines()
    assert lines[0].startswith("hour,detections,avg_confidence,max_confidence,recordings,analysed_hours,")
    assert lines[0].endswith(",detections_per_hour,events")
    assert [line.split(",")[0] for line in lines[1:]] == ["5", "6", "12", "23", ""]
    assert lines[3] == "12,0,,,0,0.5,0.0,0"


def test_a_large_csv_is_in_order(write_detections):
    path = write_detections([(f"R{n:06d}", n, "x", 0.5) for n in range(150_000)])
    made = summarise(SummarySettings(parquet=path, group_by=("recording_id",), output=Path("all.csv")))
    names = [line.split(",")[0] for line in made.written.read_text().splitlines()[1:]]
    assert names == [f"R{n:06d}" for n in range(150_000)]
    assert [row[0] for row in made.groups.rows] == names[:20]


def test_times_in_csv_are_iso(parquet):
    made = summarise(SummarySettings(parquet=parquet, group_by=("date",), output=Path("x.csv")))
    assert made.written.read_text().splitlines()[1].startswith("2023-05-09,5,")


def test_study_areas_come_from_the_sites_and_missing_stations_are_named(parquet):
    Path("sites.csv").write_text("station,latitude,longitude,study_area\nST-1,0,0,North\nST-2,0,0,North\n")
    made = summarise(SummarySettings(parquet=parquet, group_by=("study_area",), sites=Path("sites.csv")))
    assert [row[:2] for row in made.groups.rows] == [("North", 5), (None, 1)]
    assert made.notes == (
        "the sites do not list the stations 'ST-3', 'ST-4'",
        "the table does not say where species occur; `badc infer aggregate --sites` adds it (occurrence)",
        "no station: 1 detection, 1 recording (UNKNOWN): counted, but under no station",
        "no time: 1 detection, 1 recording (UNKNOWN): counted, but under no hour and no date",
    )


def test_a_clock_on_utc_without_a_time_zone_is_told(write_detections):
    path = write_detections([("ST-1_20230509T055000Z", 0, "a", 0.5)])
    assert "some recorders' clocks showed UTC" in summarise(SummarySettings(parquet=path)).notes[-1]
    Path("sites.csv").write_text("station,latitude,longitude,timezone\nST-1,0,0,America/Edmonton\n")
    notes = summarise(SummarySettings(parquet=path, sites=Path("sites.csv"))).notes
    assert not any("UTC" in note for note in notes)


def test_an_empty_table_has_no_groups(write_detections):
    made = summarise(SummarySettings(parquet=write_detections([]), output=Path("x.csv")))
    assert made.groups.rows == ()
    assert len(made.written.read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "--parquet: name the table of detections, or the dataset or folder of results that it is in"),
        (
            {"parquet": "x", "group_by": ("label", "species")},
            "--group-by: 'species' is not one of label, recording_id, station, study_area, hour, date, night",
        ),
        ({"parquet": "x", "min_confidence": 1.5}, "--min-confidence: input should be less than or equal to 1"),
        ({"parquet": "x", "limit": -1}, "--limit: input should be greater than or equal to 0"),
    ],
)
def test_wrong_settings_are_refused_by_their_options(given, message):
    with pytest.raises(RequestError) as raised:
        settings_from(SummarySettings, given)
    assert str(raised.value) == message


def test_words_are_split_at_commas_outside_of_quotes():
    settings = SummarySettings(parquet="x", labels=("a, b", '"c, d",a', ""), group_by="hour,label")
    assert settings.labels == ("a", "b", "c, d")
    assert settings.groups == (Group.HOUR, Group.LABEL)


def test_labels_are_named_beside_by_a_table_of_names(parquet, tmp_path):
    (tmp_path / "names.csv").write_text("common,alpha4,de\nOvenbird,OVEN,Pieperwaldsänger\n", encoding="utf-8")
    settings = {"parquet": parquet, "names_table": tmp_path / "names.csv"}
    made = summarise(settings_from(SummarySettings, settings | {"language": "de"}))
    assert made.groups.columns[:3] == ("label", "name", "detections")
    assert [row[:3] for row in made.groups.rows] == [("Ovenbird", "Pieperwaldsänger", 3), ("Veery", None, 3)]
    assert "no name in 'de' for 1 label, which stay as they are: Veery" in made.notes
