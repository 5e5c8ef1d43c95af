"""Detections for the tools that people look and listen with: Raven, Audacity, Kaleidoscope, readers of BirdNET's CSV.

Detections are read in batches, by recording and time; DuckDB sorts them in bounded memory. The formats are in
`badc.reports.files.export_formats`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import duckdb

from badc.errors import numbered
from badc.recordings.locate import audio_bases, locate_audio
from badc.recordings.names import id_problem
from badc.reports.files.export_formats import FORMATS, RAVENS_LIST, LineFormat, RavenCombined, SourceFile
from badc.reports.naming import name_species
from badc.reports.query.counts import choose
from badc.reports.query.expected import notes_on_expected
from badc.reports.query.runs import mixture, runs_of
from badc.reports.query.spreadsheets import text_cell, text_of
from badc.reports.query.tables import open_tables
from badc.reports.settings import ExportSettings
from badc.system import atomic
from badc.system.paths import absolute, require_inside, require_writable

# Recording id, audio file, and the pieces of one detection's line.
_Line = tuple[str, SourceFile, tuple[str, ...]]
_ROWS_PER_READ = 20_000
_TIMED = "absolute_time_ms IS NOT NULL AND absolute_end_ms IS NOT NULL"
_STEM = "regexp_replace(regexp_replace(source_path, '^.*/', ''), '[.][^.]*$', '')"
_LENGTHS = """
    CREATE OR REPLACE TEMP TABLE recording_lengths AS SELECT recording_id, max(end_ms) AS length_ms FROM (
      SELECT recording_id, end_ms FROM coverage
      UNION ALL SELECT recording_id, greatest(absolute_end_ms, chunk_end_ms) FROM chosen)
    GROUP BY recording_id
