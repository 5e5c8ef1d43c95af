"""The file of a dataset with the rule of its stations: `.badc.toml`, so that a rule given once holds for good.

`layout = "{station}/{name}"` is its one key; others are kept as they are.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from badc.errors import RequestError
from badc.recordings.places import layout_problem
from badc.system import atomic

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
    path = root / DATASET_FILE
    content = _read(path)
    if layout is None or content.get("layout") == layout:
        return
    import tomli_w

    atomic.write_text(path, tomli_w.dumps(content | {"layout": layout}))


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        if path.is_symlink():
            raise RequestError(f"{path}: its content is not here; `datalad get` brings it") from None
        return {}
    except OSError as error:
        raise RequestError(f"{path}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RequestError(f"{path}: not TOML: {error}") from None
