"""Where the audio of a recording is, from what a table of detections says of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from badc.system.paths import absolute, find_dataset_root


def locate_audio(source_path: str, dataset_root: str | None, bases: Sequence[Path]) -> Path:
    """Return where a table's audio file is, in the way of `Manifest.locate`.

    Parameters
    ----------
    source_path
        As the table has it: absolute, or relative to the dataset.
    dataset_root
        The dataset as the table has it; on another machine it may be somewhere else.
    bases
        Folders to look in first, such as the one that the user names, and last of all the working directory.

    Returns
    -------
    Path
        The first place that has the file; where none has it, the first place that was looked at.
    """
    path = Path(source_path)
    if path.is_absolute():
        candidates = [path, *(absolute(base / path.name) for base in bases)]
    else:
        roots = [*bases, *([Path(dataset_root)] if dataset_root else []), Path.cwd()]
        candidates = [absolute(root / path) for root in roots]
    # A dangling git-annex link is "there": its content was dropped, which is another error than a wrong path.
    return next((c for c in candidates if c.exists() or c.is_symlink()), candidates[0])


def audio_bases(table: Path, audio_root: Path | None) -> list[Path]:
    """Return the folders in which the audio of a detections table may be: the given one, its dataset, its folder."""
    folder = absolute(table).parent
    found = [absolute(audio_root)] if audio_root is not None else []
    if (dataset := find_dataset_root(folder)) is not None:
        found.append(dataset)
    return [*found, folder]
