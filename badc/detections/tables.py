"""The columns of the tables of detections and coverage, and the stage in which they are built on disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from badc.detections.made_of import DETECTIONS_DIR_KEY
from badc.system.sql import connect, quoted_path

# By the recorder's own clock; its offset, if known, has a column of its own.
_LOCAL_TIME = pa.timestamp("ms")
_CHUNK_TEXTS = ("status", "runner", "model_version", "chunk_sha256", "source_path", "dataset_root")

DETECTIONS_SCHEMA = pa.schema(
    [
        ("recording_id", pa.string()),
        ("chunk_id", pa.string()),
        ("chunk_start_ms", pa.int64()),
        ("chunk_end_ms", pa.int64()),
        ("timestamp_ms", pa.int64()),
        ("absolute_time_ms", pa.int64()),
        ("end_ms", pa.int64()),
        ("absolute_end_ms", pa.int64()),
        ("label", pa.string()),
        ("label_code", pa.string()),
        ("label_name", pa.string()),
        ("confidence", pa.float64()),
        *((name, pa.string()) for name in _CHUNK_TEXTS),
        ("station", pa.string()),
        ("recorded_at", _LOCAL_TIME),
        ("detected_at", _LOCAL_TIME),
        ("recorded_utc_offset_min", pa.int64()),
        ("merged_from", pa.int64()),
        ("fingerprint", pa.string()),
        ("study_area", pa.string()),
        ("occurrence", pa.float64()),
    ]
)
COVERAGE_SCHEMA = pa.schema(
    [
        ("recording_id", pa.string()),
        ("chunk_id", pa.string()),
        ("start_ms", pa.int64()),
        ("end_ms", pa.int64()),
        ("status", pa.string()),
        ("runner", pa.string()),
        ("detections", pa.int64()),
        ("station", pa.string()),
        ("recorded_at", _LOCAL_TIME),
        ("recorded_utc_offset_min", pa.int64()),
        ("fingerprint", pa.string()),
        ("notes", pa.string()),
        ("study_area", pa.string()),
    ]
)
# The key in a table's Parquet metadata under which stands what made its results: JSON, settings by fingerprint.
RUNS_KEY = "badc.runs"
# The status of a recording that no manifest lists; its row has no chunk, and says in `notes` why.
NOT_CHUNKED = "not_chunked"
# What a manifest knows about a chunk: the columns above, and these for the detections.
LISTED_SCHEMA = pa.schema([*COVERAGE_SCHEMA, ("chunk_sha256", pa.string()), ("source_path", pa.string())])

_SQL_MEMORY = "256MB"
_ROWS_PER_READ = 50_000


class TableStage:
    """A table that grows on disk at `path`, in Parquet, until it is published; `rows` have been written so far.

    `database` is that of `stage_database`. `made_of` is the folder of the detections for `DETECTIONS_DIR_KEY`.
    """

    schema: ClassVar[pa.Schema]

    def __init__(self, path: Path, database: duckdb.DuckDBPyConnection) -> None:
        self.path = path
        self._database = database
        self.rows = 0
        self._sorted = True
        self._last: tuple[str, int] = ("", -1)
        self.runs: dict[str, Mapping[str, Any]] = {}
        self.made_of: str | None = None
        self._chunks: list[dict[str, Any]] = []
        self._counts: list[int] = []
        self._found: list[Any] = []
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> TableStage:
        self._writer = pq.ParquetWriter(self.path, self.schema, compression="zstd")
        return self

    def __exit__(self, *exception: object) -> None:
        if exception[0] is None:
            self.flush()
        assert self._writer is not None
        self._writer.add_key_value_metadata(self._metadata())
        self._writer.close()

    def add(self, chunk: dict[str, Any], count: int, found: Sequence[Any] = ()) -> None:
        """Add a chunk, given by its columns, with the number of its detections and, for their table, the detections."""
        key = (chunk["recording_id"], chunk["chunk_start_ms"] or 0)
        if key <= self._last:
            self._sorted = False
        self._last = key
        if chunk["fingerprint"] is not None:
            self.runs[chunk["fingerprint"]] = chunk["settings"]
        self._chunks.append(chunk)
        self._counts.append(count)
        if len(found) > 1:
            found = sorted(found, key=lambda d: (d.timestamp_ms if d.timestamp_ms is not None else -1, d.label))
        self._found.extend(found)

    def flush(self) -> None:
        """Write what was added since the last flush."""
        if not self._chunks:
            return
        table = self._table(self._chunks, self._counts, self._found)
        self.rows += table.num_rows
        assert self._writer is not None
        self._writer.write_table(table)
        self._chunks, self._counts, self._found = [], [], []

    def sort(self, columns: Sequence[str]) -> None:
        """Sort the table, unless it was built in that order."""
        if not self._sorted:
            order = ", ".join(f"{column} NULLS FIRST" for column in columns)
            self.rewrite(f"SELECT * FROM this ORDER BY {order}", {})

    def number(self, query: str) -> int:
        """Return the integer that an SQL query over the table (`this`) gives; 0 for null."""
        return int(self.query(query)[0][0] or 0)

    def query(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of an SQL query over the table (`this`)."""
        rows: list[tuple[Any, ...]] = seeing(self._database, {"this": self.path}).execute(query).fetchall()
        return rows

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the table, or some of its columns, piece by piece in order."""
        with pq.ParquetFile(self.path) as file:
            yield from file.iter_batches(batch_size=_ROWS_PER_READ, columns=columns)

    def change(self, change: Callable[[pa.RecordBatch], pa.RecordBatch]) -> None:
        """Replace each piece of the table, in order, by what `change` returns for it."""
        self._replace(change(batch) for batch in self.batches())

    def rewrite(self, query: str, others: dict[str, TableStage]) -> None:
        """Replace the table by the result of an SQL query over it (`this`) and other stages."""
        paths = {"this": self.path, **{name: stage.path for name, stage in others.items()}}
        self._replace(seeing(self._database, paths).sql(query).to_arrow_reader(_ROWS_PER_READ))

    def _replace(self, batches: Iterable[pa.RecordBatch]) -> None:
        target = self.path.with_suffix(".rewritten")
        self.rows = 0
        with pq.ParquetWriter(target, self.schema, compression="zstd") as writer:
            for batch in batches:
                writer.write_table(pa.Table.from_batches([batch]).select(self.schema.names).cast(self.schema))
                self.rows += batch.num_rows
            writer.add_key_value_metadata(self._metadata())
        target.replace(self.path)

    def _metadata(self) -> dict[str, str]:
        told = {RUNS_KEY: orjson.dumps(self.runs).decode()}
        return told if self.made_of is None else {**told, DETECTIONS_DIR_KEY: self.made_of}

    def copy_to(self, path: Path) -> None:
        """Copy the table's Parquet file."""
        shutil.copyfile(self.path, path)

    def _table(self, chunks: list[dict[str, Any]], counts: list[int], found: list[Any]) -> pa.Table:
        """Return the rows of chunks with these numbers of detections, and of the detections themselves."""
        raise NotImplementedError


