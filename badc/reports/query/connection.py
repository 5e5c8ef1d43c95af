"""Connections to DuckDB with bounded memory, SQL literals, and errors that name the file."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import duckdb

from badc.errors import BadcError, RequestError
from badc.system.sql import connect

_MEMORY = "512MB"
_MOST_THREADS = 4


@contextlib.contextmanager
def connection(database: str = ":memory:", *, read_only: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a connection to a file, by default to memory, that spills to a temporary folder rather than grow."""
    with (
        tempfile.TemporaryDirectory(prefix="badc-report-") as scratch,
        connect(
            database,
            Path(scratch),
            _MEMORY,
            min(_MOST_THREADS, os.cpu_count() or 1),
            access_mode="READ_ONLY" if read_only else "AUTOMATIC",
            preserve_insertion_order=False,
            autoinstall_known_extensions=False,
            TimeZone="UTC",
        ) as opened,
        _ended_by_signals(opened),
    ):
        yield opened


@contextlib.contextmanager
def _ended_by_signals(database: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Let signals also interrupt the running query.

    During a query, DuckDB runs the handlers of signals and gives up the query if one raises. But it then waits for what
    its threads have begun, which can be the whole query.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread can set handlers
        yield
        return

    handlers = {}
    for asking in (signal.SIGINT, signal.SIGTERM):
        handler = signal.getsignal(asking)
        if callable(handler):
            handlers[int(asking)] = handler

    def end(number: int, frame: FrameType | None) -> None:
        database.interrupt()
        handlers[number](number, frame)

    for number in handlers:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn DuckDB's errors into errors that name the file; Ctrl-C stays KeyboardInterrupt."""
    try:
        yield
    except duckdb.InterruptException:
        raise KeyboardInterrupt from None
    except RuntimeError as error:
        if "interrupted" in str(error):  # how DuckDB reports Ctrl-C during a query
            raise KeyboardInterrupt from None
        raise
    except (duckdb.ConversionException, duckdb.InvalidInputException) as error:
        raise RequestError(f"{path}: cannot be read as such a table: {first_line(error)}") from None
    except duckdb.OutOfMemoryException as error:
        raise BadcError(
            f"{path}: the report needs more memory or space for temporary files ({first_line(error)}); "
            "TMPDIR names the folder for these"
        ) from None
    except duckdb.Error as error:
        raise BadcError(f"{path}: {first_line(error)}") from None


def first_line(error: Exception) -> str:
    """Return the first line of an error, which is the part for users."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
