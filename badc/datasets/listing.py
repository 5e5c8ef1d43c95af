"""The recordings of a dataset: the audio files in its folder of recordings, at any depth."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from badc.errors import RequestError, numbered
from badc.recordings.dataset_file import DATASET_FILE, audio_folder, kept_recordings
from badc.recordings.names import AUDIO_FOLDER, AUDIO_SUFFIXES, converter_of, nfc
from badc.system.annex import MOST_POINTER_BYTES, is_pointer, size_in_key
from badc.system.paths import is_passed_over, passed_over_notes


@dataclass(frozen=True, slots=True)
class AudioFile:
    """An audio file of a dataset; `path` is below its folder of recordings, with `/`.

    `size` is in bytes, of dropped content as in git-annex's key, None if unknown. Dropped content (`here` is False) is
    a link to nothing, or a pointer.
    """

    path: str
    size: int | None
    here: bool


@dataclass(frozen=True, slots=True)
class Listing:
    """What a walk over a dataset's audio, the folder `top`, found.

    `files`, sorted by path, have a known format or match a pattern. `problems` are paths below `audio` that cannot be
    used, with the reason. `unreadable` counts files of sound that have to be converted or unpacked first, by the end of
    their name and what does it. `passed_over` are the folders below `top` that were.
    """

    top: Path
    files: Sequence[AudioFile]
    problems: Sequence[tuple[str, str]]
    unreadable: Mapping[tuple[str, str], int] = field(default_factory=dict)
    passed_over: Sequence[str] = ()

    def notes(self) -> list[str]:
        """Return what a person should know: of files to be converted, folders passed over, and files in two formats."""
        passed_over = passed_over_notes(self.top, sorted(self.passed_over), AUDIO_SUFFIXES)
        return [note for note in (self._unreadable_note(), *passed_over, self._twins_note()) if note is not None]

    def _twins_note(self) -> str | None:
        by_stem: dict[str, list[str]] = {}
        for file in self.files:
            by_stem.setdefault(os.path.splitext(file.path)[0], []).append(file.path)  # noqa: PTH122
        twins = [paths for paths in by_stem.values() if len(paths) > 1]
        if not twins:
            return None
        are = numbered(len(twins), "recording is", "recordings are")
        return f"{are} there in several formats, each of which counts: {', '.join(twins[0])}"

    def _unreadable_note(self) -> str | None:
        if not self.unreadable:
            return None
        kinds = [f"{count} {kind} (by {program})" for (kind, program), count in sorted(self.unreadable.items())]
        total = sum(self.unreadable.values())
        return f"{numbered(total, 'file is', 'files are')} passed over, until converted or unpacked: {', '.join(kinds)}"


def list_audio(
    root: Path,
    patterns: Sequence[str] = (),
    on_progress: Callable[[int], None] = lambda found: None,
    recordings: Path | None = None,
) -> Listing:
    """Walk over a dataset's audio, which is in the folder `recordings` if that is not known from the dataset itself.

    Results of studies, hidden files and folders and the like (see `is_passed_over`) and files of other kinds are
    skipped, but what matches a pattern (see `matcher`) that names a suffix or a whole file is listed whatever its kind.
    A link to a folder is followed, unless that folder was already walked or contains this one: loops end, and nothing
    is found twice.
    `on_progress` is called with the number of files found so far.

    Raises
    ------
    RequestError
        When there is no `audio` folder.
    """
    folder = recordings or audio_folder(root)
    if not folder.is_dir():
        raise RequestError(f"{folder}: no such folder; a dataset has its recordings in the folder {AUDIO_FOLDER}")
    walk = _Walk(folder)
    asked_for = matcher([pattern for pattern in patterns if _names_a_suffix(pattern)])
    files: list[AudioFile] = []
    unreadable: Counter[tuple[str, str]] = Counter()
    problems = walk.problems
    for path, entry in walk.entries():
        suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 - a Path for each is slow
        if suffix not in AUDIO_SUFFIXES and not asked_for(path):
            if (conversion := converter_of(entry.name)) is not None:
                unreadable[conversion] += 1
            continue
        try:
            path.encode()
            if (found := _audio_file(path, entry)) is not None:
                files.append(found)
                on_progress(len(files))
        except UnicodeEncodeError:
            problems.append(
                (path.encode(errors="surrogateescape").decode(errors="replace"), "its path is not UTF-8; rename it")
            )
        except OSError as error:
            problems.append((path, f"cannot be read ({error.strerror})"))
    return Listing(folder, sorted(files, key=lambda file: file.path), sorted(problems), unreadable, walk.passed)


def matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Return a function that says whether a path below `audio` matches one of the patterns.

    A pattern without `/` is matched against the file's name, any other against the path below `audio` or below the
    dataset. `*`, `?` and `[…]` mean what they mean in a shell, but `*` matches `/` too. Neither case nor the form of
    Unicode matters.
    """
    patterns = [nfc(pattern) for pattern in patterns]
    names = [p for p in patterns if "/" not in p]
    paths = [p.removeprefix("./").removeprefix(f"{AUDIO_FOLDER}/") for p in patterns if "/" in p]
    # One regular expression each: a thousand patterns on a hundred thousand files would take minutes.
    name_matches, path_matches = _any_of(names), _any_of(paths)

    def matches(path: str) -> bool:
        path = nfc(path)
        return bool(name_matches(path.rpartition("/")[2]) or path_matches(path))

    return matches


