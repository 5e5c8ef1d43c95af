"""Find a recording's audio from what a table of detections says about it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from badc.errors import numbered
from badc.recordings.dataset_file import kept_recordings
from badc.recordings.names import AUDIO_FOLDER
from badc.system.paths import RESULTS_FOLDER, absolute, find_dataset_root


def find_audio(source_path: str, roots: Sequence[Path], moved_to: Sequence[Path] = ()) -> Path:
    """Return the first place that has a recording's audio; if none has it, the first one that was looked at.

    A relative `source_path` is looked for below `roots`, an absolute one where it says, and then by its name in
    `moved_to`. A dangling git-annex link counts as there: dropped content is another error than a wrong path.
    """
    path = Path(source_path)
    places = [base / path.name for base in moved_to] if path.is_absolute() else [root / path for root in roots]
    candidates = [*([path] if path.is_absolute() else []), *map(absolute, places)]
    # Unlike Path.exists, this says of a name that is too long, which a file may give, that it is not there.
    return next((c for c in candidates if os.path.lexists(c)), candidates[0])


def dataset_of(path: Path) -> Path | None:
    """Return the dataset that relative paths in a file refer to, with `.datalad` or without; None outside of one.

    One without is looked for as `plain_dataset_of` does.
    """
    return find_dataset_root(path) or plain_dataset_of(path)


def plain_dataset_of(path: Path) -> Path | None:
    """Return the nearest folder above a file with `audio`, and `manifests` or `artifacts`; None if there is none.

    The folder of results of a study counts too, and is that of the recordings around it.
    """
    return next((found for folder in absolute(path).parents if (found := _plain_dataset(folder)) is not None), None)


def _plain_dataset(folder: Path) -> Path | None:
    names = ("manifests", "artifacts")
    if os.path.isdir(folder / AUDIO_FOLDER) and any(os.path.isdir(folder / name) for name in names):  # noqa: PTH112
        return folder
    for results in (folder, folder / RESULTS_FOLDER):
        if kept_recordings(results) is not None:
            return results
    return None


def in_dataset(written: str, root: Path | None) -> Path:
    """Return where a file is that a file of the dataset `root` names, by a relative path or an absolute one.

    An absolute path may be from before the dataset was moved or copied: the file counts that is below `root` by the end
    of that path, unless one of another size is where the path says.
    """
    path = Path(written)
    if not path.is_absolute():
        return absolute((root or Path.cwd()) / path)
    if root is None or path.is_relative_to(root):
        return path
    ends = (root.joinpath(*path.parts[at:]) for at in range(1, len(path.parts) - 1))
    here = next((end for end in ends if os.path.lexists(end)), None)
    return path if here is None or _size(path) not in (None, _size(here)) else here


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def notes_on_places(sources: Iterable[str], root: Path | None) -> list[str]:
    """Return a sentence each on audio of a dataset that is not where its manifests say, and on audio outside of it.

    `sources` are paths as manifests have them; only absolute ones can be elsewhere.
    """
    if root is None:
        return []
    named = [(Path(source), in_dataset(source, root)) for source in sources if Path(source).is_absolute()]
    moved = [(written, path) for written, path in named if path != written and not is_same_file(written, path)]
    places = [folder for folder in (root, kept_recordings(root)) if folder is not None]
    outside = [path for _, path in named if not any(map(path.is_relative_to, places))]
    notes = []
    if moved:
        written, path = moved[0]
        notes.append(
            f"{numbered(len(moved), 'file')} of audio found in {root}, where the dataset is now: {path}, where the "
            f"manifest says {written}" + (", and so on" if len(moved) > 1 else "")
        )
    if outside:
        notes.append(
            f"{numbered(len(outside), 'file')} of audio read from outside of {root}, as the manifests say: {outside[0]}"
            + (", and so on" if len(outside) > 1 else "")
        )
    return notes


def is_same_file(first: Path, second: Path) -> bool:
    """Whether two paths lead to one file, such as through another mount of the dataset."""
    try:
        return first.samefile(second)
    except OSError:
        return False


def locate_audio(source_path: str, dataset_root: str | None, bases: Sequence[Path]) -> Path:
    """Return where a table's audio is (see `find_audio`).

    `dataset_root` is the dataset as the table has it, which may be elsewhere on this machine. `bases` come first: the
    folder that the user names, and those around the table (see `audio_bases`).
    """
    roots = [*bases, *([Path(dataset_root)] if dataset_root else []), Path.cwd()]
    if (path := Path(source_path)).is_absolute():
        copies = (in_dataset(source_path, base) for base in bases)
        source_path = str(next((copy for copy in copies if copy != path), path))
    return find_audio(source_path, roots, moved_to=bases)


def audio_bases(table: Path, audio_root: Path | None) -> list[Path]:
    """Return the folders where a table's audio may be: the given one, the table's dataset, the table's own folder."""
    folder = absolute(table).parent
    found = [absolute(audio_root)] if audio_root is not None else []
    if (dataset := dataset_of(table)) is not None:
        found.append(dataset)
    return [*found, folder]
