"""SQL for DuckDB: opening a database, and texts, paths and names as it writes them."""

from __future__ import annotations

from pathlib import Path

import duckdb

from badc.errors import RequestError
from badc.system.paths import absolute


def quoted(text: str) -> str:
    """Return text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def quoted_path(path: Path) -> str:
    """Return a path as an SQL literal in which `*`, `?` and `[` are not patterns.

    RequestError when it has a backslash beside one of them: in a pattern, DuckDB takes that for a `/`.
    """
    text = str(absolute(path))
    if "\\" in text and not {"*", "?", "["}.isdisjoint(text):
        raise RequestError(f"{path}: DuckDB cannot read a path with a \\ and a *, ? or [; rename the folder")
    return quoted("".join(f"[{letter}]" if letter in "*?[" else letter for letter in text))


def identifier(name: str) -> str:
    """Return a column's name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def connect(database: str, scratch: Path, memory: str, threads: int, **config: str | bool) -> duckdb.DuckDBPyConnection:
    """Open a database (`:memory:` or a file) that spills to `scratch` rather than take more than `memory`."""
    return duckdb.connect(
        database, config={"memory_limit": memory, "temp_directory": str(scratch), "threads": threads, **config}
    )
