"""Connections: what does not fit into memory, Ctrl-C, errors, literals."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import threading
import time
from pathlib import Path

import pytest

import badc.reports.query.connection
from badc.errors import BadcError
from badc.reports.query.connection import connection, explained
from badc.system.sql import identifier, quoted, quoted_path

# Sorted, because DuckDB keeps all rows of a sort: 96 MB here.
SORT = "SELECT sum(i), count(*) FROM (SELECT i, hash(i) AS h FROM range(6000000) t(i) ORDER BY h OFFSET 0)"


def test_what_does_not_fit_into_memory_goes_to_a_temporary_folder_that_goes_too(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(badc.reports.query.connection, "_MEMORY", "60MB")
    with connection() as database:
        [folder] = tmp_path.iterdir()
        found = []
        reader = threading.Thread(target=lambda: found.append(database.execute(SORT).fetchall()))
        reader.start()
        most = 0
        while reader.is_alive():
            with contextlib.suppress(FileNotFoundError):  # they come and go
                most = max(most, sum(path.stat().st_size for path in folder.iterdir()))
            reader.join(0.01)
    assert found == [[(6_000_000 * 5_999_999 // 2, 6_000_000)]]
    assert most > 10_000_000
    assert list(tmp_path.iterdir()) == []


def test_where_even_that_does_not_fit_the_error_names_the_way_out(monkeypatch):
    monkeypatch.setattr(badc.reports.query.connection, "_MEMORY", "10MB")
    with (
        pytest.raises(BadcError, match=r"x\.parquet: the report needs more memory or space .*; TMPDIR names the"),
        connection() as database,
        explained(Path("x.parquet")),
    ):
        database.execute("SET max_temp_directory_size = '1MB'; SELECT list(hash(i)) FROM range(3000000) t(i)")


ENDLESS = "SELECT sum(hash(i)) AS n FROM range(1000000000000) t(i)"
LARGE = ", ".join(f"hash(i + {n}) AS c{n}" for n in range(10))


@pytest.mark.parametrize(
    "run",
    [
        lambda database: database.execute(ENDLESS).fetchall(),
        lambda database: database.execute(f"CREATE TABLE t AS {ENDLESS}"),
        lambda database: database.execute(f"COPY ({ENDLESS}) TO 'x.csv'"),
        # Written by DuckDB alone, this table would go on for a minute after Ctrl-C.
        lambda database: database.execute(f"CREATE TABLE made.t AS SELECT {LARGE} FROM range(100000000) t(i)"),
    ],
    ids=["a query", "a table", "a file", "a table in a file"],
)
def test_ctrl_c_ends_what_runs_at_once(run):
    with connection() as database:
        database.execute("ATTACH 'x.duckdb' AS made")
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        begin = time.monotonic()
        with pytest.raises(KeyboardInterrupt), explained(Path("x")):
            run(database)
    assert 0.4 < time.monotonic() - begin < 10


def test_an_error_of_duckdb_names_the_file():
    with (
        pytest.raises(BadcError, match="x: Catalog Error: Table with name nothing does not exist"),
        connection() as database,
        explained(Path("x")),
    ):
        database.execute("SELECT * FROM nothing")


def test_handlers_of_signals_are_as_before():
    before = signal.getsignal(signal.SIGINT)
    with connection():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_a_connection_can_be_opened_in_any_thread():
    found = []

    def query():
        with connection() as database:
            found.append(database.execute("SELECT 1").fetchall())

    thread = threading.Thread(target=query)
    thread.start()
    thread.join()
    assert found == [[(1,)]]


def test_a_failure_that_is_not_duckdbs_stays_what_it_is():
    with pytest.raises(RuntimeError, match="other"), explained(Path("x")):
        raise RuntimeError("other")


def test_literals_hold_any_text():
    with connection() as database:
        for text in ("o'brien", "'; DROP TABLE x; --", '"', "\\", "new\nline", "é"):
            assert database.execute(f"SELECT {quoted(text)}").fetchall() == [(text,)]
            assert database.execute(f"SELECT 1 AS {identifier(text)}").description[0][0] == text
    assert quoted_path(Path("/a[1]/b*?'c")) == "'/a[[]1]/b[*][?]''c'"
