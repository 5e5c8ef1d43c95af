"""The file of a dataset with what was said of it once, and holds for good: `.badc.toml`.

`layout = "{station}/{name}"` is the rule of its stations. `recordings = ".."` is the folder with its recordings, at any
depth, where that is not its folder `audio`: the dataset is the folder of results of a study. Other keys are kept.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from badc.errors import RequestError
from badc.recordings.names import AUDIO_FOLDER
from badc.recordings.places import layout_problem
from badc.system import atomic
from badc.system.annex import ContentElsewhereError
from badc.system.paths import absolute, as_written
from badc.system.toml import TomlError, parse_toml

DATASET_FILE = ".badc.toml"


def kept_layout(root: Path) -> str | None:
    """Return the rule that a dataset keeps (see `badc.recordings.places.Layout`), or None.

    Raises
    ------
    RequestError
        When the file cannot be read, or has no rule that can be used.
    """
    layout = _read(root / DATASET_FILE).get("layout")
    if layout is None:
        return None
    problem = layout_problem(layout) if isinstance(layout, str) else f"{layout!r} is not text"
    if problem:
        raise RequestError(f"{root / DATASET_FILE}: layout: {problem}")
    return str(layout)


def keep_layout(root: Path, layout: str | None) -> None:
    """Keep a rule that was given in the dataset's file, unless it has it already; raises as `kept_layout`."""
    if layout is not None:
        _keep(root, "layout", layout)


def kept_recordings(root: Path) -> Path | None:
    """Return the folder with the recordings of a study, absolute, if `root` is its folder of results; else None.

    Raises RequestError when the file cannot be read, or what it says is no path.
    """
    told = _read(root / DATASET_FILE).get("recordings")
    if told is None:
        return None
    if not isinstance(told, str) or not told:
        raise RequestError(f"{root / DATASET_FILE}: recordings: {told!r} is not a folder's path")
    return absolute(root / told)


def keep_recordings(root: Path, folder: Path) -> None:
    """Keep the folder with the recordings of a study in its folder of results; raises as `kept_recordings`.

    Where the one holds the other, its path is relative, so that they can be moved together.
    """
    root.mkdir(parents=True, exist_ok=True)
    inside = os.path.realpath(root).startswith(os.path.join(os.path.realpath(folder), ""))  # noqa: PTH118
    _keep(root, "recordings", _relative(folder, root) if inside and root.is_relative_to(folder) else str(folder))


def audio_folder(root: Path) -> Path:
    """Return the folder with a dataset's recordings: its `audio`, or where those of a study are."""
    return kept_recordings(root) or root / AUDIO_FOLDER


def audio_as_written(audio: Path, root: Path | None) -> str:
    """Return the path of a recording as files of a dataset have it: relative if it moves together with the dataset."""
    written = as_written(audio, root)
    if root is None or not written.startswith("/"):
        return written
    told = _read(root / DATASET_FILE).get("recordings")
    if not isinstance(told, str) or told.startswith("/") or not absolute(audio).is_relative_to(absolute(root / told)):
        return written
    return _relative(absolute(audio), root)


def _relative(path: Path, start: Path) -> str:
    return Path(os.path.relpath(path, start)).as_posix()


def _keep(root: Path, key: str, value: str) -> None:
    path = root / DATASET_FILE
    content = _read(path)
    if content.get(key) == value:
        return
    import tomli_w

    atomic.write_text(path, tomli_w.dumps(content | {key: value}))


def _read(path: Path) -> dict[str, Any]:
    try:
        return parse_toml(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        if path.is_symlink():
            raise ContentElsewhereError.of(path, "file of the dataset") from None
        return {}
    except OSError as error:
        raise RequestError(f"{path}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, TomlError) as error:
        raise RequestError(f"{path}: not TOML: {error}") from None
