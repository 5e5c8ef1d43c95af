"""The SQL of the documentation, in R or not, is run on the database of a small study."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from badc.reports.files.database import make_database
from badc.reports.settings import DatabaseSettings
from tests.conftest import ROOT
from tests.fakes.study import write_study

LABELS = (("Veery", "Catharus fuscescens"), ("Ovenbird", "Seiurus aurocapilla"))


def statements(page: str) -> list[str]:
    """Return a page's SQL: its blocks marked sql, and what its R asks a database."""
    text = (ROOT / "docs" / page).read_text()
    blocks = [block.split(";") for block in re.findall(r"^```sql\n(.*?)^```", text, re.MULTILINE | re.DOTALL)]
    asked = re.findall(r'dbGetQuery\(\w+, "(.*?)"\)', text, re.S)
    return [sql for block in blocks for sql in block if sql.strip()] + asked


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """Two stations, five nights, and few birds: some nights are without."""
    study = write_study(tmp_path_factory.mktemp("study"), labels=LABELS, stations=2, days=5, per_recording=0.15)
    made = make_database(DatabaseSettings(parquet=study, database=Path(study.with_suffix(".duckdb"))))
    with duckdb.connect(str(made.database), read_only=True) as opened:
        yield opened


def rows(database: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[Any, ...]]:
    return database.execute(sql).fetchall()


def test_the_numbers_of_a_history_in_sql(database: duckdb.DuckDBPyConnection) -> None:
    counts, effort = (rows(database, sql) for sql in statements("history.md"))

    assert sum(count for *_, count in counts) == rows(database, "SELECT count(*) FROM detections")[0][0] > 0
    hours = rows(database, "SELECT sum(end_ms - start_ms) / 3600000 FROM coverage WHERE status <> 'missing'")[0][0]
    assert sum(hours for *_, hours in effort) == pytest.approx(hours)
    assert {(station, night) for _, station, night, _ in counts} <= {(station, night) for station, night, _ in effort}


def test_what_r_asks_the_database(database: duckdb.DuckDBPyConnection) -> None:
    rates, songs = (rows(database, sql) for sql in statements("r.md"))

    found = rows(database, "SELECT count(*) FROM detections WHERE label = 'Veery'")[0][0]
    assert sum(count for _, _, count, _ in rates) == found > 0
    assert min(count for _, _, count, _ in rates) == 0, "a night without a Veery is there, with 0"
    assert all(effort > 0 for *_, effort in rates)
    assert 0 < len(songs) <= found
    assert all(length >= 3000 for _, _, length in songs)
