"""The views over tables of any origin: what is a detection, what follows from the rest, times of day, effort."""

from __future__ import annotations

import tempfile
import unicodedata
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from badc.detections.tables import COVERAGE_SCHEMA, DETECTIONS_SCHEMA, coverage_path
from badc.errors import BadcError, RequestError
from badc.reports.query.counts import choose
from badc.reports.query.notes import notes_on_tables
from badc.reports.query.tables import find_coverage, open_tables

DAWN = "ST-1_20230509_055000"
# What another tool wrote before there were stations and times.
FOREIGN = {
    "recording_id": [DAWN, DAWN, "REC"],
    "chunk_id": ["a", "b", "c"],
    "chunk_start_ms": [0, 600_000, 0],
    "timestamp_ms": [1000, 2000, 3000],
    "end_ms": [4000, 5000, 6000],
    "label": ["Ovenbird", "Ovenbird", "Veery"],
    "confidence": [0.5, 0.75, 0.25],
}


def rows(path: Path, query: str = "FROM detections", **more: Any) -> list[tuple[Any, ...]]:
    with open_tables(path, **more) as database:
        return database.execute(query).fetchall()


def foreign(path: Path | str = "f.parquet", **changed: Any) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: values for name, values in (FOREIGN | changed).items() if values is not None}
    pq.write_table(pa.table(columns), path)
    return path


def sites(text: str) -> Path:
    path = Path("sites.csv")
    path.write_text(text)
    return path


def test_study_areas_are_the_tables_unless_the_sites_give_others(write_detections, write_coverage):
    path = write_detections([(DAWN, 0, "x", 0.5), ("ST-2_20230509_055000", 0, "x", 0.5)], study_area="North")
    coverage = pq.read_table(write_coverage(path, [(DAWN, 0, 60_000, "ok")])).to_pylist()
    rows_of_coverage = [row | {"study_area": "North"} for row in coverage]
    pq.write_table(pa.Table.from_pylist(rows_of_coverage, COVERAGE_SCHEMA), coverage_path(path))
    query = "SELECT station, study_area FROM {} GROUP BY ALL ORDER BY ALL"
    assert rows(path, query.format("detections")) == [("ST-1", "North"), ("ST-2", "North")]
    assert rows(path, query.format("effort")) == [("ST-1", "North")]
    listed = sites("station,latitude,longitude,study_area\nST-1,55,-115,East\nST-2,55,-115,\n")
    assert rows(path, query.format("detections"), sites=listed) == [("ST-1", "East"), ("ST-2", "North")]
    assert rows(path, query.format("effort"), sites=listed) == [("ST-1", "East")]


@pytest.mark.parametrize("of_table", ["NFC", "NFD"])
@pytest.mark.parametrize("of_sites", ["NFC", "NFD"])
def test_stations_and_labels_of_older_tables_compare_in_one_form(of_table, of_sites):
    station, label = (unicodedata.normalize(of_table, name) for name in ("Forêt", "Bécasse"))
    path = foreign(station=[station] * 3, label=[label] * 3)
    listed = sites(unicodedata.normalize(of_sites, "station,latitude,longitude,study_area\nForêt,55,-115,Nord\n"))
    with open_tables(path, sites=listed) as database:
        assert choose(database, labels=[unicodedata.normalize(of_sites, "bécasse")]) == ()
        found = database.execute("SELECT station, study_area, label FROM chosen").fetchall()
        assert found == [("Forêt", "Nord", "Bécasse")] * 3
        assert not [note for note in notes_on_tables(database, path, None) if "sites do not list" in note]


def test_what_has_no_station_or_time_is_counted_and_named(write_detections, write_coverage):
    path = write_detections([("R", 0, "x", 0.5), ("R", 1, "x", 0.5), (DAWN, 0, "x", 0.5)])
    coverage = write_coverage(path, [(DAWN, 0, 60_000, "ok"), ("silent", 0, 60_000, "no_detections")])
    with open_tables(path) as database:
        choose(database)
        assert notes_on_tables(database, path, coverage) == (
            "no station: 2 detections, 2 recordings (R, silent): counted, but under no station",
            "no time: 2 detections, 2 recordings (R, silent): counted, but under no hour and no date",
        )


