"""What people heard, beside the recordings and the labels of a table of detections.

A recording is found by its id, by the name of its file or of a chunk's own file, or by station and start. A species is
found by label, code or name, in any case, and by all that `badc.species.names` knows of it.
"""

from __future__ import annotations

import difflib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from badc.errors import RequestError, named_few, numbered
from badc.reports.compare.truth import Heard
from badc.species.names import Names
from badc.system.texts import spelling

if TYPE_CHECKING:
    import duckdb

WHOLE_MS = 10**12  # later than the end of any recording
# The chunks that were analysed; without a table of coverage, those with a detection.
ANALYSED = """
    SELECT DISTINCT recording_id, start_ms, end_ms FROM coverage WHERE analysed AND end_ms > start_ms
    UNION SELECT DISTINCT recording_id, chunk_start_ms, chunk_end_ms FROM detections
    WHERE chunk_end_ms > chunk_start_ms AND NOT EXISTS (FROM coverage)
"""
_ONCE = {"1spt": "once a task, so only --by recording tells", "1spm": "once a minute, so only --by minute tells"}


def define_same_sound(database: duckdb.DuckDBPyConnection, min_overlap_ms: int) -> None:
    """Make the macro `same_sound`, of two starts and ends: whether they share enough, or half of the shorter one."""
    database.execute(
        f"""
        CREATE OR REPLACE TEMP MACRO same_sound(a, b, c, d) AS
          least(b, d) - greatest(a, c) >= greatest(1, least({int(min_overlap_ms)}, (b - a) / 2, (d - c) / 2))
        """
    )


class Labels:
    """The labels of a table, by everything that their species are called."""

    def __init__(self, database: duckdb.DuckDBPyConnection, names: Names, table: str = "detections") -> None:
        self._names = names
        self._known: dict[str, str] = {}
        rows = database.execute(f"SELECT DISTINCT label, label_code, label_name FROM {table} ORDER BY ALL").fetchall()
        # First what the rows themselves say, which no table of names overrules.
        for spellings in (lambda *row: {spelling(name) for name in row if name}, names.spellings):
            for row in rows:
                for key in spellings(*row):
                    self._known.setdefault(key, row[0])

    def find(self, called: Iterable[str]) -> str | None:
        """Return the label of a species by any of its names, or None."""
        told = [name for name in called if name]
        keys = [*map(spelling, told), *sorted(self._names.spellings(*told))]
        return next((self._known[key] for key in keys if key in self._known), None)

    def hint(self, called: str) -> str:
        """Return a suggestion for a name that no label has."""
        near = difflib.get_close_matches(spelling(called), list(self._known), 1)
        return f" (did you mean '{self._known[near[0]]}'?)" if near else ""


@dataclass(slots=True)
class Loaded:
    """What became of a truth: `notes` are sentences on what was not matched."""

    notes: list[str] = field(default_factory=list)
    labels: int = 0  # passages with a species


def load_truth(
    database: duckdb.DuckDBPyConnection, heard: Sequence[Heard], labels: Labels, names: Names, wanted: Sequence[str]
) -> Loaded:
    """Make the tables `listened` (recording_id, start_ms, end_ms) and `truth`.

    `truth` has the columns recording_id, start_ms, end_ms, label, written (as in the file) and place (file and line).
    `wanted` are the species to keep, by any of their names; empty keeps all. A species that the table does not have
    keeps its written name as label.

    Raises
    ------
    RequestError
        If no recording of the truth is in the tables.
    """
    loaded = Loaded()
    found, unknown = _with_recordings(database, heard)
    if unknown:
        lost = named_few(list(unknown))
        verb = "is" if len(unknown) == 1 else "are"
        loaded.notes.append(f"{numbered(len(unknown), 'recording')} of the truth {verb} not in the tables: {lost}")
    if not found:
        raise RequestError(
            f"no recording of the truth is in the tables ({named_few(list(unknown))}); a truth names recordings by "
            "their ids or the names of their files, or --recording does"
        )
    keep = set().union(*(names.spellings(word) for word in wanted))
    rows = []
    lacking: Counter[str] = Counter()
    for passage in found:
        if not passage.names:
            continue
        label = labels.find(passage.names)
        if wanted and not keep & names.spellings(*passage.names, label):
            continue
        if label is None:
            lacking[passage.names[0]] += 1
        rows.append((passage.recording, passage.start_ms, passage.end_ms, label or passage.names[0], *_origin(passage)))
    loaded.labels = len(rows)
    loaded.notes += [
        f"no detection is labelled '{name}'{labels.hint(name)}: {numbered(number, 'label')} of it can only be missed"
        for name, number in lacking.most_common()
    ]
    methods = {passage.method.lower() for passage in found if passage.method}
    loaded.notes += [
        f"WildTrax' method {method.upper()} marks a species {told} of false alarms and misses"
        for method, told in _ONCE.items()
        if method in methods
    ]
    _register(database, "truth", rows, ("recording_id", "start_ms", "end_ms", "label", "written", "place"))
    _register(database, "listened", _listened(found), ("recording_id", "start_ms", "end_ms"))
    return loaded


