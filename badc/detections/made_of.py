"""Which folder of detections a table was made of, as it says itself."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from badc.errors import RequestError
from badc.system.paths import absolute

# The key in a table's Parquet metadata of that folder, relative to the table's own.
DETECTIONS_DIR_KEY = "badc.detections_dir"


def as_told(folder: Path, table: Path) -> str:
    """Return what a table says of the folder that it is made of."""
    return os.path.relpath(os.path.realpath(folder), os.path.realpath(absolute(table).parent))


def detections_of(table: Path, metadata: pq.FileMetaData) -> list[str]:
    """Return the folder of detections that a table, by its metadata, was made of; nothing if it does not say.

    Where the table's folder is reached by a link, there are two paths that may be meant.
    """
    told = (metadata.metadata or {}).get(DETECTIONS_DIR_KEY.encode())
    if told is None:
        return []
    folders = dict.fromkeys((absolute(table).parent, Path(os.path.realpath(table.parent))))
    return [os.path.normpath(folder / told.decode()) for folder in folders]


def is_of(told: list[str], folder: Path) -> bool:
    """Whether a table may be of a folder of detections, given what `detections_of` returned."""
    return not told or not {str(absolute(folder)), os.path.realpath(folder)}.isdisjoint(told)


def require_own_table(table: Path | None, folder: Path) -> None:
    """Raise RequestError if a recording's table would be replaced by that of its results in another folder."""
    try:
        told = detections_of(table, pq.read_metadata(table)) if table is not None and table.exists() else []
    except (pa.ArrowException, OSError):
        return
    if not is_of(told, folder) and Path(told[0]).name == folder.name and Path(told[0]).is_dir():
        raise RequestError(
            f"{table}: is the table of the detections in {told[0]}; name another file, or remove this one"
        )