def test_our_own_table_comes_back_with_its_columns_then_the_site_and_the_time_of_day(write_detections):
    path = write_detections([(DAWN, 61_500, "Ovenbird", 0.75)])
    with open_tables(path) as database:
        relation = database.sql("FROM detections")
        assert relation.columns == [
            *DETECTIONS_SCHEMA.names,
            *("latitude", "longitude", "timezone", "local_time", "date", "hour", "night"),
        ]
        row = dict(zip(relation.columns, relation.fetchall()[0], strict=True))
    written = pq.read_table(path).to_pylist()[0]
    assert {name: row[name] for name in written} == written
    assert row["local_time"] == datetime(2023, 5, 9, 5, 51, 1, 500_000)
    assert (row["date"], row["hour"]) == (date(2023, 5, 9), 5)
    assert row["latitude"] is row["timezone"] is None


def test_the_coverage_view_has_its_columns_and_tells_what_was_analysed(write_detections, write_coverage):
    path = write_detections([])
    write_coverage(path, [("R", i, i + 1, s) for i, s in enumerate(["ok", "no_detections", "stub", "missing"])])
    with open_tables(path) as database:
        assert database.sql("FROM coverage").columns == [
            *(name for name in COVERAGE_SCHEMA.names if name != "study_area"),
            *("study_area", "latitude", "longitude", "timezone", "local_start", "length_ms", "analysed"),
        ]
        found = database.execute("SELECT status, analysed, length_ms FROM coverage ORDER BY start_ms").fetchall()
    assert found == [("ok", True, 1), ("no_detections", True, 1), ("stub", False, 1), ("missing", False, 1)]


def test_a_table_of_another_tool_gets_what_follows_from_the_rest():
    found = rows(
        foreign(),
        "SELECT station, recorded_at, absolute_time_ms, absolute_end_ms, detected_at, hour, runner FROM detections "
        "ORDER BY chunk_id",
    )
    begin = datetime(2023, 5, 9, 5, 50)
    assert found == [
        ("ST-1", begin, 1000, 4000, datetime(2023, 5, 9, 5, 50, 1), 5, None),
        ("ST-1", begin, 602_000, 605_000, datetime(2023, 5, 9, 6, 0, 2), 6, None),
        (None, None, 3000, 6000, None, None, None),
    ]


def test_further_columns_stay_whatever_their_names():
    path = foreign(**{'odd "name"': [1, 2, 3], "filename": ["x", "y", "z"], "local_time": ["not", "ours", "!"]})
    found = rows(path, 'SELECT "odd ""name""", filename, typeof(local_time) FROM detections ORDER BY 1')
    assert found == [(1, "x", "TIMESTAMP"), (2, "y", "TIMESTAMP"), (3, "z", "TIMESTAMP")]


def test_numbers_as_pandas_writes_them_and_labels_as_categories():
    path = foreign(
        chunk_start_ms=pa.array([0.0, float("nan"), None]),
        confidence=pa.array([0.5, float("nan"), 0.25], pa.float32()),
        label=pa.array(["a", "b", "c"]).dictionary_encode(),
        runner=pa.nulls(3),
    )
    found = rows(path, "SELECT chunk_start_ms, confidence, label, runner FROM detections ORDER BY chunk_id")
    assert found == [(0, 0.5, "a", None), (None, None, "b", None), (None, 0.25, "c", None)]


def test_what_is_no_detection_is_no_row():
    path = foreign(
        recording_id=["R"] * 6,
        chunk_id=list("abcdef"),
        chunk_start_ms=[0] * 6,
        timestamp_ms=[0] * 6,
        end_ms=[1] * 6,
        confidence=[0.9] * 6,
        label=["real", None, "", "x", "x", "x"],
        status=["ok", "ok", "ok", "stub", "no_detections", "no_output"],
    )
    assert rows(path, "SELECT label FROM detections") == [("real",)]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": None, "confidence": None}, "the columns label, confidence are missing, so it is not a table of"),
        ({"timestamp_ms": None}, "the column timestamp_ms is missing"),
        ({"confidence": ["high", "low", "?"]}, "cannot be read as such a table: Conversion Error"),
    ],
)
def test_a_table_that_lacks_what_is_needed_is_refused(columns, message):
    with pytest.raises(RequestError, match=r"f\.parquet: ") as raised:
        rows(foreign(**columns))
    assert message in str(raised.value)