def _names_a_suffix(pattern: str) -> bool:
    """Whether a pattern says what a file's name ends with: `*.dat`, or `data`, but not `b/*` or `memo.*`."""
    _, _, ending = pattern.rpartition("/")[2].rpartition(".")
    return ending != "" and {"*", "?"}.isdisjoint(ending)


def literal(path: str) -> str:
    """Return the pattern that matches only this path below the dataset, apart from case."""
    return glob.escape(path)


def _any_of(patterns: Sequence[str]) -> Callable[[str], object]:
    if not patterns:
        return lambda text: None
    return re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns), re.IGNORECASE).match


class _Walk:
    """A walk over a folder: each folder once, real ones before linked ones."""

    def __init__(self, top: Path) -> None:
        self.problems: list[tuple[str, str]] = []
        self.passed: list[str] = []  # folders that were passed over
        self._top = top
        self._seen: set[tuple[int, int]] = set()
        # A link to a folder that contains this one would lead back into it, and to chunks on the way.
        self._around = {_identity(folder.stat()) for folder in (top, *top.resolve().parents)}

    def entries(self) -> Iterator[tuple[str, os.DirEntry[str]]]:
        """Yield every file that is not hidden, with its path below the top."""
        self._seen.add(_identity(self._top.stat()))
        folders, links = [(str(self._top), "")], list[tuple[str, str]]()
        while folders or links:
            if not folders:
                links.sort(reverse=True)
                full, below = links.pop()
                if not self._is_new(full):
                    continue
                folders.append((full, below))
            full, below = folders.pop()
            for entry in self._scan(full, below):
                path = f"{below}{entry.name}"
                try:
                    if entry.is_symlink() and entry.is_dir():
                        links.append((entry.path, f"{path}/"))
                    elif entry.is_dir(follow_symlinks=False):
                        self._seen.add(_identity(entry.stat(follow_symlinks=False)))
                        folders.append((entry.path, f"{path}/"))
                    else:
                        yield path, entry
                except OSError as error:  # such as a link to itself
                    self.problems.append((path, f"cannot be read ({error.strerror})"))

    def _scan(self, full: str, below: str) -> Sequence[os.DirEntry[str]]:
        try:
            with os.scandir(full) as scanned:
                entries = list(scanned)
            if full != str(self._top) and any(e.name == DATASET_FILE for e in entries) and kept_recordings(Path(full)):
                return []
            self.passed += [e.path for e in entries if is_passed_over(e.name) and e.is_dir(follow_symlinks=False)]
            return [e for e in entries if not is_passed_over(e.name)]
        except OSError as error:
            self.problems.append((below.rstrip("/") or ".", f"the folder cannot be read ({error.strerror})"))
            return []

    def _is_new(self, folder: str) -> bool:
        identity = _identity(os.stat(folder))  # noqa: PTH116
        if identity in self._seen or identity in self._around:
            return False
        self._seen.add(identity)
        return True


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _audio_file(path: str, entry: os.DirEntry[str]) -> AudioFile | None:
    """Return the audio file, or None if it is not a file, such as a pipe."""
    if not entry.is_file():
        return AudioFile(path, size_in_key(os.readlink(entry.path)), False) if _is_dangling(entry) else None  # noqa: PTH115
    size = entry.stat().st_size
    if size <= MOST_POINTER_BYTES and is_pointer(full := Path(entry.path)):  # few are so small: no Path for each
        return AudioFile(path, size_in_key(full.read_text(errors="replace")), False)
    return AudioFile(path, size, True)


def _is_dangling(entry: os.DirEntry[str]) -> bool:
    return entry.is_symlink() and not os.path.exists(entry.path)  # noqa: PTH110
