"""Find a recording's audio from what a table of detections says about it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from badc.system.paths import absolute, find_dataset_root


def locate_audio(source_path: str, dataset_root: str | None, bases: Sequence[Path]) -> Path:
    """Return the first place that has a table's audio file, or the first place searched if none has it.

    A relative `source_path` is looked up in `bases`, in the table's `dataset_root`, which may be elsewhere on this
    machine, then in the working directory; of an absolute one that is not there, the name is looked up in `bases`.
    """
    path = Path(source_path)
    if path.is_absolute():
        candidates = [path, *(absolute(base / path.name) for base in bases)]
    else:
        roots = [*bases, *([Path(dataset_root)] if dataset_root else []), Path.cwd()]
        candidates = [absolute(root / path) for root in roots]
    # A dangling git-annex link counts: its content was dropped, which is a different error from a wrong path.
    return next((c for c in candidates if c.exists() or c.is_symlink()), candidates[0])


def audio_bases(table: Path, audio_root: Path | None) -> list[Path]:
    """Return the folders where a table's audio may be: the given one, the table's dataset, the table's own folder."""
    folder = absolute(table).parent
    found = [absolute(audio_root)] if audio_root is not None else []
    if (dataset := find_dataset_root(folder)) is not None:
        found.append(dataset)
    return [*found, folder]