def _origin(passage: Heard) -> tuple[str, str]:
    return " | ".join(passage.names), passage.place


def _with_recordings(
    database: duckdb.DuckDBPyConnection, heard: Sequence[Heard]
) -> tuple[list[Heard], dict[str, None]]:
    """Return the passages with the ids of their recordings, and the recordings that the tables do not have."""
    ids: set[str] = set()
    starts: dict[tuple[str, datetime], str] = {}
    for recording_id, station, recorded_at in database.execute(
        "SELECT recording_id, station, recorded_at FROM coverage WHERE recording_id IS NOT NULL UNION "
        "SELECT recording_id, station, recorded_at FROM detections WHERE recording_id IS NOT NULL ORDER BY ALL"
    ).fetchall():
        ids.add(recording_id)
        if station is not None and recorded_at is not None:
            starts.setdefault((station.casefold(), recorded_at.replace(microsecond=0)), recording_id)
    chunks = _chunks(database, {passage.recording for passage in heard if passage.recording} - ids)
    found: list[Heard] = []
    unknown: dict[str, None] = {}
    for passage in heard:
        recording, shift_ms = passage.recording, 0
        if recording is None and passage.station is not None and passage.recorded_at is not None:
            recording = starts.get((passage.station.casefold(), passage.recorded_at))
        elif recording in chunks:
            recording, shift_ms = chunks[recording]
        if recording not in ids:
            unknown[passage.recording or f"{passage.station} {passage.recorded_at}"] = None
            continue
        times = [None if ms is None else ms + shift_ms for ms in (passage.start_ms, passage.end_ms)]
        found.append(replace(passage, recording=recording, start_ms=times[0], end_ms=times[1]))
    return found, unknown


def _chunks(database: duckdb.DuckDBPyConnection, names: set[str]) -> dict[str, tuple[str, int]]:
    """Return recording and start of the chunks among names."""
    rows = database.execute(
        "SELECT chunk_id, recording_id, start_ms FROM coverage WHERE list_contains(?, chunk_id)", [sorted(names)]
    ).fetchall()
    return {chunk: (recording, start_ms) for chunk, recording, start_ms in rows}


def _listened(heard: Sequence[Heard]) -> list[tuple[str, int, int]]:
    """Return the passages that were listened to, merged; a recording without any was listened to as a whole."""
    passages: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for passage in heard:
        assert passage.recording is not None
        own = passages[passage.recording]
        if passage.listened_ms is not None:
            own.append((0, passage.listened_ms))
        elif not passage.names:
            own.append((0, WHOLE_MS) if passage.end_ms is None else (passage.start_ms or 0, passage.end_ms))
    return [
        (recording, *piece) for recording, pieces in passages.items() for piece in _merged(pieces or [(0, WHOLE_MS)])
    ]


def _merged(pieces: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(pieces):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _register(
    database: duckdb.DuckDBPyConnection, table: str, rows: Sequence[tuple[object, ...]], columns: Sequence[str]
) -> None:
    kinds = [pa.int64() if name.endswith("_ms") else pa.string() for name in columns]
    schema = pa.schema(list(zip(columns, kinds, strict=True)))
    database.register("read_rows", pa.Table.from_pylist([dict(zip(columns, row, strict=True)) for row in rows], schema))
    database.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT * FROM read_rows")
    database.unregister("read_rows")
