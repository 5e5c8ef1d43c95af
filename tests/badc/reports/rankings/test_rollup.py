"""`report aggregate-dir`: every table of detections below a folder, and no detection twice."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from badc.errors import RequestError
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
        ("Ovenbird", "Ovenbird", 2, 0.75, 1.0, 2, 2),
        ("Veery", "Veery", 1, 1.0, 1.0, 1, 1),
    )
    assert made.recordings.rows == ((ONE, "ST-1", 2, 0.75, 1.0, 2), (TWO, "ST-2", 1, 1.0, 1.0, 1))
    assert made.stations.rows == (("ST-1", 2, 0.75, 1.0, 2, 1), ("ST-2", 1, 1.0, 1.0, 1, 1))
    assert (made.detections, made.repeated, made.copies, made.notes) == (3, 0, (), ())
    assert [path.name for path in made.written] == ["label_summary.csv", "recording_summary.csv", "station_summary.csv"]
    assert made.written[2].read_text() == (
        "station,detections,avg_confidence,max_confidence,labels,recordings\nST-1,2,0.75,1.0,2,1\nST-2,1,1.0,1.0,1,1\n"
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
    assert made.labels.rows == (("Ovenbird", "Ovenbird", 3, 0.5, 0.75, 3, 2),)
    assert len(made.tables) == 3


def test_other_parquet_files_are_passed_over(write_detections, write_coverage):
    path = write_detections([(ONE, 0, "Ovenbird", 0.5)], "data/d.parquet")
    write_coverage(path, [(ONE, 0, MINUTE, "ok")])
    pq.write_table(pa.table({"x": [1]}), "data/other.parquet")
    write_detections([(TWO, 0, "hidden", 0.5)], "data/.git/annex/objects/d.parquet")
    made = roll()
    assert made.tables == (path,)
    assert made.bad_files == ()


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
    assert "1 recordings are in several tables" in made.notes[0]


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
    assert made.notes == ("1 recording ids stand for recordings of several datasets or folders, which are added up",)


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
    assert reasons["dropped.parquet"] == "cannot be read (No such file or directory); get it with `datalad get`"


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
