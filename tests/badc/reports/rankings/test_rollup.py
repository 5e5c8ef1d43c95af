"""`report aggregate-dir`: every table of detections below a folder, and no detection twice."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from badc.detections.aggregate import NotChunked
from badc.detections.tables import COVERAGE_SCHEMA
from badc.errors import RequestError
from badc.recordings.places import Place
from badc.reports.rankings.rollup import Rollup, roll_up
from badc.reports.settings import RollupSettings

ONE = "ST-1_20230509_055000"
TWO = "ST-2_20230509_055000"
MINUTE = 60_000


def roll(folder: Path | str = "data", **more) -> Rollup:
    return roll_up(RollupSettings(folder=Path(folder), **more))


def age(path: Path, seconds: int) -> Path:
    """Make a file, and its coverage, look older."""
    for one in (path, path.with_name(f"{path.stem}_coverage.parquet")):
        if one.exists():
            os.utime(one, (1_700_000_000 - seconds,) * 2)
    return path


def counts(made: Rollup) -> dict[str, int]:
    return {row["label"]: row["detections"] for row in made.labels.as_dicts()}


def test_the_tables_of_all_folders_are_added_up(write_detections):
    write_detections([(ONE, 0, "Ovenbird", 0.5), (ONE, 1, "Veery", 1.0)], "data/a/one.parquet")
    write_detections([(TWO, 0, "Ovenbird", 1.0)], "data/b/c/two.PARQUET")
    made = roll(export_dir=Path("e"))
    assert made.labels.rows == (
        ("Ovenbird", "Ovenbird", 2, 0.75, 1.0, 2, 2, None, None, None, 2),
        ("Veery", "Veery", 1, 1.0, 1.0, 1, 1, None, None, None, 1),
    )
    assert made.recordings.rows == (
        (ONE, "ST-1", 2, 0.75, 1.0, 2, None, None, 2),
        (TWO, "ST-2", 1, 1.0, 1.0, 1, None, None, 1),
    )
    assert made.stations.rows == (
        ("ST-1", 2, 0.75, 1.0, 2, 1, None, None, 2),
        ("ST-2", 1, 1.0, 1.0, 1, 1, None, None, 1),
    )
    assert (made.detections, made.repeated, made.copies) == (3, 0, ())
    assert made.notes == (
        "2 tables have no table of coverage beside them, so rates that need their hours of analysed audio are not "
        "known",
    )
    assert [path.name for path in made.written] == ["label_summary.csv", "recording_summary.csv", "station_summary.csv"]
    assert made.written[2].read_text() == (
        "station,detections,avg_confidence,max_confidence,labels,recordings,analysed_hours,detections_per_hour,events\n"
        "ST-1,2,0.75,1.0,2,1,,,2\nST-2,1,1.0,1.0,1,1,,,1\n"
    )


def test_the_boards_are_cut_and_the_csvs_are_whole(write_detections):
    write_detections([(f"R{n}", 0, f"bird {n}", 0.5) for n in range(5)], "data/x.parquet")
    made = roll(limit=2, export_dir=Path("e"))
    assert (len(made.labels.rows), made.labels.total) == (2, 5)
    assert [len(path.read_text().splitlines()) for path in made.written] == [6, 6, 2]


def test_tables_of_other_tools_and_versions_are_read_beside_ours(write_detections):
    write_detections([(ONE, 0, "Ovenbird", 0.5)], "data/ours.parquet")
    foreign = {"recording_id": [TWO], "chunk_id": ["c"], "absolute_time_ms": [5], "label": ["Ovenbird"]}
    pq.write_table(pa.table(foreign | {"confidence": pa.array([0.75], pa.float32())}), "data/foreign.parquet")
    pq.write_table(pa.table(foreign | {"confidence": [0.25], "recording_id": ["R"], "more": [1]}), "data/x.parquet")
    made = roll()
    assert made.labels.rows == (("Ovenbird", "Ovenbird", 3, 0.5, 0.75, 3, 2, None, None, None, 3),)
    assert len(made.tables) == 3


def test_other_parquet_files_are_passed_over(write_detections, write_coverage):
    path = write_detections([(ONE, 0, "Ovenbird", 0.5)], "data/d.parquet")
    write_coverage(path, [(ONE, 0, MINUTE, "ok")])
    pq.write_table(pa.table({"x": [1]}), "data/other.parquet")
    write_detections([(TWO, 0, "hidden", 0.5)], "data/.git/annex/objects/d.parquet")
    write_detections([(TWO, 0, "deleted", 0.5)], "data/Recycled/d.parquet")
    made = roll()
    assert made.tables == (path,)
    assert made.bad_files == ()
    assert made.notes[-1].startswith("passed over, as hidden or not of a user's making: Recycled; rename")


def test_a_copy_counts_once_whatever_its_name(write_detections):
    path = write_detections([(ONE, 0, "Ovenbird", 0.5)], "data/d.parquet")
    shutil.copy(path, "data/copy.parquet")
    Path("data/link.parquet").symlink_to(path)
    os.link(path, "data/hard.parquet")
    made = roll()
    assert counts(made) == {"Ovenbird": 1}
    assert (len(made.tables), len(made.copies), made.repeated) == (1, 3, 0)


def test_of_a_chunk_in_two_tables_the_newer_file_counts(write_detections):
    age(write_detections([(ONE, 0, "Ovenbird", 0.5), (ONE, MINUTE, "Veery", 0.5)], "data/old.parquet"), 100)
    age(write_detections([(ONE, 0, "Ovenbird", 0.9), (ONE, 1, "Wren", 0.9)], "data/new.parquet"), 0)
    made = roll()
    assert made.tables[0].name == "new.parquet"
    assert counts(made) == {"Ovenbird": 1, "Veery": 1, "Wren": 1}
    assert made.labels.as_dicts()[0]["max_confidence"] == 0.9
    assert (made.detections, made.repeated) == (3, 1)
    assert "1 recording is in several tables" in made.notes[0]


def test_a_newer_table_also_speaks_for_chunks_in_which_it_found_nothing(write_detections, write_coverage):
    age(write_detections([(ONE, 0, "Ovenbird", 0.5), (ONE, MINUTE, "Veery", 0.5)], "data/old.parquet"), 100)
    new = write_detections([(ONE, 0, "Ovenbird", 0.9)], "data/new.parquet")
    write_coverage(new, [(ONE, 0, MINUTE, "ok"), (ONE, MINUTE, 2 * MINUTE, "no_detections")])
    age(new, 0)
    assert counts(roll()) == {"Ovenbird": 1}
    write_coverage(new, [(ONE, 0, MINUTE, "ok"), (ONE, MINUTE, 2 * MINUTE, "missing")])
    assert counts(roll()) == {"Ovenbird": 1, "Veery": 1}
    new.with_name("new_coverage.parquet").write_bytes(b"no parquet")
    assert counts(roll()) == {"Ovenbird": 1, "Veery": 1}


def test_recordings_of_one_name_in_two_datasets_are_two(write_detections):
    audiomoth = "20230509_055000"
    write_detections([(audiomoth, 0, "Ovenbird", 0.5)], "data/a.parquet", dataset_root="/a")
    write_detections([(audiomoth, 0, "Ovenbird", 0.5)], "data/b.parquet", dataset_root="/b")
    made = roll()
    assert counts(made) == {"Ovenbird": 2}
    assert made.notes[0] == "1 recording id stands for recordings of several datasets or folders, which are added up"


def test_recordings_of_one_name_in_two_folders_are_two(write_detections):
    name = "20230509_055000"
    for place in ("a", "b"):
        write_detections(
            [(name, 0, "x", 0.5)], f"data/{place}.parquet", dataset_root=None, source_path=f"/{place}/{name}.wav"
        )
    assert counts(roll()) == {"x": 2}


def test_a_second_run_over_the_same_recordings_does_not_double_anything(write_detections):
    found = [(f"R{r}", n * 1000, f"bird {n % 3}", 0.5) for r in range(20) for n in range(100)]
    age(write_detections(found, "data/one/d.parquet"), 100)
    age(write_detections(found[:1500], "data/two/d.parquet"), 50)
    age(write_detections(found[500:], "data/three/d.parquet"), 0)
    made = roll()
    assert made.detections == len(found) == sum(counts(made).values())
    assert made.repeated == 3000


def test_what_cannot_be_read_is_told_and_the_others_count(write_detections):
    write_detections([(ONE, 0, "Ovenbird", 0.5)], "data/d.parquet")
    Path("data/broken.parquet").write_bytes(b"nonsense")
    Path("data/dropped.parquet").symlink_to("../.git/annex/objects/gone")
    made = roll()
    assert counts(made) == {"Ovenbird": 1}
    reasons = {path.name: reason for path, reason in made.bad_files}
    assert reasons["broken.parquet"].startswith("is not Parquet (")
    assert "not here; `datalad -C " in reasons["dropped.parquet"]


@pytest.mark.parametrize("place", ["o'brien", "a[1]", "a*b", "a?b", 'q"q', "station=A", "é ü"])
def test_names_of_folders_and_files_are_only_names(place, write_detections):
    write_detections([(ONE, 0, "Ovenbird", 0.5)], f"{place}/{place}/{place}.parquet")
    write_detections([(TWO, 0, "Ovenbird", 0.5)], f"{place}/other.parquet")
    assert counts(roll(place)) == {"Ovenbird": 2}


def test_a_bundle_below_the_folder_adds_nothing(write_detections, write_coverage):
    from badc.reports.bundle import make_bundle
    from badc.reports.settings import BundleSettings

    path = write_detections([(ONE, 0, "Ovenbird", 0.5)], "data/X.parquet")
    write_coverage(path, [(ONE, 0, MINUTE, "ok")])
    make_bundle(BundleSettings(parquet=path, no_html=True))
    assert counts(roll()) == {"Ovenbird": 1}


def test_the_boards_have_effort_and_what_was_silent(write_detections, write_coverage):
    """Two stations of half an hour each; a third was silent, a fourth was not analysed."""
    three, four = "ST-3_20230509_055000", "ST-4_20230509_055000"
    old = write_detections([(ONE, 0, "Ovenbird", 0.5)], "data/old.parquet")
    write_coverage(old, [(ONE, 0, 15 * MINUTE, "ok")])
    age(old, 100)
    one = write_detections([(ONE, 0, "Ovenbird", 0.5), (ONE, MINUTE, "Veery", 1.0)], "data/one.parquet")
    # The audio that two chunks, or two tables, share counts once.
    write_coverage(one, [(ONE, 0, 20 * MINUTE, "ok"), (ONE, 10 * MINUTE, 30 * MINUTE, "no_detections")])
    two = write_detections([(TWO, 0, "Ovenbird", 1.0)], "data/two.parquet")
    write_coverage(two, [(TWO, 0, 30 * MINUTE, "ok"), (four, 0, MINUTE, "missing")])
    silent = write_detections([], "data/silent.parquet")
    write_coverage(silent, [(three, 0, 60 * MINUTE, "no_detections")])
    made = roll()
    assert made.recordings.columns[-3:] == ("analysed_hours", "detections_per_hour", "events")
    assert made.recordings.rows == (
        (ONE, "ST-1", 2, 0.75, 1.0, 2, 0.5, 4.0, 2),
        (TWO, "ST-2", 1, 1.0, 1.0, 1, 0.5, 2.0, 1),
        (three, "ST-3", 0, None, None, 0, 1.0, 0.0, 0),
    )
    assert made.stations.rows == (
        ("ST-1", 2, 0.75, 1.0, 2, 1, 0.5, 4.0, 2),
        ("ST-2", 1, 1.0, 1.0, 1, 1, 0.5, 2.0, 1),
        ("ST-3", 0, None, None, 0, 0, 1.0, 0.0, 0),
    )
    assert made.labels.rows == (
        ("Ovenbird", "Ovenbird", 2, 0.75, 1.0, 2, 2, 2.0, 1.0, None, 2),
        ("Veery", "Veery", 1, 1.0, 1.0, 1, 1, 2.0, 0.5, None, 1),
    )
    # Hours that nobody knows make no rate.
    two.with_name("two_coverage.parquet").unlink()
    made = roll()
    assert [row[-3:-1] for row in made.stations.rows] == [(0.5, 4.0), (None, None), (1.0, 0.0)]
    assert made.labels.rows[0][-4:-1] == (1.5, None, None)
    assert made.notes[-1].startswith("1 table has no table of coverage beside it")


@pytest.mark.parametrize("station", ["station", None])
def test_silent_recordings_of_one_name_count_for_each_station(write_detections, write_coverage, station):
    """Of AudioMoths, whose names are times; a second table of the same recordings adds nothing."""
    name = "20230509_055000"
    for number in (1, 2):
        for copy in ("a", "b"):
            table = write_detections([], f"data/{number}{copy}.parquet", source_path=copy)
            coverage = pq.read_table(write_coverage(table, [(name, 0, 60 * MINUTE, "no_detections")])).to_pylist()
            made = pa.Table.from_pylist([coverage[0] | {"station": station and f"{station}{number}", "runner": copy}])
            pq.write_table(made.cast(COVERAGE_SCHEMA), table.with_name(f"{table.stem}_coverage.parquet"))
            pq.write_table(pq.read_table(table).replace_schema_metadata({"copy": f"{number}{copy}"}), table)
    hours = [(row[0], row[-3]) for row in roll().stations.rows]
    # Without a station, nothing tells the recordings from those of the second table.
    assert hours == ([("station1", 1.0), ("station2", 1.0)] if station else [(None, 1.0)])


def test_recordings_without_chunks_are_among_the_others_and_are_said(write_detections, write_coverage):
    """What a table of coverage says, and what is said besides; `ONE` was cut and analysed later."""
    first = write_detections([(ONE, 0, "Ovenbird", 0.5)], "data/a.parquet")
    write_coverage(first, [(ONE, 0, 60 * MINUTE, "ok"), (TWO, 0, 0, "not_chunked")])
    others = [
        (NotChunked(ONE, Path(), "never chunked"), Place("ST-1", None)),
        (NotChunked("bad", Path(), "not chunked: no audio"), Place("ST-2", None)),
    ]
    made = roll_up(RollupSettings(folder=Path("data")), others)
    assert [(row[0], row[1], row[2], *row[-3:-1]) for row in made.recordings.rows] == [
        (ONE, "ST-1", 1, 1.0, 1.0),
        (TWO, "ST-2", 0, 0.0, None),
        ("bad", "ST-2", 0, 0.0, None),
    ]
    assert [(row[0], *row[-3:-1]) for row in made.stations.rows] == [("ST-1", 1.0, 1.0), ("ST-2", 0.0, None)]
    assert made.labels.rows[0][-4:-1] == (1.0, 1.0, None)
    assert made.notes == (
        f"not analysed: 2 recordings without chunks: {TWO} (no reason is known), bad (not chunked: no audio)",
    )


def test_of_a_table_and_a_newer_copy_without_coverage_the_effort_stays(write_detections, write_coverage):
    table = write_detections([(ONE, 0, "Ovenbird", 0.5)], "data/a.parquet")
    write_coverage(table, [(ONE, 0, 30 * MINUTE, "ok")])
    age(table, 100)
    shutil.copyfile(table, "data/b.parquet")
    made = roll()
    assert [path.name for path in made.copies] == ["b.parquet"]
    assert made.stations.rows == (("ST-1", 1, 0.5, 0.5, 1, 1, 0.5, 2.0, 1),)
    assert made.notes == ()


def test_what_has_no_station_or_time_is_said(write_detections):
    write_detections([("R", 0, "x", 0.5), (ONE, 0, "x", 0.5)], "data/d.parquet")
    assert roll().notes[1:] == (
        "no station: 1 detection, 1 recording (R): counted, but under no station",
        "no time: 1 detection, 1 recording (R): counted, but under no hour and no date",
    )


def test_min_confidence(write_detections):
    write_detections([(ONE, 0, "Ovenbird", 0.5), (ONE, 1, "Veery", 0.9)], "data/d.parquet")
    made = roll(min_confidence=0.8)
    assert (counts(made), made.detections, made.repeated) == ({"Veery": 1}, 1, 0)


def test_a_folder_without_detections_has_no_leaderboards_and_writes_nothing():
    Path("data").mkdir()
    made = roll(export_dir=Path("e"))
    assert (made.tables, made.detections, made.labels.rows, made.bad_files, made.written) == ((), 0, (), (), ())
    Path("data/x.parquet").write_bytes(b"x")
    assert "is not Parquet" in roll().bad_files[0][1]
    assert not Path("e").exists()


def test_a_folder_that_is_not_there_is_refused():
    with pytest.raises(RequestError, match="data: no such folder"):
        roll()
