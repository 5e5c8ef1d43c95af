"""Where the recordings of an aggregation were made, from what their chunks' files say about them.

The rule (see `badc.recordings.places`) is that of the whole dataset, also where only some of its outputs are at hand:
all recordings below the datasets' folders of audio count when it is looked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from badc.chunks.status import STATUS_FILE, read_chunk_status
from badc.errors import RequestError
from badc.recordings.dataset_file import DATASET_FILE, kept_layout, kept_recordings
from badc.recordings.names import AUDIO_FOLDER, AUDIO_SUFFIXES, nfc
from badc.recordings.places import NAME, Layout, Place, describe_places, find_layout
from badc.system.paths import absolute, walk


@dataclass(frozen=True, slots=True)
class Source:
    """A recording, and the audio that a chunk of it names; relative paths start in one of `roots`, its datasets."""

    recording_id: str
    source_path: str | None
    roots: tuple[str | None, ...] = ()


class RecordingPlaces:
    """The places of recordings, by one rule: `layout` (see `Layout`), the one that their dataset keeps, or the best.

    Raises RequestError when datasets keep different rules, or one that cannot be used.
    """

    def __init__(self, layout: str | None, sources: Iterable[Source], dataset: Path | None) -> None:
        self._begin = ""
        self._recordings_of = cache(lambda root: kept_recordings(Path(root)))  # of a study's folder of results
        below = {source: path for source in sources if (path := self._below_audio(source)) is not None}
        self._below = below
        outside = [os.path.dirname(path) for path in below.values() if path.startswith("/")]  # noqa: PTH120
        self._begin = os.path.commonpath(outside) if outside else ""
        roots = {Path(root) for source in below for root in source.roots if root is not None}
        roots |= {dataset} if dataset is not None else set()
        if layout is None and (kept := {rule for root in roots if (rule := kept_layout(root)) is not None}):
            if len(kept) > 1:
                raise RequestError(
                    f"the datasets keep different rules of stations ({', '.join(sorted(kept))}); give --layout"
                )
            layout = kept.pop()
        if layout is None:
            folders = [self._recordings_of(str(root)) or root / AUDIO_FOLDER for root in roots]
            paths = {path for folder in folders for path in _audio_in(folder)}
            paths.update(map(self._in_study, below.values()))
            layout = find_layout(sorted(paths)).text
        self.layout = Layout(layout)
        self.of = lru_cache(maxsize=4096)(self._of)

    def _of(self, source: Source) -> Place:
        """Return where a recording was made; if nothing says where its audio is, as far as its id says it."""
        path = self._below[source] if source in self._below else self._below_audio(source)
        if path is None:
            return (Layout(NAME) if self.layout.is_template else self.layout).place_of(source.recording_id)
        return self.layout.place_of(path if self.layout.is_template else self._in_study(path))

    def _below_audio(self, source: Source) -> str | None:
        """Return the path of a recording below its dataset's folder of audio, else as it is; None if unknown."""
        path = _recording(source)
        if path is None:
            return None
        for root in source.roots:
            if root is not None and (folder := self._recordings_of(root)) is not None:
                full = absolute(Path(root, path))
                if full.is_relative_to(folder):
                    return full.relative_to(folder).as_posix()
        for root in source.roots:
            if root is not None and path.startswith(f"{root.rstrip('/')}/"):
                path = path[len(root.rstrip("/")) + 1 :]
        if path.startswith(f"{AUDIO_FOLDER}/"):
            return path[len(AUDIO_FOLDER) + 1 :]
        return path.rpartition(f"/{AUDIO_FOLDER}/")[2]

    def describe(self, sources: Iterable[Source]) -> list[str]:
        """Return what a person should know of the places of these recordings, a line each."""
        return describe_places(self.layout, [(source.recording_id, self.of(source)) for source in sources])

    def _in_study(self, path: str) -> str:
        """Return a path outside of datasets without what all of these begin with: that is this machine's, no place."""
        if not path.startswith("/"):
            return path
        begin = f"{self._begin.rstrip('/')}/"
        return path.removeprefix(begin) if self._begin and path.startswith(begin) else os.path.basename(path)  # noqa: PTH119


def _recording(source: Source) -> str | None:
    """Return the path of the recording itself, also where the chunk is a WAV of its own."""
    if source.source_path is None:
        return None
    folder, name = os.path.split(source.source_path)  # a Path for each is slow
    stem, identifier = nfc(os.path.splitext(name)[0]), nfc(source.recording_id)  # noqa: PTH122
    if stem in identifier:
        return source.source_path
    for root in (*source.roots, "."):
        if root is None:
            continue
        try:
            status = read_chunk_status(Path(root, folder, STATUS_FILE))
        except RequestError:
            continue
        if status is not None and status.audio_path is not None and status.recording_id == source.recording_id:
            return status.audio_path
    return None if identifier in stem else source.source_path


def _audio_in(folder: Path) -> Iterator[str]:
    for base, names in walk(folder, without=DATASET_FILE):
        below = base[len(str(folder)) + 1 :]
        for name in names:
            if os.path.splitext(name)[1].lower() in AUDIO_SUFFIXES:  # noqa: PTH122 - a Path for each is slow
                yield f"{below}/{name}" if below else name