def test_a_table_of_coverage_is_not_taken_for_detections(write_detections, write_coverage):
    beside = write_coverage(write_detections([]), [])
    with pytest.raises(RequestError, match="this is a table of coverage, name the table of detections"):
        rows(beside)


@pytest.mark.parametrize("content", [None, b"", b"recording_id,label\n", b"PAR1" + b"x" * 100 + b"PAR1"])
def test_what_is_no_parquet_is_refused(content):
    if content is not None:
        Path("x.parquet").write_bytes(content)
    with pytest.raises(RequestError, match=r"x\.parquet: (no such table|cannot be read as Parquet)"):
        rows(Path("x.parquet"))


def test_damage_inside_the_file_is_an_error_that_names_it(write_detections):
    path = write_detections([(f"R{n}", n, f"label {n}", 0.5) for n in range(2000)])
    content = bytearray(path.read_bytes())
    content[100:3000] = b"\xff" * 2900
    path.write_bytes(content)
    with pytest.raises(BadcError, match=r"d\.parquet: "):
        rows(path, "SELECT sum(hash(t)) FROM detections t")


@pytest.mark.parametrize(
    "place", ["o'brien", "a[1]", "a*b", "a?b", "{a,b}", "[!x]", "**", 'q"q', "station=A", "é ü", "a;b"]
)
def test_names_of_files_and_folders_are_only_names(place, write_detections, write_coverage):
    path = write_detections([(DAWN, 0, place, 0.5)], f"{place}/{place}.parquet")
    write_coverage(path, [(DAWN, 0, 60_000, "ok")])
    # What the name would stand for as a pattern.
    for decoy in ("a1", "axb", "ab", "y"):
        if not (Path.cwd() / decoy).exists():
            write_detections([("OTHER", 0, "decoy", 0.5)] * 3, f"{decoy}/{decoy}.parquet")
    assert rows(path, "SELECT label, station FROM detections") == [(place, "ST-1")]
    assert rows(path, "SELECT recording_id FROM coverage") == [(DAWN,)]


def test_a_relative_path_that_starts_with_a_dash_or_tilde(write_detections, tmp_path):
    for name in ("-x.parquet", "~.parquet"):
        write_detections([(DAWN, 0, "a", 0.5)], name)
        assert rows(Path(name), "SELECT label FROM detections") == [("a",)]


def test_coverage_is_the_file_beside_or_the_one_named(write_detections, write_coverage):
    path = write_detections([])
    assert find_coverage(path) is None
    assert rows(path, "FROM coverage") == []
    beside = write_coverage(path, [("R", 0, 1, "ok")])
    assert find_coverage(path) == beside == coverage_path(path)
    other = beside.rename("other.parquet")
    assert find_coverage(path) is None
    assert len(rows(path, "FROM coverage", coverage=other)) == 1
    with pytest.raises(RequestError, match=r"none\.parquet: no such table of coverage"):
        find_coverage(path, Path("none.parquet"))


def test_coverage_without_its_columns_is_refused(write_detections):
    path = write_detections([])
    pq.write_table(pa.table({"recording_id": ["a"], "status": ["ok"]}), coverage_path(path))
    with pytest.raises(RequestError, match=r"d_coverage\.parquet: the columns chunk_id, start_ms, end_ms are missing"):
        rows(path)


def test_nothing_stays_in_the_folder_for_temporary_files(write_detections, tmp_path, monkeypatch):
    path = write_detections([(DAWN, 0, "a", 0.5)])
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    assert rows(path, "SELECT count(*) FROM detections") == [(1,)]
    with open_tables(path):
        assert len(list((tmp_path / "temporary").iterdir())) == 1
    assert list((tmp_path / "temporary").iterdir()) == []


CLOCKS = """station,latitude,longitude,timezone,clock
ST-1,55,-115,America/Edmonton,{clock}
ST-2,55,-115,America/Edmonton,
ST-3,55,-115,,
"""


