"""Where things are: datasets, default places, and folders that cannot be written."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from badc.errors import RequestError
from badc.system.paths import (
    absolute,
    as_written,
    default_chunks_dir,
    default_manifest_path,
    default_output_dir,
    default_summary_csv,
    find_dataset_root,
    new_telemetry_log,
    newest_telemetry_log,
    require_writable,
    walk,
)

NOON = datetime(2024, 5, 1, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    (tmp_path / "ds" / ".datalad").mkdir(parents=True)
    return tmp_path / "ds"


def test_the_dataset_is_the_nearest_folder_with_datalad(dataset: Path) -> None:
    assert find_dataset_root(dataset) == dataset
    assert find_dataset_root(dataset / "a" / "b.csv") == dataset
    (dataset / "a" / ".datalad").mkdir(parents=True)
    assert find_dataset_root(dataset / "a" / "b.csv") == dataset / "a"
    assert find_dataset_root(dataset.parent / "other") is None


def test_links_are_never_followed(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "key.wav").touch()
    link = dataset / "REC.wav"
    link.symlink_to(tmp_path / "key.wav")
    assert absolute(dataset / "x" / ".." / "REC.wav") == link
    assert find_dataset_root(link) == dataset
    assert as_written(link, dataset) == "REC.wav"


def test_a_path_is_written_relative_inside_a_dataset_and_absolute_outside(dataset: Path, tmp_path: Path) -> None:
    assert as_written(dataset / "audio" / "a.wav", dataset) == "audio/a.wav"
    assert as_written(Path("ds/audio/../a.wav"), dataset) == "a.wav"
    assert as_written(tmp_path / "ds2" / "a.wav", dataset) == str(tmp_path / "ds2" / "a.wav")
    assert as_written(Path("a.wav"), None) == str(tmp_path / "a.wav")


def test_default_places(dataset: Path, tmp_path: Path) -> None:
    for root, given in ((dataset, dataset), (None, tmp_path)):
        base = root or tmp_path
        assert default_chunks_dir(root, "REC") == base / "artifacts" / "chunks" / "REC"
        assert default_manifest_path(root, "REC") == base / "manifests" / "REC.csv"
        assert default_output_dir(root) == base / "artifacts" / "infer"
        assert default_summary_csv(given / "artifacts" / "infer") == base / "artifacts" / "aggregate" / "summary.csv"


def test_a_telemetry_log_is_named_after_manifest_and_time_and_never_used_twice(dataset: Path, tmp_path: Path) -> None:
    first = new_telemetry_log(Path("m/REC.csv"), dataset, NOON)
    assert first == dataset / "artifacts" / "telemetry" / "REC_20240501T120000Z.jsonl"
    first.parent.mkdir(parents=True)
    first.touch()
    second = new_telemetry_log(Path("m/REC.csv"), dataset, NOON)
    assert second.name == "REC_20240501T120000Z_2.jsonl"
    second.touch()
    assert new_telemetry_log(Path("m/REC.csv"), dataset, NOON).name == "REC_20240501T120000Z_3.jsonl"
    outside = new_telemetry_log(Path("m/REC.csv"), None, NOON)
    assert outside.parent == tmp_path / "data" / "telemetry" / "infer"


def test_a_folder_that_can_be_made_is_good_and_nothing_is_left(tmp_path: Path) -> None:
    require_writable(tmp_path / "a" / "b", "output folder")
    require_writable(tmp_path, "output folder")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "x" / "y"):
        with pytest.raises(RequestError, match=rf"{folder}: the output folder cannot be made.*not a folder"):
            require_writable(folder, "output folder")


def test_a_folder_that_nobody_can_write_is_refused() -> None:
    with pytest.raises(RequestError, match="/proc/x: the telemetry folder cannot be written"):
        require_writable(Path("/proc/x"), "telemetry folder")


def test_folders_are_tried_out_side_by_side(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: require_writable(tmp_path, "output folder"), range(400)))
    assert list(tmp_path.iterdir()) == []


def test_the_newest_log_of_a_folder_of_recordings_is_with_its_results(tmp_path: Path) -> None:
    log = tmp_path / "badc/artifacts/telemetry/infer/A.jsonl"
    log.parent.mkdir(parents=True)
    log.touch()
    assert newest_telemetry_log(tmp_path) == log


def test_the_newest_log_is_found_wherever_a_run_wrote_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = tmp_path / "set"
    (dataset / ".datalad").mkdir(parents=True)
    (dataset / "audio").mkdir()
    with pytest.raises(RequestError, match=r"no telemetry log in .*set/artifacts/telemetry, .*; --log takes the path"):
        newest_telemetry_log(dataset)
    places = ("data/telemetry/infer/A.jsonl", "artifacts/telemetry/B.jsonl", "artifacts/telemetry/infer/C.jsonl")
    for name in places:
        (dataset / name).parent.mkdir(parents=True, exist_ok=True)
        (dataset / name).touch()
    (dataset / "artifacts/telemetry/._C.jsonl").touch()
    (dataset / "artifacts/telemetry/dropped.jsonl").symlink_to("gone")
    for newest in range(3):
        for number, name in enumerate(places):
            os.utime(dataset / name, (number == newest,) * 2)
        found = dataset / places[newest]
        assert newest_telemetry_log(dataset) == found
        for here in (dataset, dataset / "audio"):
            monkeypatch.chdir(here)
            assert absolute(newest_telemetry_log()) == found
    with pytest.raises(RequestError, match="none: no such folder"):
        newest_telemetry_log(Path("none"))


def test_what_other_systems_left_on_a_disk_is_passed_over(tmp_path: Path) -> None:
    root = tmp_path / ".named"
    kept = ("a/REC.json", "a/b/R#1.json", "REC2.json", "~REC.json")
    left = (
        *("a/._REC.json", "a/.hidden.json", "a/~$REC.json", "a/.~lock.REC.json#"),
        *("System Volume Information/x.json", "$Recycle.Bin/z.json", "lost+found/l.json", "a/@eaDir/e.json"),
        *("#recycle/a/REC.json", "#snapshot/s.json", "a/b/@Recycle/r.json", "__MACOSX/m.json"),
        *(".Trashes/501/y.json", ".Trash-1000/files/t.json", ".git/g.json", ".snapshot/h/REC.json"),
        *(".ipynb_checkpoints/i.json", "a/.stversions/v.json"),
    )
    for name in (*kept, *left):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    found = [str(Path(base, name).relative_to(root)) for base, files in walk(root) for name in files]
    assert sorted(found) == sorted(kept)
