"""Walking over a dataset's audio: what is found, what is passed over, and where a walk must end."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from badc.datasets.listing import AudioFile, Listing, list_audio, literal, matcher
from badc.errors import RequestError

Put = Callable[..., Path]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Return a function that makes a file below `audio`."""

    def make(name: str, content: bytes = b"RIFF") -> Path:
        path = tmp_path / "audio" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    return make


def paths(listing: Listing) -> list[str]:
    return [file.path for file in listing.files]


def test_every_audio_format_is_found_at_any_depth(put: Put, tmp_path: Path) -> None:
    names = ["a.wav", "A.WAV", "north/s1/2023/b.Flac", "c.ogg", "d.mp3", "e.opus", "f.aiff", "g.w64"]
    for name in names:
        put(name)
    counted: list[int] = []
    listing = list_audio(tmp_path, on_progress=counted.append)
    assert paths(listing) == sorted(names)
    assert listing.problems == []
    assert counted == list(range(1, len(names) + 1))
    assert listing.files[0] == AudioFile("A.WAV", 4, True)


def test_hidden_files_and_other_kinds_are_passed_over(put: Put, tmp_path: Path) -> None:
    for name in ("a.wav", "._a.wav", ".b.wav", ".git/c.wav", "s/.Trashes/d.wav", "notes.txt", "wav", "x.wav.tmp"):
        put(name)
    for name in ("#recycle/e.wav", "s/@eaDir/f.wav", "lost+found/g.wav", "~$h.wav"):
        put(name)
    (tmp_path / "audio" / "folder.wav").mkdir()
    os.mkfifo(tmp_path / "audio" / "pipe.wav")
    listing = list_audio(tmp_path)
    assert paths(listing) == ["a.wav"]
    assert listing.notes() == [
        "passed over, as hidden or not of a user's making: #recycle, lost+found, s/.Trashes, s/@eaDir; "
        "rename those that are wanted"
    ], "those with audio; git's own is never meant"


def test_sound_that_has_to_be_converted_is_counted_with_its_converter(put: Put, tmp_path: Path) -> None:
    for name in (
        "a.wav",
        "S4A01_20230509_000000.w4v",
        "b/S4A02_20230509_000000.W4V",
        "memo.m4a",
        "c/data",
        "notes.txt",
        "notes.csv.gz",
        "b.wav.gz",
        "visit.zip",
        "c.tar.gz",
    ):
        put(name)
    listing = list_audio(tmp_path)
    assert paths(listing) == ["a.wav"]
    assert listing.notes() == [
        "7 files are passed over, until converted or unpacked: 1 .m4a (by ffmpeg), 1 .tar.gz (by tar), "
        "2 .w4v (by Kaleidoscope), 1 .wav.gz (by gunzip), 1 .zip (by unzip), 1 data (by EMU)"
    ]
    assert list_audio(tmp_path, ("*.m4a", "*.w4v", "data", "*.gz", "*.zip")).unreadable == {}


def test_files_that_differ_in_their_format_only_are_named(put: Put, tmp_path: Path) -> None:
    for name in ("s/a.wav", "s/a.flac", "s/b.wav", "t/a.wav", "t/b.mp3"):
        put(name)
    assert list_audio(tmp_path).notes() == [
        "1 recording is there in several formats, each of which counts: s/a.flac, s/a.wav"
    ]


def test_a_pattern_can_ask_for_any_suffix(put: Put, tmp_path: Path) -> None:
    for name in ("a.wav", "b.dat", "c.txt"):
        put(name)
    assert paths(list_audio(tmp_path, ["*.DAT"])) == ["a.wav", "b.dat"], "ids depend on all recordings"


@pytest.mark.parametrize(
    ("pattern", "also"),
    [("b/*", []), ("*", []), ("notes.*", []), ("b/*.tx?", []), ("b/*.TXT", ["b/notes.txt"]), ("data", ["b/data"])],
)
def test_a_pattern_that_names_no_suffix_finds_recordings_only(
    put: Put, tmp_path: Path, pattern: str, also: list[str]
) -> None:
    for name in ("b/a.wav", "b/notes.txt", "b/photo.jpg", "b/data"):
        put(name)
    assert paths(list_audio(tmp_path, [pattern])) == ["b/a.wav", *also]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.wav", ["n/s1/a.wav", "n/s2/A.WAV", "n/s2/b[1].wav"]),
        ("a.*", ["n/s1/a.wav", "n/s2/A.WAV"]),
        ("n/s2/*", ["n/s2/A.WAV", "n/s2/b[1].wav", "n/s2/c.flac"]),
        ("N/*.flac", ["n/s2/c.flac"]),
        ("audio/n/s1/*", ["n/s1/a.wav"]),
        ("./audio/n/s1/*", ["n/s1/a.wav"]),
        (literal("audio/n/s2/b[1].wav"), ["n/s2/b[1].wav"]),
        ("s2", []),
    ],
)
def test_patterns_match_names_or_paths(pattern: str, expected: list[str]) -> None:
    files = ["n/s1/a.wav", "n/s2/A.WAV", "n/s2/b[1].wav", "n/s2/c.flac"]
    assert list(filter(matcher([pattern]), files)) == expected
    assert list(filter(matcher(["nothing", pattern, "x/y"]), files)) == expected


