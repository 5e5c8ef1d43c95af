"""Precision, recall and F1 of a table's detections against what people heard, in SQL.

What is compared (`docs/compare.md` says it to users):

- The audio that was analysed and listened to: nothing else counts, neither for nor against.
- *By window*, each detection is right if a label of its species is about the same sound, and each label is found if a
  detection is. Precision is the share of right detections, recall that of found labels.
- *By chunk, minute or recording*, a species was heard in it, or detected, or both.

Precision is right / (right + false alarms), recall is found / (found + missed), F1 is their harmonic mean (van
Rijsbergen, Information Retrieval, 2nd ed. 1979, chapter 7).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from badc.reports.compare.matching import ANALYSED, WHOLE_MS, define_same_sound

if TYPE_CHECKING:
    import duckdb

STEPS = 20  # thresholds from 0 to below 1
_BUCKET_MS = 60_000  # joins compare what is in the same bucket, rather than everything in a recording

# The columns that precision, recall and F1 are made of.
_RATES = """
    correct / nullif(detected, 0) AS precision, found / nullif(heard, 0) AS recall,
    CASE WHEN detected > 0 AND heard > 0 THEN
      CASE WHEN correct = 0 OR found = 0 THEN 0
      ELSE 2 * (correct / detected) * (found / heard) / (correct / detected + found / heard) END
    END AS f1
"""
_COUNTS = """
    detected, correct, detected - correct AS false_alarms, heard, found, heard - found AS missed
"""


def score(database: duckdb.DuckDBPyConnection, min_overlap_ms: int, complete: bool) -> None:
    """Make the tables `alarms`, `labels`, `tallies`, and the views `curves` and `scores`.

    The database has the views of `badc.reports.query.tables.open_tables` and of `badc.reports.query.counts.choose`, and
    the tables of `badc.reports.compare.matching.load_truth`. `curves` has a row per unit, label and threshold; `scores`
    one per unit and label, of the chosen detections, with the threshold of the best F1.
    """
    define_same_sound(database, min_overlap_ms)
    database.execute(
        f"""
        CREATE OR REPLACE TEMP MACRO buckets(a, b) AS range(a // {_BUCKET_MS}, (b - 1) // {_BUCKET_MS} + 1);
        """
    )
    _what_counts(database, complete)
    _by_window(database)
    _by_unit(database)
    _rates(database)


def _what_counts(database: duckdb.DuckDBPyConnection, complete: bool) -> None:
    """Make `pieces` (audio analysed and listened to), `labels` and `alarms` in it."""
    of_detection = "recording_id, absolute_time_ms AS start_ms, absolute_end_ms AS end_ms, label, confidence"
    where = "absolute_end_ms > absolute_time_ms AND recording_id IN (SELECT recording_id FROM listened)"
    where += "" if complete else " AND label IN (SELECT label FROM labels)"
    in_pieces = """EXISTS (
        SELECT 1 FROM bucketed_pieces p WHERE p.recording_id = x.recording_id AND p.bucket = x.bucket
          AND same_sound(x.start_ms, x.end_ms, p.start_ms, p.end_ms))"""
    database.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE analysed_chunks AS
          SELECT * FROM ({ANALYSED}) WHERE recording_id IN (SELECT recording_id FROM listened);
        CREATE OR REPLACE TEMP TABLE pieces AS
          SELECT recording_id, c.start_ms AS chunk_ms, greatest(c.start_ms, l.start_ms) AS start_ms,
            least(c.end_ms, l.end_ms) AS end_ms
          FROM analysed_chunks c JOIN listened l USING (recording_id)
          WHERE least(c.end_ms, l.end_ms) > greatest(c.start_ms, l.start_ms);
        CREATE OR REPLACE TEMP TABLE bucketed_pieces AS
          SELECT *, unnest(buckets(start_ms, end_ms)) AS bucket FROM pieces;
        CREATE OR REPLACE TEMP TABLE labels AS
          SELECT DISTINCT ON (recording_id, start_ms, end_ms, label) * EXCLUDE (bucket) FROM (
            SELECT * FROM (SELECT *, unnest(buckets(start_ms, end_ms)) AS bucket FROM truth) x WHERE {in_pieces})
          ORDER BY place;
        CREATE OR REPLACE TEMP TABLE alarms AS
          SELECT recording_id, start_ms, end_ms, label, confidence, bool_or(counted) AS counted FROM (
            SELECT {of_detection}, false AS counted FROM at_any_confidence WHERE {where}
            UNION ALL SELECT {of_detection}, true FROM chosen WHERE {where}) a
          -- What was detected was analysed, so it only has to be in what was listened to.
          SEMI JOIN listened l ON a.recording_id = l.recording_id
            AND same_sound(a.start_ms, a.end_ms, l.start_ms, l.end_ms)
          GROUP BY ALL;
        """
    )


