"""How many windows a model took at once on a kind of GPU: a small file in the user's cache folder."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from badc.runners.onnx.batches import MOST
from badc.system import atomic
from badc.system.file_lock import NoLocksError, lock
from badc.system.paths import cache_dir


def remembered(key: str) -> int | None:
    """Return the number of windows that was found for a model on a device, or None."""
    size = _read(_file()).get(key)
    return size if isinstance(size, int) and 1 <= size <= MOST else None


def remember(key: str, size: int) -> None:
    """Keep the number of windows that was found for a model on a device."""
    path = _file()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as held:
        with contextlib.suppress(NoLocksError):  # what two write at once is found out again
            lock(held)
        atomic.write_text(path, json.dumps(_read(path) | {key: size}, indent=1, sort_keys=True) + "\n")


def _file() -> Path:
    return cache_dir() / "onnx-batch-sizes.json"


def _read(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
