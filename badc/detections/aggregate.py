"""Turn the chunks' JSON files into one table of detections and one of coverage.

Files are read in the order of the rows, a batch at a time, so memory does not grow with their number. If the order of
the files is not that of the rows, or manifests have to fill gaps, DuckDB sorts and joins with a bound on its memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb

from badc.chunks.manifest import Chunk, Manifest, manifests_below, read_manifest
from badc.detections.chunk_files import json_files, require_all_here, rows_of, without_window
from badc.detections.collected import EmbeddingsToCollect
from badc.detections.findings import SpeciesCount, count_species, mixture, without_place_or_time
from badc.detections.made_of import as_told, require_own_table
from badc.detections.occurrence import add_occurrence
from badc.detections.overlaps import analysed_ms, merge_overlaps
from badc.detections.places import RecordingPlaces, Source
from badc.detections.repeats import RepeatedChunks
from badc.detections.result import InvalidResultError, ResultStatus
from badc.detections.settings import AggregateSettings
from badc.detections.tables import (
    NOT_CHUNKED,
    CoverageStage,
    DetectionsStage,
    ListedStage,
    TableStage,
    coverage_path,
    stage_database,
    write_csv,
)
from badc.errors import BadcError, RequestError, numbered
from badc.recordings.locate import dataset_of
from badc.recordings.names import nfc
from badc.recordings.sites import read_sites
from badc.recordings.start_times import RecordingTimes
from badc.system.paths import absolute, default_summary_csv, passed_over_notes
from badc.system.scratch import folder_beside, replacing

_BATCH_CHUNKS = 5000
_MOST_BAD_FILES_KEPT = 10_000
_UNWRITTEN = "whose command wrote nothing"


# Path, the chunk's columns, its detections.
_FileRead = tuple[str, dict[str, Any], Sequence[Any]]


@dataclass(frozen=True, slots=True)
class NotChunked:
    """A recording that no manifest lists, with the absolute path of its audio, and why."""

    recording_id: str
    audio: Path
    reason: str


@dataclass(slots=True)
class Aggregation:
    """The outcome of an aggregation: JSON files read, rows of coverage (`chunks`) and of detections, tables written.

    `notes` say whether results of several settings are mixed, and which recordings and detections have no station or no
    time.

    `missing` chunks are in the manifests but have no output; for `unwritten` ones a command ran and wrote nothing.
    `unlisted` chunks have an output, but were left out because their recording's manifest does not list them. No
    manifest lists `not_chunked` recordings. `merged` rows were removed because an overlapping chunk detected the same
    call. `clocks` says for how many recordings name and header disagree about the start, None for none. `analysed_ms`
    of audio were analysed, with settings of these
    `fingerprints`. `species` are those detected, the most frequent first. `bad` files could not be used; `bad_files`
    are the first of them, with the reason.
    """

    files: int = 0
    chunks: int = 0
    detections: int = 0
    missing: int = 0
    unwritten: int = 0
    unlisted: int = 0
    not_chunked: int = 0
    merged: int = 0
    bad: int = 0
    analysed_ms: int = 0
    clocks: str | None = None
    fingerprints: list[str] = field(default_factory=list)
    species: list[SpeciesCount] = field(default_factory=list)
    bad_files: list[tuple[Path, str]] = field(default_factory=list)
    written: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def describe(self) -> str:
        """Return in one line what the tables hold, and what they do not."""
        parts = [
            f"{numbered(self.detections, 'detection')} in {numbered(self.chunks, 'chunk')}, {self.missing:,} of them "
            "without an output"
        ]
        if self.unwritten:
            parts.append(f"{numbered(self.unwritten, 'chunk')} {_UNWRITTEN}")
        if self.unlisted:
            verb = "is" if self.unlisted == 1 else "are"
            chunks = numbered(self.unlisted, "chunk")
            parts.append(f"{chunks} of an earlier cut, which the manifests do not list, {verb} left out")
        if self.not_chunked:
            parts.append(f"not analysed: {numbered(self.not_chunked, 'recording')} without chunks")
        if self.clocks is not None:
            parts.append(self.clocks)
        return "; ".join(parts)

    @property
    def not_analysed(self) -> str:
        """How much was not analysed, in words; empty if all was."""
        parts = [
            (self.not_chunked, "recording", "without chunks"),
            (self.missing, "chunk", "without an output"),
            (self.unwritten, "chunk", _UNWRITTEN),
        ]
        return ", ".join(f"{numbered(count, what)} {why}" for count, what, why in parts if count)

    def leave_out(self, path: str, reason: str) -> None:
        """Count a file that cannot be used; keep it with its reason unless there are very many."""
        self.bad += 1
        if len(self.bad_files) < _MOST_BAD_FILES_KEPT:
            self.bad_files.append((Path(path), reason))


@dataclass(slots=True)
class _Staging:
    """The tables while they are built in `scratch`; `overlapping` once any chunk is said to overlap the one before.

    `database` is that of `stage_database`, and `dataset` the one that the results lie in, or None.
    """

    scratch: Path
    database: duckdb.DuckDBPyConnection
    times: RecordingTimes
    places: RecordingPlaces
    made: Aggregation
    strict: bool
    dataset: str | None
    overlapping: bool = False
    detections: DetectionsStage = field(init=False)
    coverage: CoverageStage = field(init=False)

    def __post_init__(self) -> None:
        self.detections = DetectionsStage(self.scratch / "detections.parquet", self.database)
        self.coverage = CoverageStage(self.scratch / "coverage.parquet", self.database)

    def leave_out(self, path: str, reason: str) -> None:
        if self.strict:
            raise BadcError(f"{path}: {reason}; nothing was written (--strict)")
        self.made.leave_out(path, reason)


def aggregate(
    settings: AggregateSettings,
    on_progress: Callable[[int], None] = lambda files: None,
    not_chunked: Sequence[NotChunked] = (),
) -> Aggregation:
    """Write the tables of a folder of detections.

    `on_progress` gets the number of files read, now and then. A folder without JSON files, and no manifest, writes
    nothing. Recordings of `not_chunked` are in the coverage, unless detections of them are found.

    Raises
    ------
    RequestError
        When the folder or a manifest cannot be read, or a table's path is a folder, that of the other table, or the
        table of the same recording in another folder of detections; ContentElsewhereError when content is not here.
    BadcError
        With `strict`, at the first file that cannot be used.
    """
    folder = absolute(settings.detections_dir)
    if not folder.is_dir():
        raise RequestError(f"{settings.detections_dir}: no such folder of detections; `badc infer run` writes one")
    output = absolute(settings.output) if settings.output else default_summary_csv(folder)
    for path in (output, settings.parquet):
        if path is not None and path.is_dir():
            raise RequestError(f"{path}: is a folder; name the file to write")
    if settings.parquet is not None and absolute(settings.parquet) == output:
        raise RequestError(f"{output}: --output and --parquet must be two files")
    require_own_table(settings.parquet, folder)
    embedded = EmbeddingsToCollect(settings.embeddings, settings.parquet or output)
    sites = () if settings.sites is None else read_sites(settings.sites)
    manifests = [path for given in settings.manifest for path in _manifests_at(given)]
    made = Aggregation()
    passed: list[str] = []
    if not manifests and next(json_files(folder, passed), None) is None:
        made.notes += passed_over_notes(folder, passed, {".json"})
        return made
    output.parent.mkdir(parents=True, exist_ok=True)
    with (
        folder_beside(output.parent) as scratch,
        stage_database(scratch) as database,
    ):
        dataset = dataset_of(folder)
        times = RecordingTimes([Path.cwd()] if dataset is None else [dataset, Path.cwd()])
        places = RecordingPlaces(settings.layout, _sources(folder, manifests, dataset), dataset)
        here = None if dataset is None else str(dataset)
        staging = _Staging(scratch, database, times, places, made, settings.strict, here)
        detections, coverage = staging.detections, staging.coverage
        if settings.parquet is not None:
            detections.made_of = coverage.made_of = as_told(folder, settings.parquet)
        listed = _list(manifests, staging) if manifests else None
        passed = _stage(folder, staging, listed, on_progress)
        if listed is not None:
            _fill_in(listed, staging)
        if not_chunked:
            _add_not_chunked(not_chunked, staging)
        detections.sort(("recording_id", "chunk_start_ms", "timestamp_ms", "label"))
        coverage.sort(("recording_id", "start_ms"))
        if staging.overlapping if settings.merge_overlaps is None else settings.merge_overlaps:
            made.merged = merge_overlaps(detections, coverage)
        without = add_occurrence(detections, database, sites) if sites else []
        made.species = count_species(detections)
        made.detections, made.chunks = detections.rows, coverage.rows - made.not_chunked
        made.unwritten = coverage.number(f"SELECT count(*) FROM this WHERE status = '{ResultStatus.NO_OUTPUT}'")
        made.analysed_ms, made.fingerprints = analysed_ms(coverage), sorted(coverage.runs)
        made.clocks = times.disagreements_note()
        unknown = without_place_or_time(detections, coverage, places.layout)
        made.notes += [*mixture(coverage), *unknown, *without, *passed_over_notes(folder, passed, {".json"})]
        made.notes += embedded.collect(Path(scratch), coverage)
        _publish(detections, coverage, output, settings.parquet, made)
        made.written += embedded.publish(Path(scratch))
    return made


def _publish(detections: TableStage, coverage: TableStage, csv: Path, parquet: Path | None, made: Aggregation) -> None:
    for stage, path in ((detections, csv), (coverage, coverage_path(csv))):
        with replacing(path) as temporary:
            write_csv(stage, temporary)
        made.written.append(path)
    if parquet is not None:
        for stage, path in ((detections, absolute(parquet)), (coverage, coverage_path(absolute(parquet)))):
            with replacing(path) as temporary:
                stage.copy_to(temporary)
            made.written.append(path)


def _stage(
    folder: Path, staging: _Staging, listed: ListedStage | None, on_progress: Callable[[int], None]
) -> list[str]:
    """Read every file of the folder into the two tables; return the folders that were passed over."""
    detections, coverage, made = staging.detections, staging.coverage, staging.made
    origin_of, place_of = staging.times.of, staging.places.of
    passed: list[str] = []
    files = json_files(folder, passed)
    with RepeatedChunks(staging.scratch / "files.parquet", staging.database) as repeated, detections, coverage:
        while batch := list(islice(files, _BATCH_CHUNKS)):
            made.files += len(batch)
            for path, chunk, rows in _named(list(_read(batch, folder, staging)), listed, staging):
                recording_id = chunk["recording_id"]
                first = repeated.first_file(recording_id, chunk["chunk_id"], path)
                if first is not None:
                    staging.leave_out(path, f"the same chunk as {first}")
                    continue
                # Where the dataset is now comes before where it was then: of a copy, the copy is read.
                roots = (staging.dataset, chunk["dataset_root"])
                chunk["origin"] = origin_of(recording_id, chunk["source_path"], roots)
                chunk["place"] = place_of(Source(recording_id, chunk["source_path"], roots))
                if chunk["overlapping"]:
                    staging.overlapping = True
                coverage.add(chunk, len(rows))
                detections.add(chunk, len(rows), rows)
            detections.flush()
            coverage.flush()
            repeated.flush()
            on_progress(made.files)
    repeated.drop_from(detections, coverage, lambda path, first: staging.leave_out(path, f"the same chunk as {first}"))
    return passed


def _read(paths: Sequence[str], folder: Path, staging: _Staging) -> Iterator[_FileRead]:
    for path in paths:
        try:
            yield path, *rows_of(path)
        except InvalidResultError as error:
            require_all_here(folder, path)
            staging.leave_out(path, str(error))


def _named(files: Sequence[_FileRead], listed: ListedStage | None, staging: _Staging) -> Iterator[_FileRead]:
    """Yield the files with a recording id: their own, else that of the manifests' chunk, else their folder's name."""
    unnamed = [chunk["chunk_id"] for _, chunk, _ in files if not chunk["recording_id"]]
    owners = listed.recordings_of(unnamed) if listed is not None and unnamed else {}
    for path, chunk, rows in files:
        if not chunk["recording_id"]:
            folder = nfc(Path(path).parent.name)
            known = owners.get(chunk["chunk_id"], [])
            if len(known) > 1 and folder not in known:
                names = ", ".join(known)
                staging.leave_out(path, f"names no recording, and the manifests have its chunk in several: {names}")
                continue
            chunk["recording_id"] = folder if folder in known or not known else known[0]
        yield path, chunk, rows


def _sources(folder: Path, manifests: Sequence[Path], dataset: Path | None) -> Iterator[Source]:
    """Yield the audio of each recording, as one of its chunks names it; manifests count where no output does."""
    before = ""
    any_output = False
    for path in json_files(folder):
        recording = without_window(path)
        if recording == before:
            continue
        before = recording
        try:
            chunk, _ = rows_of(path)
        except InvalidResultError:
            continue
        any_output = True
        name = chunk["recording_id"] or nfc(Path(path).parent.name)
        yield Source(name, chunk["source_path"], (chunk["dataset_root"],))
    if any_output and dataset is not None:
        return
    for manifest in map(read_manifest, manifests):
        yield from dict.fromkeys(_source_of(chunk, manifest) for chunk in manifest.chunks)


def _manifests_at(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = manifests_below(path)
    if not found:
        raise RequestError(f"{path}: holds no manifest (*.csv)")
    return found


def _list(manifests: Sequence[Path], staging: _Staging) -> ListedStage:
    """Return the chunks of the manifests."""
    listed = ListedStage(staging.scratch / "listed.parquet", staging.database)
    with listed:
        for path in manifests:
            manifest = read_manifest(path)
            for number, chunk in enumerate(manifest.chunks, start=1):
                staging.overlapping = staging.overlapping or chunk.overlap_ms > 0
                listed.add(_columns_of(chunk, manifest, staging), 0)
                if number % _BATCH_CHUNKS == 0:
                    listed.flush()
    return listed


def _fill_in(listed: ListedStage, staging: _Staging) -> None:
    """Add to the chunks what the manifests know about them, and add the chunks that have no output."""
    before = staging.coverage.rows
    staging.coverage.fill_in(listed)
    missing = staging.coverage.number("SELECT count(*) FROM this WHERE status = 'missing'")
    staging.made.missing, staging.made.unlisted = missing, before - (staging.coverage.rows - missing)
    staging.detections.fill_in(listed)


def _add_not_chunked(recordings: Sequence[NotChunked], staging: _Staging) -> None:
    """Add to the coverage a row for each recording that no manifest lists."""
    others = CoverageStage(staging.scratch / "not_chunked.parquet", staging.database)
    with others:
        for recording in recordings:
            row = dict.fromkeys(("chunk_id", "chunk_start_ms", "chunk_end_ms", "runner", "fingerprint"))
            origin = staging.times.of(recording.recording_id, str(recording.audio), ())
            known = {"recording_id": recording.recording_id, "status": NOT_CHUNKED, "notes": recording.reason}
            place = staging.places.of(Source(recording.recording_id, str(recording.audio), (staging.dataset,)))
            others.add(row | known | {"origin": origin, "place": place}, 0)
    before = staging.coverage.rows
    staging.coverage.append(others)
    staging.made.not_chunked = staging.coverage.rows - before


def _columns_of(chunk: Chunk, manifest: Manifest, staging: _Staging) -> dict[str, Any]:
    source = _source_of(chunk, manifest)
    return {
        "recording_id": nfc(chunk.recording_id),
        "chunk_id": nfc(chunk.chunk_id),
        "chunk_start_ms": chunk.start_ms,
        "chunk_end_ms": chunk.end_ms,
        "status": "missing",
        "runner": None,
        "fingerprint": None,
        "chunk_sha256": chunk.sha256,
        "source_path": chunk.source_path,
        "notes": chunk.notes or None,
        "origin": staging.times.of(chunk.recording_id, chunk.source_path, source.roots),
        "place": staging.places.of(source),
    }


def _source_of(chunk: Chunk, manifest: Manifest) -> Source:
    root = None if manifest.audio_root is None else str(manifest.audio_root)
    return Source(chunk.recording_id, chunk.source_path, (root, str(manifest.path.parent)))