_ONCE = "(SELECT DISTINCT ON (recording_id, chunk_id) * FROM listed)"
# Drop chunks that a listed recording does not have: they are from an earlier cut, and would count twice.
_WANTED = "m.chunk_id IS NOT NULL OR this.recording_id NOT IN (SELECT DISTINCT recording_id FROM listed)"


class ListedStage(TableStage):
    """The chunks that manifests list."""

    schema = LISTED_SCHEMA

    def recordings_of(self, chunk_ids: Sequence[str]) -> dict[str, list[str]]:
        """Return the recordings that have a chunk of this id, for each id that is listed."""
        database = seeing(self._database, {"this": self.path})
        database.register("wanted", pa.table({"chunk_id": chunk_ids}))
        found = database.execute(
            "SELECT chunk_id, list_sort(list(DISTINCT recording_id)) FROM this SEMI JOIN wanted USING (chunk_id) "
            "GROUP BY chunk_id"
        )
        return dict(found.fetchall())

    def _table(self, chunks: list[dict[str, Any]], counts: list[int], found: list[Any]) -> pa.Table:
        columns = _chunk_columns(chunks, counts)
        columns |= {name: [chunk[name] for chunk in chunks] for name in ("chunk_sha256", "source_path")}
        return pa.table(columns, schema=self.schema)


