"""The misses and false alarms of a comparison as CSVs, with clips of the strongest ones to listen to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from badc.errors import numbered
from badc.recordings.audio import AudioError
from badc.recordings.locate import audio_bases
from badc.reports.compare.settings import CompareSettings
from badc.reports.files.export import file_name
from badc.reports.query.counts import write_csv
from badc.reports.study.clips import MARGIN_MS, mp3_bytes, read_passage
from badc.reports.study.data import Sighting
from badc.reports.study.privacy import NEAR_MS, keep_private
from badc.system import atomic
from badc.system.paths import absolute

if TYPE_CHECKING:
    import duckdb

_FOLDER = "clips"
_REACH_MS = MARGIN_MS + NEAR_MS
_NEAR_VOICES = f"""EXISTS (
    SELECT 1 FROM voices v
    WHERE v.recording_id = m.recording_id AND v.begins < m.end_ms + {_REACH_MS}
      AND v.ends > m.start_ms - {_REACH_MS})"""
# The strongest false alarms, and of the misses those that a lower threshold would find.
_MISTAKES = {
    "misses": "SELECT recording_id, start_ms, end_ms, label, best AS confidence, written, place FROM checked_labels "
    "WHERE NOT found",
    "false_alarms": "SELECT recording_id, start_ms, end_ms, label, confidence, CAST(NULL AS VARCHAR) AS written, "
    "CAST(NULL AS VARCHAR) AS place FROM checked_alarms WHERE counted AND NOT is_correct",
}


@dataclass(slots=True)
class Mistakes:
    """The CSVs, what was left out for privacy in sentences, and a sentence for each file that gave no clip."""

    written: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def write_mistakes(
    database: duckdb.DuckDBPyConnection, settings: CompareSettings, show: Callable[[int, int], None]
) -> Mistakes:
    """Write `misses.csv` and `false_alarms.csv`, and clips of some of each species of each.

    Call `badc.reports.compare.scoring.score` before. `show` is told how many clips are done, of how many.
    """
    made = Mistakes()
    privacy = keep_private(database, settings, MARGIN_MS)
    made.notes += privacy.problems
    for kind, query in _MISTAKES.items():
        database.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE {kind} AS
            SELECT *, {_NEAR_VOICES if privacy.labels else "false"} AS is_private, CAST(NULL AS VARCHAR) AS clip
            FROM ({query}) m
            """
        )
    if settings.clips:
        _write_clips(database, settings, made, show)
        private = "SELECT count(*) FILTER (is_private) FROM (FROM misses UNION ALL FROM false_alarms)"
        if left_out := database.execute(private).fetchall()[0][0]:
            made.notes.append(
                f"{numbered(left_out, 'mistake')} without a clip, because people may be heard there: "
                f"{', '.join(privacy.labels)}"
            )
    for kind in _MISTAKES:
        columns = "recording_id, start_ms, end_ms, label, confidence"
        columns += ", written, place" if kind == "misses" else ""
        query = f"SELECT {columns}, clip FROM {kind} ORDER BY ALL"
        made.written.append(write_csv(database, query, settings.folder / f"{kind}.csv", settings.for_spreadsheets))
    return made


def _write_clips(
    database: duckdb.DuckDBPyConnection,
    settings: CompareSettings,
    made: Mistakes,
    show: Callable[[int, int], None],
) -> None:
    bases = audio_bases(absolute(settings.parquet), settings.audio_root)
    problems: dict[str, None] = {}
    wanted = _sources(database, settings.clips)
    for done, (kind, number, clip, sighting) in enumerate(wanted):
        show(done, len(wanted))
        try:
            content = mp3_bytes(read_passage(sighting, bases))
        except AudioError as error:
            problems[str(error)] = None
            continue
        target = settings.folder / clip
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic.replacing(target) as temporary:
            temporary.write_bytes(content)
        database.execute(f"UPDATE {kind} SET clip = ? WHERE rowid = ?", [clip, number])
    made.problems += problems


def _sources(database: duckdb.DuckDBPyConnection, clips: int) -> list[tuple[str, int, str, Sighting]]:
    """Return kind, number, path of the clip and place in the audio, of the mistakes to listen to."""
    found = []
    for kind in _MISTAKES:
        rows: list[tuple[Any, ...]] = database.execute(
            f"""
            WITH mine AS (
              SELECT *, rowid AS number FROM {kind} WHERE NOT is_private QUALIFY row_number() OVER (
                PARTITION BY label ORDER BY confidence DESC NULLS LAST, recording_id, start_ms) <= {int(clips)}),
            sources AS (
              SELECT DISTINCT recording_id, source_path, dataset_root, chunk_start_ms, chunk_end_ms FROM detections
              WHERE source_path IS NOT NULL AND recording_id IN (SELECT recording_id FROM mine)),
            -- A whole recording serves for every time in it; a chunk's own file for its own.
            files AS (
              SELECT recording_id, source_path, any_value(dataset_root) AS dataset_root,
                min(chunk_start_ms) AS start_ms, max(chunk_end_ms) AS end_ms, count(*) > 1 AS is_whole
              FROM sources GROUP BY recording_id, source_path)
            SELECT m.number, m.recording_id, m.label, m.confidence, f.source_path, f.dataset_root, s.chunk_start_ms,
              s.chunk_end_ms, m.start_ms, m.end_ms
            FROM mine m
            LEFT JOIN files f ON f.recording_id = m.recording_id
              AND (f.is_whole OR (m.start_ms >= f.start_ms AND m.start_ms < f.end_ms))
            LEFT JOIN sources s ON s.recording_id = m.recording_id AND s.source_path = f.source_path
              AND m.start_ms >= s.chunk_start_ms AND m.start_ms < s.chunk_end_ms
            QUALIFY row_number() OVER (PARTITION BY m.number ORDER BY s.chunk_start_ms NULLS LAST, f.source_path) = 1
            ORDER BY m.recording_id, m.start_ms
            """
        ).fetchall()
        for number, recording, label, confidence, source, root, chunk_start, chunk_end, start_ms, end_ms in rows:
            begin = chunk_start or 0
            clip = f"{_FOLDER}/{kind}/{file_name(f'{label}_{recording}_{start_ms}', '.mp3')}"
            times = (chunk_start, chunk_end, start_ms - begin, end_ms - begin)
            sighting = Sighting(label, None, confidence or 0.0, recording, None, None, source, root, *times)
            found.append((kind, number, clip, sighting))
    return found