def test_a_pattern_matches_in_either_form_of_unicode() -> None:
    composed, decomposed = (unicodedata.normalize(form, "Forêt/é.wav") for form in ("NFC", "NFD"))
    assert matcher([composed])(decomposed)
    assert matcher([decomposed])(composed)


def test_a_literal_pattern_matches_a_hostile_name_only(hostile_ids: tuple[str, ...]) -> None:
    files = [f"s/{name}.wav" for name in hostile_ids]
    for file in files:
        assert list(filter(matcher([literal(f"audio/{file}")]), files)) == [file]


def test_linked_folders_are_followed_once_and_loops_end(put: Put, tmp_path: Path) -> None:
    put("s1/a.wav")
    elsewhere = tmp_path / "disk" / "s2"
    (elsewhere / "deep").mkdir(parents=True)
    (elsewhere / "b.wav").write_bytes(b"RIFF")
    (elsewhere / "deep" / "back").symlink_to(elsewhere)
    chunks = tmp_path / "artifacts" / "chunks"
    chunks.mkdir(parents=True)
    (chunks / "a_chunk_0_1.wav").write_bytes(b"RIFF")
    audio = tmp_path / "audio"
    for name, target in [
        ("0_again", "s1"),
        ("linked", "../disk/s2"),
        ("twice", "../disk/s2"),
        ("self", "."),
        ("up", ".."),
        ("root", "/"),
        ("s1/above", "../.."),
    ]:
        (audio / name).symlink_to(target)
    assert paths(list_audio(tmp_path)) == ["linked/b.wav", "s1/a.wav"]


def test_the_audio_folder_may_be_a_link(put: Put, tmp_path: Path) -> None:
    put("s1/a.wav")
    other = tmp_path / "ds"
    other.mkdir()
    (other / "audio").symlink_to(tmp_path / "audio")
    assert paths(list_audio(other)) == ["s1/a.wav"]


def test_annexed_files_keep_their_own_names_and_tell_whether_they_are_here(put: Put, tmp_path: Path) -> None:
    key = "SHA256E-s123-m7--0a1b.wav"
    store = tmp_path / ".git" / "annex" / "objects" / "zz"
    store.mkdir(parents=True)
    (store / "MD5E-s4--ff.wav").write_bytes(b"RIFF")
    audio = put("pointer.wav", f"/annex/objects/{key}\n".encode()).parent
    (audio / "here.wav").symlink_to("../.git/annex/objects/zz/MD5E-s4--ff.wav")
    (audio / "gone.wav").symlink_to(f"../.git/annex/objects/yy/{key}/{key}")
    (audio / "nowhere.wav").symlink_to("typo-s99--x.wav")
    assert list(list_audio(tmp_path).files) == [
        AudioFile("gone.wav", 123, False),
        AudioFile("here.wav", 4, True),
        AudioFile("nowhere.wav", None, False),
        AudioFile("pointer.wav", 123, False),
    ]


def test_what_cannot_be_used_is_told(put: Put, tmp_path: Path) -> None:
    put("a.wav")
    (tmp_path / "audio" / "self.wav").symlink_to("self.wav")
    Path(os.fsdecode(os.fsencode(tmp_path / "audio") + b"/bad\xff.wav")).write_bytes(b"RIFF")
    listing = list_audio(tmp_path)
    assert paths(listing) == ["a.wav"]
    assert [path for path, _ in listing.problems] == ["bad\ufffd.wav", "self.wav"]
    assert "not UTF-8" in listing.problems[0][1]
    assert "symbolic links" in listing.problems[1][1]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_cannot_be_read_is_told(put: Put, tmp_path: Path) -> None:
    put("a.wav")
    folder = put("closed/b.wav").parent
    folder.chmod(0)
    try:
        listing = list_audio(tmp_path)
    finally:
        folder.chmod(0o755)
    assert paths(listing) == ["a.wav"]
    assert listing.problems == [("closed", "the folder cannot be read (Permission denied)")]


def test_without_audio_there_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="audio: no such folder"):
        list_audio(tmp_path)