class CoverageStage(TableStage):
    """The table of coverage: one row for each chunk."""

    schema = COVERAGE_SCHEMA

    def fill_in(self, listed: ListedStage) -> None:
        """Add from the manifests' chunks what this table lacks, missing chunks included."""
        self._sorted = False
        self.rewrite(
            f"""
            SELECT recording_id, chunk_id, coalesce(this.start_ms, m.start_ms) AS start_ms,
              coalesce(this.end_ms, m.end_ms) AS end_ms,
              CASE WHEN this.detections IS NULL THEN m.status ELSE this.status END AS status, this.runner AS runner,
              coalesce(this.detections, 0) AS detections, coalesce(m.station, this.station) AS station,
              coalesce(this.recorded_at, m.recorded_at) AS recorded_at,
              CASE WHEN this.recorded_at IS NULL THEN m.recorded_utc_offset_min
                ELSE this.recorded_utc_offset_min END AS recorded_utc_offset_min, this.fingerprint AS fingerprint,
              coalesce(this.notes, m.notes) AS notes,
              coalesce(m.study_area, this.study_area) AS study_area
            FROM this FULL OUTER JOIN {_ONCE} m USING (recording_id, chunk_id) WHERE {_WANTED}
            """,
            {"listed": listed},
        )

    def append(self, others: CoverageStage) -> None:
        """Add the rows of recordings that this table does not have."""
        self._sorted = False
        query = "SELECT * FROM this UNION ALL BY NAME SELECT * FROM others"
        self.rewrite(f"{query} WHERE recording_id NOT IN (SELECT recording_id FROM this)", {"others": others})

    def _table(self, chunks: list[dict[str, Any]], counts: list[int], found: list[Any]) -> pa.Table:
        return pa.table(_chunk_columns(chunks, counts), schema=self.schema)


class DetectionsStage(TableStage):
    """The table of detections: one row for each."""

    schema = DETECTIONS_SCHEMA

    def fill_in(self, listed: ListedStage) -> None:
        """Add from the manifests' chunks what this table lacks."""
        self._sorted = False
        self.rewrite(
            f"""
            WITH filled AS (
              SELECT this.* REPLACE (
                coalesce(chunk_start_ms, start_ms) AS chunk_start_ms,
                coalesce(chunk_end_ms, m.end_ms) AS chunk_end_ms,
                coalesce(this.chunk_sha256, m.chunk_sha256) AS chunk_sha256,
                coalesce(this.source_path, m.source_path) AS source_path,
                coalesce(m.station, this.station) AS station, coalesce(m.study_area, this.study_area) AS study_area,
                coalesce(this.recorded_at, m.recorded_at) AS recorded_at,
                CASE WHEN this.recorded_at IS NULL THEN m.recorded_utc_offset_min
                  ELSE this.recorded_utc_offset_min END AS recorded_utc_offset_min)
              FROM this LEFT JOIN {_ONCE} m USING (recording_id, chunk_id) WHERE {_WANTED}),
            timed AS (
              SELECT * REPLACE (
                chunk_start_ms + timestamp_ms AS absolute_time_ms,
                chunk_start_ms + end_ms AS absolute_end_ms) FROM filled)
            SELECT * REPLACE (recorded_at + to_milliseconds(absolute_time_ms) AS detected_at) FROM timed
            """,
            {"listed": listed},
        )

    def _table(self, chunks: list[dict[str, Any]], counts: list[int], found: list[Any]) -> pa.Table:
        return _detections_table(chunks, counts, found)


def _chunk_columns(chunks: list[dict[str, Any]], counts: list[int]) -> dict[str, list[Any]]:
    return {
        "recording_id": [chunk["recording_id"] for chunk in chunks],
        "chunk_id": [chunk["chunk_id"] for chunk in chunks],
        "start_ms": [chunk["chunk_start_ms"] for chunk in chunks],
        "end_ms": [chunk["chunk_end_ms"] for chunk in chunks],
        "status": [chunk["status"] for chunk in chunks],
        "runner": [chunk["runner"] for chunk in chunks],
        "detections": counts,
        "station": [chunk["place"].station for chunk in chunks],
        "recorded_at": [chunk["origin"].recorded_at for chunk in chunks],
        "recorded_utc_offset_min": [chunk["origin"].utc_offset_min for chunk in chunks],
        "fingerprint": [chunk["fingerprint"] for chunk in chunks],
        "notes": [chunk["notes"] for chunk in chunks],
        "study_area": [chunk["place"].study_area for chunk in chunks],
    }


def write_csv(stage: TableStage, path: Path) -> None:
    """Write a stage as CSV: UTF-8, times as ISO 8601, nothing for null, quotes only in blocks that need them."""
    with path.open("wb") as stream:
        stream.write((",".join(stage.schema.names) + "\n").encode())
        for batch in stage.batches():
            columns = [_iso(column) if column.type == _LOCAL_TIME else column for column in batch.columns]
            stream.write(_csv_block(pa.record_batch(columns, names=stage.schema.names)))


