"""Find a recording's audio from what a table of detections says about it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from badc.system.paths import absolute, find_dataset_root


def find_audio(source_path: str, roots: Sequence[Path], moved_to: Sequence[Path] = ()) -> Path:
    """Return the first place that has a recording's audio; if none has it, the first one that was looked at.

    A relative `source_path` is looked for below `roots`, an absolute one where it says, and then by its name in
    `moved_to`. A dangling git-annex link counts as there: dropped content is another error than a wrong path.
    """
    path = Path(source_path)
    places = [base / path.name for base in moved_to] if path.is_absolute() else [root / path for root in roots]
    candidates = [*([path] if path.is_absolute() else []), *map(absolute, places)]
    return next((c for c in candidates if c.exists() or c.is_symlink()), candidates[0])


def locate_audio(source_path: str, dataset_root: str | None, bases: Sequence[Path]) -> Path:
    """Return where a table's audio is (see `find_audio`).

    `dataset_root` is the dataset as the table has it, which may be elsewhere on this machine. `bases` come first: the
    folder that the user names, and those around the table (see `audio_bases`).
    """
    roots = [*bases, *([Path(dataset_root)] if dataset_root else []), Path.cwd()]
    return find_audio(source_path, roots, moved_to=bases)


def audio_bases(table: Path, audio_root: Path | None) -> list[Path]:
    """Return the folders where a table's audio may be: the given one, the table's dataset, the table's own folder."""
    folder = absolute(table).parent
    found = [absolute(audio_root)] if audio_root is not None else []
    if (dataset := find_dataset_root(folder)) is not None:
        found.append(dataset)
    return [*found, folder]