"""
# Includes what Windows forbids in names: people carry these files to a desktop computer.
_NOT_PORTABLE = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]|[. ]$')
_MOST_NAME_BYTES = 255


@dataclass(slots=True)
class Export:
    """What an export wrote."""

    folder: Path
    files: int = 0
    detections: int = 0  # written
    without_times: int = 0  # detections left out because their time in the recording is unknown
    notes: tuple[str, ...] = ()  # what mixes results of several settings, and each requested label that the table lacks


def export(settings: ExportSettings) -> Export:
    """Write detections in the format of another tool.

    Files of an earlier export in the same folder are replaced if their recording is exported again; others stay.

    Raises
    ------
    RequestError
        If the table cannot be read or lacks a column, or the folder cannot be written.
    """
    table = absolute(settings.parquet)
    made = Export(absolute(settings.output_dir or table.with_name(f"{table.stem}_{settings.format.value}")))
    if settings.output_dir is None:
        require_inside(table.parent, made.folder)
    form = FORMATS[settings.format]
    with open_tables(settings.parquet) as database:
        mixed = mixture(runs_of(database))
        made.notes = (
            *([] if mixed is None else [mixed]),
            *choose(database, settings, settings.labels),
            *notes_on_expected(database),
            *name_species(database, settings),
        )
        left_out = database.execute(f"SELECT count(*) FROM chosen WHERE NOT ({_TIMED})").fetchall()
        made.without_times = left_out[0][0]
        require_writable(made.folder, "folder of the export")
        made.folder.mkdir(parents=True, exist_ok=True)
        sources = _Sources(table, settings.for_spreadsheets)
        lines = _lines(database, form, sources)
        if form.one_file:
            made.detections += _write(made, form, made.folder / file_name(table.stem, form.suffix), lines)
        else:
            for recording_id, of_recording in groupby(lines, key=itemgetter(0)):
                path = made.folder / file_name(recording_id, form.suffix)
                made.detections += _write(made, form, path, of_recording)
        if settings.combined:
            _write_combined(made, database, table, sources)
    return made


def _write_combined(made: Export, database: duckdb.DuckDBPyConnection, table: Path, sources: _Sources) -> None:
    """Write one selection table of all recordings, and the list of their files by which Raven opens them together."""
    form = RavenCombined()
    name = f"{table.stem}_combined"
    lines = _lines(database, form, sources, by_file=True)
    _write(made, form, made.folder / file_name(name, form.suffix), lines)
    with atomic.replacing(made.folder / file_name(name, RAVENS_LIST)) as temporary:
        temporary.write_text("".join(f"{source.path}\n" for source in form.files), encoding="utf-8")
    made.files += 1
    if unmeasured := sum(source.length_ms is None for source in form.files):
        made.notes += (
            f"the lengths of {numbered(unmeasured, 'file')} are not known, as they are not on this machine: the times "
            "in the combined table may be off after each",
        )


def file_name(recording_id: str, suffix: str) -> str:
    """Return the name of a recording's file: its id and the suffix.

    An id that cannot be part of a file name, on Windows included, is replaced by its usable characters and the
    beginning of its SHA-256, so that names stay distinct and no path leads out of the folder.
    """
    name = recording_id + suffix
    if (
        id_problem(recording_id) is None
        and not _NOT_PORTABLE.search(recording_id)
        and len(name.encode()) <= _MOST_NAME_BYTES
    ):
        return name
    digest = hashlib.sha256(recording_id.encode(errors="surrogatepass")).hexdigest()[:12]
    left = _NOT_PORTABLE.sub("_", recording_id).strip(". ").encode(errors="replace")
    room = _MOST_NAME_BYTES - len(f"_{digest}{suffix}".encode())
    return f"{left[:room].decode(errors='ignore')}_{digest}{suffix}"


def _write(made: Export, form: LineFormat, path: Path, lines: Iterable[_Line]) -> int:
    with atomic.replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        stream.write(form.header)
        number = 0
        for number, (_, source, pieces) in enumerate(lines, start=1):
            stream.write(form.line(number, pieces, source))
    made.files += 1
    return number


def _lines(
    database: duckdb.DuckDBPyConnection, form: LineFormat, sources: _Sources, by_file: bool = False
) -> Iterator[_Line]:
    """Yield the parts of the chosen detections' lines, by recording and time, or by recording, file and time."""
    pieces = ", ".join(f"{piece} AS piece_{number}" for number, piece in enumerate(form.pieces))
    marked = ", ".join(f"{text_cell(name)} AS {name}" for name in ("label", "label_code", "label_name", "station"))
    columns = f"* REPLACE ({marked})" if sources.for_spreadsheets else "*"
    length, order = "NULL", ""
    if by_file:
        database.execute(_LENGTHS)
        length = "if(own, chunk_end_ms - chunk_start_ms, length_ms)"
        order = "if(own, chunk_start_ms, 0), source_path,"
    # If the chunk has its own file, its times count from the start of that file.
    query = f"""
        SELECT coalesce(recording_id, ''), source_path, dataset_root, {pieces} FROM (
          SELECT {columns}, if(own, timestamp_ms, absolute_time_ms) AS source_start_ms,
            if(own, end_ms, absolute_end_ms) AS source_end_ms, {length} AS source_length_ms
          FROM (SELECT *, coalesce({_STEM} = chunk_id AND timestamp_ms + end_ms >= 0, false) AS own
            FROM named {"LEFT JOIN recording_lengths USING (recording_id)" if by_file else ""} WHERE {_TIMED}))
        ORDER BY coalesce(recording_id, ''), {order} absolute_time_ms, absolute_end_ms, label, confidence DESC
    """
    for batch in database.sql(query).to_arrow_reader(_ROWS_PER_READ):
        recordings, paths, roots, *texts = (column.to_pylist() for column in batch.columns)
        yield from zip(recordings, map(sources.file_of, paths, roots), zip(*texts, strict=True), strict=True)


class _Sources:
    """The audio files of a table; a small cache is enough, since a recording's detections come together."""

    def __init__(self, table: Path, for_spreadsheets: bool) -> None:
        self.for_spreadsheets = for_spreadsheets
        self._bases = audio_bases(table, None)
        self.file_of: Any = lru_cache(maxsize=1024)(self._find)

    def _find(self, source_path: str | None, dataset_root: str | None) -> SourceFile:
        path = None if source_path is None else locate_audio(source_path, dataset_root, self._bases)
        return SourceFile(path, text_of if self.for_spreadsheets else str)
