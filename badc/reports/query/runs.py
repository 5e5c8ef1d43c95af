"""What made the results in a table: its settings, and how much of the table each of them made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from badc.detections.fingerprint import described, mixed
from badc.detections.tables import RUNS_KEY
from badc.errors import numbered


@dataclass(frozen=True, slots=True)
class Run:
    """One part of a table: what made it, in clear, and the number of its chunks (0 without coverage) and detections.

    `fingerprint` is None for results that have none, such as another program's.
    """

    fingerprint: str | None
    settings: Mapping[str, Any]
    chunks: int
    detections: int

    def describe(self) -> str:
        """Return the part in words."""
        size = ", ".join(
            [*([numbered(self.chunks, "chunk")] if self.chunks else []), numbered(self.detections, "detection")]
        )
        return f"{described(self.settings)} ({size})"


def define_runs(database: duckdb.DuckDBPyConnection, files: Iterable[Path]) -> None:
    """Make the view `runs` (fingerprint, settings: JSON, chunks, detections) of the views `detections` and `coverage`.

    `files` are the tables' Parquet files, whose metadata tell the settings.
    """
    database.execute("CREATE TABLE told_runs (fingerprint VARCHAR, settings VARCHAR)")
    for fingerprint, settings in told_by(files).items():
        database.execute("INSERT INTO told_runs VALUES (?, ?)", [fingerprint, orjson.dumps(settings).decode()])
    database.execute(
        """
        CREATE VIEW runs AS
        WITH versions AS (
          SELECT runner, min(model_version) AS version, count(DISTINCT model_version) AS versions
          FROM detections WHERE fingerprint IS NULL GROUP BY runner),
        rows AS (
          SELECT fingerprint, runner, model_version, 0 AS chunks, 1 AS detections FROM detections
          UNION ALL
          -- Coverage knows no version: without a fingerprint, and of several versions, its chunks are nobody's.
          SELECT fingerprint, runner, version, 1, 0 FROM coverage LEFT JOIN versions USING (runner)
          WHERE runner IS NOT NULL AND (fingerprint IS NOT NULL OR (coalesce(versions, 0) < 2
            AND NOT EXISTS (SELECT 1 FROM detections WHERE fingerprint IS NOT NULL)))),
        parts AS (
          SELECT fingerprint, runner, max(model_version) AS model_version, CAST(sum(chunks) AS BIGINT) AS chunks,
            CAST(sum(detections) AS BIGINT) AS detections
          FROM rows GROUP BY fingerprint, runner, CASE WHEN fingerprint IS NULL THEN model_version END)
        SELECT fingerprint, coalesce(settings,
            CAST(json_merge_patch('{}', json_object('runner', runner, 'model_version', model_version)) AS VARCHAR)
          ) AS settings,
          chunks, detections
        FROM parts LEFT JOIN told_runs USING (fingerprint)
        ORDER BY chunks DESC, detections DESC, fingerprint
        """
    )


def runs_of(database: duckdb.DuckDBPyConnection) -> tuple[Run, ...]:
    """Return the parts of the tables, the largest first."""
    rows = database.execute("SELECT fingerprint, settings, chunks, detections FROM runs").fetchall()
    return tuple(
        Run(
            fingerprint,
            orjson.loads(settings),
            *sizes,
        )
        for fingerprint, settings, *sizes in rows
    )


def mixture(runs: tuple[Run, ...]) -> str | None:
    """Return the sentence that says that a table mixes results of several settings, and which; None if it does not."""
    return mixed([(run.settings, run.describe()) for run in runs])


def told_by(files: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Return the settings that tables tell in their metadata, by fingerprint; a file that tells none adds nothing."""
    told: dict[str, dict[str, Any]] = {}
    for path in files:
        try:
            metadata = pq.read_metadata(path).metadata or {}
            told |= orjson.loads(metadata.get(RUNS_KEY.encode(), b"{}"))
        except (OSError, pa.ArrowException, orjson.JSONDecodeError, TypeError):
            continue  # another program's file; what its rows say remains
    return told