def _iso(times: pa.Array) -> pa.Array:
    """Return times as `2023-05-09T09:45:00.000`; several times faster than formatting them one by one."""
    return pc.binary_replace_slice(times.cast(pa.string()), start=10, stop=11, replacement="T")


def _csv_block(batch: pa.RecordBatch) -> Any:
    """Return a batch as CSV lines. Arrow quotes either every text or none, and refuses none where one needs it."""
    for style in ("none", "needed"):
        block = pa.BufferOutputStream()
        try:
            pyarrow.csv.write_csv(batch, block, pyarrow.csv.WriteOptions(include_header=False, quoting_style=style))
        except pa.ArrowInvalid:
            continue
        return block.getvalue()
    raise AssertionError("unreachable: quoted CSV can hold any text")


def _detections_table(chunks: list[dict[str, Any]], counts: list[int], found: list[Any]) -> pa.Table:
    """Return the rows of detections: their own columns, and those of their chunk repeated for each."""
    import numpy as np

    parent = pa.array(np.repeat(np.arange(len(chunks)), counts))

    def of_chunk(values: list[Any], kind: pa.DataType) -> pa.Array:
        return pa.array(values, kind).take(parent)

    origins = [chunk["origin"] for chunk in chunks]
    start = of_chunk([chunk["chunk_start_ms"] for chunk in chunks], pa.int64())
    timestamp = pa.array([d.timestamp_ms for d in found], pa.int64())
    end = pa.array([d.end_ms for d in found], pa.int64())
    absolute = pc.add(start, timestamp)
    recorded = of_chunk([origin.recorded_at for origin in origins], _LOCAL_TIME)
    columns = {
        "recording_id": of_chunk([chunk["recording_id"] for chunk in chunks], pa.string()),
        "chunk_id": of_chunk([chunk["chunk_id"] for chunk in chunks], pa.string()),
        "chunk_start_ms": start,
        "chunk_end_ms": of_chunk([chunk["chunk_end_ms"] for chunk in chunks], pa.int64()),
        "timestamp_ms": timestamp,
        "absolute_time_ms": absolute,
        "end_ms": end,
        "absolute_end_ms": pc.add(start, end),
        "label": _nfc([d.label for d in found]),
        "label_code": _nfc([d.label_code for d in found]),
        "label_name": _nfc([d.label_name for d in found]),
        "confidence": pa.array([d.confidence for d in found], pa.float64()),
        **{name: of_chunk([chunk[name] for chunk in chunks], pa.string()) for name in _CHUNK_TEXTS},
        "station": of_chunk([chunk["place"].station for chunk in chunks], pa.string()),
        "recorded_at": recorded,
        "detected_at": pc.add(recorded, absolute.cast(pa.duration("ms"))),
        "recorded_utc_offset_min": of_chunk([origin.utc_offset_min for origin in origins], pa.int64()),
        "merged_from": pa.array(np.ones(len(found), dtype=np.int64)),
        "fingerprint": of_chunk([chunk["fingerprint"] for chunk in chunks], pa.string()),
        "study_area": of_chunk([chunk["place"].study_area for chunk in chunks], pa.string()),
        "occurrence": pa.nulls(len(found), pa.float64()),  # see `badc.detections.occurrence`
    }
    return pa.table(columns, schema=DETECTIONS_SCHEMA)


def _nfc(names: list[str | None]) -> pa.Array:
    return pc.utf8_normalize(pa.array(names, pa.string()), form="NFC")


def stage_database(scratch: Path) -> duckdb.DuckDBPyConnection:
    """Return the connection for all stages of a folder, which spills to disk rather than grow.

    To open one takes longer than most of their queries.
    """
    # Stages are rewritten under the same name, so nothing of a file may be kept.
    return connect(":memory:", scratch / "spill", _SQL_MEMORY, threads=2, enable_external_file_cache=False)


def seeing(database: duckdb.DuckDBPyConnection, tables: dict[str, Path]) -> duckdb.DuckDBPyConnection:
    """Return the connection, which now sees Parquet files by these names.

    Each table has an additional column `file_row_number`, from 0.
    """
    for name, path in tables.items():
        # By path rather than as an Arrow dataset, which would be read two million rows ahead.
        source = f"read_parquet({quoted_path(path)}, file_row_number = true)"
        database.execute(f"CREATE OR REPLACE VIEW {name} AS SELECT * FROM {source}")
    return database


def coverage_path(table: Path) -> Path:
    """Return the place of the coverage table beside a detections table: `<stem>_coverage<suffix>`."""
    return table.with_name(f"{table.stem}_coverage{table.suffix}")
