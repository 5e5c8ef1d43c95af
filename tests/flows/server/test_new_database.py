"""A new PREFECT_HOME gets a copy of an empty database that was made once."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def _made(home: Path, cache: Path, **settings: str) -> Path:
    variables = os.environ | {"PREFECT_HOME": str(home), "XDG_CACHE_HOME": str(cache), "PREFECT_API_URL": ""} | settings
    code = "from flows.server.new_database import make_database; make_database()"
    subprocess.run([sys.executable, "-c", code], env=variables, check=True, timeout=300)
    return home / "prefect.db"


def _tables(path: Path) -> list[tuple[str]]:
    with sqlite3.connect(path) as database:
        return database.execute("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY 1").fetchall()


@pytest.mark.long
@pytest.mark.parametrize("damaged", [False, True])
def test_it_is_made_once_and_copied_unless_it_is_damaged(tmp_path: Path, damaged: bool) -> None:
    cache = tmp_path / "cache"
    first = _made(tmp_path / "first", cache)
    (kept,) = (cache / "badc").glob("prefect-*.db")
    # What tells a copy from one that was made.
    with sqlite3.connect(kept) as database:
        database.execute("PRAGMA user_version = 7")
    second = _made(tmp_path / "second", cache)
    assert _tables(first) == _tables(second)
    with sqlite3.connect(second) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (7,)
        assert database.execute("SELECT count(*) FROM flow_run").fetchone() == (0,)
        database.execute("PRAGMA user_version = 8")
    _made(tmp_path / "second", cache)
    with sqlite3.connect(second) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (8,), "what is there is kept"

    if damaged:
        kept.write_bytes(kept.read_bytes()[:5000])
        third = _made(tmp_path / "third", cache)
        assert _tables(third) == _tables(first)
        assert _tables(kept) == _tables(first)


def test_a_database_elsewhere_is_left_to_prefect(tmp_path: Path) -> None:
    _made(tmp_path / "home", tmp_path / "cache", PREFECT_API_DATABASE_CONNECTION_URL="sqlite+aiosqlite:///:memory:")
    assert not (tmp_path / "home" / "prefect.db").exists()
    assert not (tmp_path / "cache").exists()