def _by_window(database: duckdb.DuckDBPyConnection) -> None:
    """Make `same_sounds` (a detection and a label that are about the same sound), and the tallies by window."""
    key = "recording_id, label, start_ms, end_ms"
    database.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE same_sounds AS
          SELECT DISTINCT a.recording_id, a.label, a.start_ms, a.end_ms, a.confidence, a.counted,
            l.start_ms AS label_start_ms, l.end_ms AS label_end_ms
          FROM (SELECT *, unnest(buckets(start_ms, end_ms)) AS bucket FROM alarms) a
          JOIN (SELECT *, unnest(buckets(start_ms, end_ms)) AS bucket FROM labels) l USING (recording_id, label, bucket)
          WHERE same_sound(a.start_ms, a.end_ms, l.start_ms, l.end_ms);
        CREATE OR REPLACE TEMP TABLE checked_alarms AS
          SELECT *, ({key}) IN (SELECT ({key}) FROM same_sounds) AS is_correct FROM alarms;
        CREATE OR REPLACE TEMP TABLE checked_labels AS
          SELECT l.*, b.best, coalesce(b.counted, false) AS found FROM labels l LEFT JOIN (
            SELECT recording_id, label, label_start_ms AS start_ms, label_end_ms AS end_ms,
              max(coalesce(confidence, 0)) AS best, bool_or(counted) AS counted FROM same_sounds GROUP BY ALL) b
          USING (recording_id, label, start_ms, end_ms);
        CREATE OR REPLACE TEMP TABLE tallies AS
          SELECT 'window' AS unit, label, true AS is_alarm, coalesce(confidence, 0) AS score, counted, is_correct
          FROM checked_alarms
          UNION ALL SELECT 'window', label, false, best, found, true FROM checked_labels;
        """
    )


def _by_unit(database: duckdb.DuckDBPyConnection) -> None:
    """Make `marks` (the units in which a species was heard or detected), and their tallies."""
    database.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE units AS
          SELECT 'chunk' AS unit, recording_id, start_ms, end_ms, unnest(buckets(start_ms, end_ms)) AS bucket
          FROM pieces
          UNION SELECT 'minute', recording_id, bucket * {_BUCKET_MS}, (bucket + 1) * {_BUCKET_MS}, bucket
          FROM bucketed_pieces;
        CREATE OR REPLACE TEMP TABLE marks AS
          WITH all_of_them AS (
            SELECT recording_id, label, start_ms, end_ms, coalesce(confidence, 0) AS score, counted, false AS is_label
            FROM alarms
            UNION ALL SELECT recording_id, label, start_ms, end_ms, NULL, false, true FROM labels),
          placed AS (
            SELECT u.unit, u.recording_id, u.start_ms, u.end_ms, x.label, x.score, x.counted, x.is_label
            FROM (SELECT *, unnest(buckets(start_ms, end_ms)) AS bucket FROM all_of_them) x
            JOIN units u USING (recording_id, bucket)
            WHERE same_sound(x.start_ms, x.end_ms, u.start_ms, u.end_ms)
            UNION ALL SELECT 'recording', recording_id, 0, {WHOLE_MS}, label, score, counted, is_label FROM all_of_them)
          SELECT unit, recording_id, start_ms, end_ms, label, max(score) AS score, bool_or(counted) AS counted,
            bool_or(is_label) AS is_heard
          FROM placed GROUP BY ALL;
        INSERT INTO tallies
          SELECT unit, label, true, score, counted, is_heard FROM marks WHERE score IS NOT NULL
          UNION ALL SELECT unit, label, false, score, counted, true FROM marks WHERE is_heard;
        """
    )


def _rates(database: duckdb.DuckDBPyConnection) -> None:
    def counted(condition: str) -> str:
        return f"""
          (sum(n) FILTER (is_alarm AND {condition}))::BIGINT AS detected,
          (sum(n) FILTER (is_alarm AND is_correct AND {condition}))::BIGINT AS correct,
          (sum(n) FILTER (NOT is_alarm))::BIGINT AS heard,
          (sum(n) FILTER (NOT is_alarm AND {condition}))::BIGINT AS found"""

    whole = ", ".join(f"coalesce({name}, 0) AS {name}" for name in ("detected", "correct", "heard", "found"))
    database.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE tallied AS
          SELECT unit, label, is_alarm, is_correct, counted, floor(score * {STEPS}) AS steps, count(*) AS n FROM tallies
          GROUP BY ALL;
        CREATE OR REPLACE TEMP TABLE curves AS
          SELECT unit, label, threshold, {_COUNTS}, {_RATES} FROM (SELECT unit, label, threshold, {whole} FROM (
            SELECT unit, label, step / {STEPS} AS threshold, {counted("steps >= step")}
            FROM tallied CROSS JOIN (SELECT unnest(range({STEPS})) AS step) GROUP BY unit, label, step));
        CREATE OR REPLACE TEMP TABLE scores AS
          SELECT s.unit, s.label, {_COUNTS}, {_RATES}, b.best_f1, b.best_threshold
          FROM (SELECT unit, label, {whole} FROM (
            SELECT unit, label, {counted("counted")} FROM tallied GROUP BY unit, label)) s
          LEFT JOIN (
            SELECT unit, label, max(f1) AS best_f1, arg_max(threshold, (f1, threshold)) AS best_threshold
            FROM curves WHERE f1 > 0 GROUP BY unit, label) b USING (unit, label);
        """
    )
