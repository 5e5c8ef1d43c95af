"""Where a dataset's files are after it was moved or copied, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from badc.recordings.locate import dataset_of, in_dataset, locate_audio, notes_on_places


@pytest.fixture
def copied(tmp_path: Path) -> tuple[Path, Path]:
    """A dataset and a copy of it, neither of DataLad."""
    for name in ("old/study", "new/study"):
        (tmp_path / name / "audio" / "site").mkdir(parents=True)
        (tmp_path / name / "manifests").mkdir()
        (tmp_path / name / "audio" / "site" / "A.wav").write_bytes(b"audio")
    return tmp_path / "old" / "study", tmp_path / "new" / "study"


def test_a_dataset_is_known_by_datalad_or_by_its_folders(copied: tuple[Path, Path], tmp_path: Path) -> None:
    old, _ = copied
    assert dataset_of(old / "manifests" / "deep" / "A.csv") == old
    assert dataset_of(tmp_path / "m.csv") is None
    (old / "manifests" / ".datalad").mkdir()
    assert dataset_of(old / "manifests" / "A.csv") == old / "manifests"


def test_a_copy_reads_its_own_audio(copied: tuple[Path, Path]) -> None:
    old, new = copied
    written = str(old / "audio/site/A.wav")
    assert in_dataset(written, new) == new / "audio/site/A.wav"
    assert in_dataset("audio/site/A.wav", new) == new / "audio/site/A.wav"
    assert locate_audio(written, str(old), [new]) == new / "audio/site/A.wav"
    assert in_dataset(written, old) == old / "audio/site/A.wav"
    assert in_dataset(written, None) == old / "audio/site/A.wav"


def test_another_file_of_that_name_is_not_taken_for_the_one_that_is_named(copied: tuple[Path, Path]) -> None:
    old, new = copied
    (new / "audio/site/A.wav").write_bytes(b"other audio")
    assert in_dataset(str(old / "audio/site/A.wav"), new) == old / "audio/site/A.wav"


def test_what_is_elsewhere_is_said(copied: tuple[Path, Path]) -> None:
    old, new = copied
    written, inside = str(old / "audio/site/A.wav"), new / "audio/site/A.wav"
    assert notes_on_places(["audio/site/A.wav", str(inside)], new) == []
    (note,) = notes_on_places([written], new)
    assert (
        note == f"1 file of audio found in {new}, where the dataset is now: {inside}, where the manifest says {written}"
    )
    inside.write_bytes(b"other audio")
    (note,) = notes_on_places([written] * 2, new)
    assert note == f"2 files of audio read from outside of {new}, as the manifests say: {written}, and so on"
    (new.parent / "mount").symlink_to("study")
    assert notes_on_places([str(inside)], new.parent / "mount") == [], "another way to the same file"
