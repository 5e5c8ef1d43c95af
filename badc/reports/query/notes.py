"""Notes for the reader of a report: what its tables lack, and what that does to the numbers."""

from __future__ import annotations

from pathlib import Path

import duckdb

from badc.detections.tables import NOT_CHUNKED
from badc.errors import named_few, numbered
from badc.recordings.sites import unlisted_note
from badc.reports.query.expected import notes_on_expected
from badc.reports.query.runs import mixture, runs_of


def notes_on_tables(database: duckdb.DuckDBPyConnection, parquet: Path, coverage: Path | None) -> tuple[str, ...]:
    """Return a sentence for each thing that the tables and sites lack; `coverage` is None without such a table."""
    mixed = mixture(runs_of(database))
    found = [] if mixed is None else [mixed]
    if coverage is None:
        found.append(f"no table of coverage beside {parquet}, so detections per analysed hour are not known")
    elif not _exists(database, "coverage WHERE analysed"):
        found.append(f"{coverage}: no chunk was analysed, so detections per analysed hour are not known")
    found += unlisted_note(_stations_without_site(database))
    found += notes_on_expected(database)
    found += notes_on_gaps(database)
    if _exists(database, "detections WHERE recorded_utc_offset_min = 0 AND timezone IS NULL"):
        found.append(
            "some recorders' clocks showed UTC: hours and dates are UTC where the sites give no time zone (--sites)"
        )
    return tuple(found)


def notes_on_gaps(database: duckdb.DuckDBPyConnection) -> list[str]:
    """Return a sentence each on what was not analysed or not as it is, has no station, or no time; `choose` first."""
    found = []
    rows = database.execute(
        f"SELECT recording_id, any_value(notes) FROM coverage WHERE status = '{NOT_CHUNKED}' GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    if rows:
        shown = named_few([f"{name} ({why or 'no reason is known'})" for name, why in rows])
        found.append(f"not analysed: {numbered(len(rows), 'recording')} without chunks: {shown}")
    found += _notes_on_audio(database)
    for what, of_detection, of_chunk, lacking in (
        ("station", "station", "station", "under no station"),
        ("time", "detected_at", "recorded_at", "under no hour and no date"),
    ):
        number = database.execute(f"SELECT count(*) FROM chosen WHERE {of_detection} IS NULL").fetchall()[0][0]
        names = [
            str(row[0])
            for row in database.execute(
                f"SELECT recording_id FROM chosen WHERE {of_detection} IS NULL "
                f"UNION SELECT recording_id FROM coverage WHERE {of_chunk} IS NULL "
                f"AND status IS DISTINCT FROM '{NOT_CHUNKED}' ORDER BY 1"
            ).fetchall()
        ]
        if names:
            counts = f"{numbered(number, 'detection')}, {numbered(len(names), 'recording')}"
            found.append(f"no {what}: {counts} ({named_few(names)}): counted, but {lacking}")
    return found


def _notes_on_audio(database: duckdb.DuckDBPyConnection) -> list[str]:
    """Return a sentence for each kind of note on the audio of chunks, such as that only a part of it can be read.

    Notes are of one kind if they differ in nothing but their numbers.
    """
    rows = database.execute(
        f"""
        WITH one AS (
          SELECT DISTINCT recording_id, start_ms, unnest(string_split(notes, '; ')) AS note FROM coverage
          WHERE notes <> '' AND status IS DISTINCT FROM '{NOT_CHUNKED}')
        SELECT min(note), count(DISTINCT note), count(*), list(DISTINCT recording_id ORDER BY recording_id)
        FROM one GROUP BY regexp_replace(note, '[0-9.,]+', '', 'g') ORDER BY count(*) DESC, 1
        """
    ).fetchall()
    return [
        f"{note}{'' if different == 1 else ', or the like'} ({numbered(chunks, 'chunk')} of {named_few(recordings)})"
        for note, different, chunks, recordings in rows
    ]


def _stations_without_site(database: duckdb.DuckDBPyConnection) -> list[str]:
    if not _exists(database, "sites"):
        return []
    rows = database.execute(
        "SELECT DISTINCT station FROM (SELECT station FROM detections UNION ALL SELECT station FROM coverage) "
        "WHERE station IS NOT NULL AND station NOT IN (SELECT station FROM sites) ORDER BY station"
    ).fetchall()
    return [row[0] for row in rows]


def _exists(database: duckdb.DuckDBPyConnection, rows: str) -> bool:
    return bool(database.execute(f"SELECT 1 FROM {rows} LIMIT 1").fetchall())
