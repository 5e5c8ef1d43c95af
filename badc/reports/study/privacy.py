"""Keep people out of clips: no detection is shown or played that is near a human sound.

BirdNET labels human sounds. A recorder that hears a bird near a path hears those who pass, too, and a page of clips
travels far.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from badc.errors import numbered
from badc.reports.query.counts import matching
from badc.reports.settings import PrivacySettings
from badc.system.sql import quoted

if TYPE_CHECKING:
    import duckdb

HUMAN_LABELS = ("Human vocal", "Human non-vocal", "Human whistle")
# A voice seldom begins and ends with the window in which it was labelled, and does not exceed the threshold in each.
NEAR_MS = 5000
_UNKNOWN_LENGTH_MS = 3000
_NEVER_MS = 1 << 40
_BEGINS = "coalesce(absolute_time_ms, chunk_start_ms, 0)"
_ENDS = f"coalesce(absolute_end_ms, absolute_time_ms + {_UNKNOWN_LENGTH_MS}, chunk_end_ms, {_NEVER_MS})"


@dataclass(frozen=True, slots=True)
class Privacy:
    """What was left out for privacy, and the requested labels that the table lacks, in sentences."""

    left_out: int  # chosen detections that are too near
    labels: tuple[str, ...]  # human sounds and private labels in the table
    problems: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """What to tell the reader; empty if nothing was left out."""
        if not self.left_out:
            return ""
        return (
            f"{numbered(self.left_out, 'detection')} left out of the clips, because people may be heard in them: "
            f"within {NEAR_MS // 1000} s is a detection of {', '.join(self.labels)}."
        )


def keep_private(database: duckdb.DuckDBPyConnection, settings: PrivacySettings, margin_ms: int) -> Privacy:
    """Make the view `shareable`: the chosen detections whose clips may be shown; call `choose` first.

    A clip reaches `margin_ms` beyond its detection on both sides. It is left out if it overlaps a human sound or ends
    less than `NEAR_MS` before one or begins less than that after one. Human sounds count at any confidence, those that
    are not chosen included; one without times makes its whole chunk, or recording, private.
    """
    if settings.include_speech:
        labels: list[str] = []
        problems: tuple[str, ...] = ()
    else:
        private, problems = matching(database, settings.private_labels)
        labels = sorted({*matching(database, HUMAN_LABELS)[0], *private})
    if not labels:
        database.execute("CREATE OR REPLACE TEMP VIEW shareable AS SELECT * FROM chosen")
        return Privacy(0, (), problems)
    database.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE voices AS
        WITH heard AS (
          SELECT recording_id, {_BEGINS} AS begins, {_ENDS} AS ends FROM detections
          WHERE label IN ({", ".join(map(quoted, labels))})),
        after AS (
          SELECT *, coalesce(begins <= max(ends) OVER (PARTITION BY recording_id ORDER BY begins, ends
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), false) AS goes_on
          FROM heard),
        numbered AS (
          SELECT *, count(*) FILTER (NOT goes_on) OVER (PARTITION BY recording_id ORDER BY begins, ends
            ROWS UNBOUNDED PRECEDING) AS number
          FROM after)
        SELECT recording_id, min(begins) AS begins, max(ends) AS ends FROM numbered GROUP BY recording_id, number
        """
    )
    reach_ms = margin_ms + NEAR_MS
    # Spans do not overlap, so the last one that begins before the clip's end also ends last.
    database.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE too_near AS
        WITH times AS (
          SELECT recording_id, {_BEGINS} AS begins, {_ENDS} AS ends, count(*) AS n
          FROM chosen SEMI JOIN voices USING (recording_id) GROUP BY ALL)
        SELECT t.* FROM times t ASOF JOIN voices v
        ON t.recording_id = v.recording_id AND t.ends + {reach_ms} > v.begins WHERE v.ends > t.begins - {reach_ms}
        """
    )
    database.execute(
        f"""
        CREATE OR REPLACE TEMP VIEW shareable AS
        SELECT * FROM chosen c ANTI JOIN too_near t
        ON t.recording_id = c.recording_id AND t.begins = {_BEGINS} AND t.ends = {_ENDS}
        """
    )
    left_out = database.execute("SELECT coalesce(sum(n), 0)::BIGINT FROM too_near").fetchall()[0][0]
    return Privacy(left_out, tuple(labels), problems)
