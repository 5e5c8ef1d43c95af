"""How far two tables of detections agree, such as those of two runs or two classifiers.

Only audio that both analysed counts. *By minute*, a species is detected by both, by one or by neither: agreement is
Cohen's kappa (J. Cohen, "A coefficient of agreement for nominal scales", Educational and Psychological Measurement 20,
1960), and, as kappa falls for rare species however well two agree, the positive agreement 2 both / (2 both + only one +
only the other) (D. V. Cicchetti and A. R. Feinstein, "High agreement but low kappa: II. Resolving the paradoxes",
Journal of Clinical Epidemiology 43, 1990).
*By window*, each detection is matched if the other table has one of the same species about the same sound.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from badc.errors import RequestError
from badc.reports.compare.matching import ANALYSED, Labels, define_same_sound
from badc.reports.compare.settings import CompareSettings
from badc.reports.query.counts import choose, write_csv
from badc.reports.query.expected import notes_on_expected
from badc.reports.query.runs import mixture, runs_of
from badc.reports.query.tables import find_coverage, open_tables
from badc.system.sql import quoted, quoted_path

if TYPE_CHECKING:
    import duckdb

_MINUTE_MS = 60_000
_TOLD = [("label", pa.string()), ("here", pa.string())]
MOST_HEARD_FIRST = "ORDER BY minutes_both + minutes_only_first + minutes_only_second DESC, label"
_TIMED = "absolute_end_ms > absolute_time_ms"


def load_other(
    database: duckdb.DuckDBPyConnection, settings: CompareSettings, labels: Labels, wanted: Sequence[str]
) -> list[str]:
    """Make the tables `other_detections` and `other_minutes` of the other table, with the labels of the first.

    The detections are those that the settings choose; `wanted` are labels to keep, empty keeps all. Returns sentences
    on that table: whether it mixes results of several settings, and what `choose` and `notes_on_expected` say.
    """
    assert settings.other is not None
    with tempfile.TemporaryDirectory(prefix="badc-compare-") as scratch:
        folder = Path(scratch)
        with open_tables(settings.other, find_coverage(settings.other), settings.sites) as other:
            mixed = mixture(runs_of(other))
            notes = [*([mixed] if mixed else []), *choose(other, settings), *notes_on_expected(other)]
            rows = other.execute("SELECT DISTINCT label, label_code, label_name FROM chosen ORDER BY ALL").fetchall()
            told = {row[0]: labels.find(row) or row[0] for row in rows}
            told = {label: here for label, here in told.items() if not wanted or here in wanted}
            other.register("told", pa.table([list(told), list(told.values())], pa.schema(_TOLD)))
            detections = (
                "SELECT DISTINCT recording_id, absolute_time_ms AS start_ms, absolute_end_ms AS end_ms, here AS label, "
                f"confidence FROM chosen JOIN told USING (label) WHERE {_TIMED}"
            )
            other.execute(f"COPY ({detections}) TO {quoted(str(folder / 'detections.parquet'))} (FORMAT parquet)")
            other.execute(f"COPY ({_minutes_of()}) TO {quoted(str(folder / 'minutes.parquet'))} (FORMAT parquet)")
        for name in ("detections", "minutes"):
            place = quoted_path(folder / f"{name}.parquet")
            database.execute(f"CREATE OR REPLACE TEMP TABLE other_{name} AS SELECT * FROM read_parquet({place})")
    return [f"{settings.other}: {note}" for note in notes]


def _minutes_of() -> str:
    minutes = f"unnest(range(start_ms // {_MINUTE_MS}, (end_ms - 1) // {_MINUTE_MS} + 1))"
    return f"SELECT DISTINCT recording_id, {minutes} AS minute FROM ({ANALYSED})"


def agree(database: duckdb.DuckDBPyConnection, min_overlap_ms: int) -> None:
    """Make the tables `agreement`, `pairs` (highest confidences by minute), `only_in_first` and `only_in_second`.

    Call `load_other` before; the view `chosen` has the detections of the first table.

    Raises
    ------
    RequestError
        If no minute of audio was analysed for both.
    """
    define_same_sound(database, min_overlap_ms)
    database.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE both_minutes AS
          SELECT recording_id, minute FROM ({_minutes_of()}) JOIN other_minutes USING (recording_id, minute);
        CREATE OR REPLACE TEMP TABLE first_detections AS
          SELECT DISTINCT recording_id, absolute_time_ms AS start_ms, absolute_end_ms AS end_ms, label, confidence
          FROM chosen WHERE {_TIMED};
        """
    )
    minutes = database.execute("SELECT count(*) FROM both_minutes").fetchall()[0][0]
    if not minutes:
        raise RequestError("no minute of audio is in both tables; recordings are the same by their ids")
    for one in ("first", "other"):
        database.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE {one}_in_minutes AS
            SELECT d.*, minute FROM (
              SELECT *, unnest(range(start_ms // {_MINUTE_MS}, (end_ms - 1) // {_MINUTE_MS} + 1)) AS minute
              FROM {one}_detections) d JOIN both_minutes USING (recording_id, minute)
            WHERE same_sound(start_ms, end_ms, minute * {_MINUTE_MS}, (minute + 1) * {_MINUTE_MS})
            """
        )
    database.execute(
        """
        CREATE OR REPLACE TEMP TABLE pairs AS
          SELECT label, recording_id, minute, f.confidence AS confidence_first,
            o.confidence AS confidence_second,
            f.label IS NOT NULL AS in_first, o.label IS NOT NULL AS in_second
          FROM (SELECT label, recording_id, minute, max(confidence) AS confidence FROM first_in_minutes GROUP BY ALL) f
          FULL JOIN (
            SELECT label, recording_id, minute, max(confidence) AS confidence FROM other_in_minutes GROUP BY ALL) o
          USING (label, recording_id, minute);
        """
    )
    for one, two, name in (("first", "other", "only_in_first"), ("other", "first", "only_in_second")):
        database.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE {name}_or_both AS
            SELECT d.recording_id, d.start_ms, d.end_ms, d.label, d.confidence,
              bool_or(t.label IS NOT NULL AND same_sound(d.start_ms, d.end_ms, t.start_ms, t.end_ms)) AS matched
            FROM {one}_in_minutes d LEFT JOIN (
              SELECT *, unnest(range(start_ms // {_MINUTE_MS}, (end_ms - 1) // {_MINUTE_MS} + 1)) AS minute
              FROM {two}_detections) t USING (recording_id, label, minute)
            GROUP BY ALL;
            CREATE OR REPLACE TEMP TABLE {name} AS SELECT * EXCLUDE (matched) FROM {name}_or_both WHERE NOT matched;
            """
        )
    database.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE agreement AS
        WITH windows AS (
          SELECT label, sum(n1)::BIGINT AS detections_first, sum(m1)::BIGINT AS matched_first,
            sum(n2)::BIGINT AS detections_second, sum(m2)::BIGINT AS matched_second
          FROM (
            SELECT label, 1 AS n1, matched::INT AS m1, 0 AS n2, 0 AS m2 FROM only_in_first_or_both
            UNION ALL SELECT label, 0, 0, 1, matched::INT FROM only_in_second_or_both)
          GROUP BY label),
        cells AS (
          SELECT label, count(*) FILTER (in_first AND in_second) AS n_both,
            count(*) FILTER (NOT in_second) AS only_first, count(*) FILTER (NOT in_first) AS only_second,
            {minutes} - count(*) AS neither
          FROM pairs GROUP BY label),
        chance AS (
          SELECT *, (n_both + neither) / {minutes} AS observed,
            ((n_both + only_first) * (n_both + only_second) + (neither + only_first) * (neither + only_second))
              / ({minutes}.0 * {minutes}) AS expected
          FROM cells)
        SELECT label, n_both AS minutes_both, only_first AS minutes_only_first, only_second AS minutes_only_second,
          neither AS minutes_neither, (observed - expected) / nullif(1 - expected, 0) AS kappa,
          2 * n_both / (2 * n_both + only_first + only_second) AS positive_agreement,
          detections_first, matched_first, detections_second, matched_second
        FROM chance LEFT JOIN windows USING (label)
        """
    )


def write_agreement(database: duckdb.DuckDBPyConnection, folder: Path, for_spreadsheets: bool) -> list[Path]:
    """Write what `agree` made as CSVs, and return them."""
    queries = {
        "agreement": f"SELECT * FROM agreement {MOST_HEARD_FIRST}",
        "only_in_first": "SELECT * FROM only_in_first ORDER BY label, recording_id, start_ms, end_ms, confidence",
        "only_in_second": "SELECT * FROM only_in_second ORDER BY label, recording_id, start_ms, end_ms, confidence",
        "confidences": "SELECT label, recording_id, minute, confidence_first, confidence_second FROM pairs "
        "ORDER BY ALL",
    }
    return [write_csv(database, query, folder / f"{name}.csv", for_spreadsheets) for name, query in queries.items()]
