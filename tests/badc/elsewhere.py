"""A folder outside of all that a test lets BADC write to, with files that must stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def make_elsewhere(folder: Path, names: Sequence[str]) -> Path:
    """Make a folder with files of these names, and return it."""
    folder.mkdir()
    for name in names:
        (folder / name).write_text("precious")
    return folder


def is_untouched(folder: Path, names: Sequence[str]) -> bool:
    """Whether the folder has these files as they were made, and no others."""
    return {path.name: path.read_text() for path in folder.iterdir()} == dict.fromkeys(names, "precious")