@pytest.mark.parametrize(
    ("recording", "clock", "local"),
    [
        ("ST-1_20230601_120000", "", datetime(2023, 6, 1, 12)),
        ("ST-1_20230601_120000", "local", datetime(2023, 6, 1, 12)),
        ("ST-1_20230601_120000", "utc", datetime(2023, 6, 1, 6)),  # summer time
        ("ST-1_20230601_030000", "UTC", datetime(2023, 5, 31, 21)),
        ("ST-1_20230115_120000", "UTC", datetime(2023, 1, 15, 5)),  # standard time
        ("ST-1_20230601_120000", "America/Phoenix", datetime(2023, 6, 1, 13)),  # standard time all year
        ("ST-1_20230601T120000+0100", "", datetime(2023, 6, 1, 5)),  # the recorder told its offset
        ("ST-1_20230601T120000Z", "America/Phoenix", datetime(2023, 6, 1, 6)),  # which counts more than the column
        ("ST-2_20230601_120000", "UTC", datetime(2023, 6, 1, 12)),
        ("ST-3_20230601T120000Z", "UTC", datetime(2023, 6, 1, 12)),  # nothing to convert to
        ("ST-4_20230601_120000", "UTC", datetime(2023, 6, 1, 12)),  # not among the sites
    ],
)
def test_the_time_of_day_is_that_of_the_station(recording, clock, local, write_detections, write_coverage):
    path = write_detections([(recording, 0, "a", 0.5)])
    write_coverage(path, [(recording, 0, 60_000, "ok")])
    given = sites(CLOCKS.format(clock=clock))
    assert rows(path, "SELECT local_time, date, hour FROM detections", sites=given) == [
        (local, local.date(), local.hour)
    ]
    assert rows(path, "SELECT local_start FROM coverage", sites=given) == [(local,)]


def test_instants_of_another_tool_are_taken_as_such():
    begin = pa.array([datetime(2023, 6, 1, 12)] * 3, pa.timestamp("us", tz="America/Edmonton"))
    begin = pa.array(begin.cast(pa.int64()), pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    path = foreign(recorded_at=begin, station=["ST-1"] * 3)
    query = "SELECT local_time FROM detections WHERE chunk_id = 'a'"
    assert rows(path, query) == [(datetime(2023, 6, 1, 12, 0, 1),)]
    assert rows(path, query, sites=sites(CLOCKS.format(clock=""))) == [(datetime(2023, 6, 1, 6, 0, 1),)]


def test_a_chunk_across_the_full_hour_gives_its_audio_to_both_hours(write_detections, write_coverage):
    path = write_detections([])
    write_coverage(path, [(DAWN, 0, 20 * 60_000, "ok"), ("ST-1_20230509_235900", 0, 120_000, "no_detections")])
    assert rows(path, "SELECT date, hour, analysed_ms FROM effort ORDER BY local_hour") == [
        (date(2023, 5, 9), 5, 600_000),
        (date(2023, 5, 9), 6, 600_000),
        (date(2023, 5, 9), 23, 60_000),
        (date(2023, 5, 10), 0, 60_000),
    ]


def test_effort_counts_analysed_audio_once(write_detections, write_coverage):
    path = write_detections([])
    chunks = [("R", 0, 60_000, "ok"), ("R", 50_000, 110_000, "no_detections"), ("R", 10_000, 20_000, "ok")]
    write_coverage(path, [*chunks, chunks[0], ("R", 110_000, 170_000, "stub"), ("R", 200_000, 210_000, "ok")])
    # Nothing tells when R began, so its hours are not known, but its length is.
    assert rows(path, "SELECT local_hour, analysed_ms FROM effort") == [(None, 120_000)]


def test_a_long_recording_fills_whole_hours(write_detections, write_coverage):
    path = write_detections([])
    write_coverage(path, [("ST-1_20230509_213000", 0, 4 * 3_600_000, "ok")])
    found = rows(path, "SELECT hour, analysed_ms FROM effort ORDER BY local_hour")
    assert found == [(21, 1_800_000), (22, 3_600_000), (23, 3_600_000), (0, 3_600_000), (1, 1_800_000)]


def test_a_row_that_says_none_is_no_detection_unless_it_has_a_confidence_or_a_time():
    path = foreign(
        label=["none"] * 3,
        status=["ok"] * 3,
        timestamp_ms=pa.array([None, None, 3000], pa.int64()),
        confidence=pa.array([None, 0.75, None], pa.float64()),
    )
    assert rows(path, "SELECT chunk_id FROM detections ORDER BY ALL") == [("b",), ("c",)]
