"""`badc report search`: the windows of many recordings that sound most like a clip, to be checked by ear."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from badc.chunks.manifest import Chunk
from badc.detections.embeddings import files_here, model_of, told_by
from badc.detections.fingerprint import MODEL_VERSION, RUNNER, described
from badc.errors import RequestError, RunnerError, numbered
from badc.inference.embeddings import embedded_with
from badc.inference.search_settings import SearchSettings
from badc.recordings.audio import AudioError, probe, window_of
from badc.recordings.channels import with_channels
from badc.recordings.locate import audio_bases
from badc.recordings.start_times import RecordingTimes
from badc.reports.review.draw import Drawn
from badc.reports.review.folder import PAGE, new_folder, write_review
from badc.reports.search.nearest import Found, Hit, Query, search, stored
from badc.reports.study.data import Sighting
from badc.runners.current import close_runner, runner_for
from badc.runners.interface import RunnerSpec
from badc.runners.registry import RUNNERS
from badc.system.paths import absolute

_LONGEST_CLIP_MS = 60_000
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Searched:
    """What was searched for, what was found, and the page of the review, if there is one, with what it lacks."""

    query: Query
    found: Found
    page: Path | None
    unread: tuple[str, ...]
    notes: tuple[str, ...]


def search_windows(settings: SearchSettings, on_files: Progress, on_clips: Progress) -> Searched:
    """Search, and write the review; `on_files` gets the files read and all, `on_clips` the clips written and all.

    Raises
    ------
    RequestError
        When the clip, the embeddings or the runner cannot be used, or the folder of the review has something in it.
    RunnerError
        When the runner fails on the clip.
    """
    folder = absolute(settings.embeddings)
    name = settings.clip.stem if settings.clip is not None else f"{settings.recording}_{settings.start_s:g}s"
    review = (
        new_folder(settings.output_dir or folder.with_name(f"{folder.name}_like_{name}")) if settings.review else None
    )
    query = _query(settings, folder)
    bases = audio_bases(folder / PAGE, settings.audio_root)
    found = _timed(search(folder, query, settings.top, on_files), bases)
    notes = []
    if found.of_other_models:
        notes.append(f"{numbered(found.of_other_models, 'window')} of another model left out: they do not compare")
    if not found.hits or review is None:
        return Searched(query, found, None, (), tuple(notes))
    drawn = _drawn(found.hits, settings.label or name)
    unread = write_review(review, drawn, settings, bases, ((settings.label or name,), ""), on_clips)
    return Searched(query, found, review / PAGE, unread, tuple(notes))


def _query(settings: SearchSettings, folder: Path) -> Query:
    if settings.clip is not None:
        return _query_of_clip(settings, settings.clip, folder)
    assert settings.recording is not None
    assert settings.start_s is not None
    return stored(folder, settings.recording, round(settings.start_s * 1000))


def _query_of_clip(settings: SearchSettings, clip: Path, folder: Path) -> Query:
    there = _settings_in(folder)
    spec = _spec(settings, there).prepared().placed(lambda: False)
    path = absolute(clip)
    try:
        info = probe(path)
        if info.duration_ms > _LONGEST_CLIP_MS:
            raise RequestError(f"{clip}: is longer than a minute; cut out the sound to search for")
        window, _ = with_channels(window_of(path, info, 0, info.duration_ms))
    except AudioError as error:
        raise RequestError(str(error)) from None
    try:
        runner = runner_for(spec, {}, embeds=True)
        output = runner.detect(Chunk(path.stem, path.stem, str(path), 0, info.duration_ms), window)
    finally:
        close_runner()
    if output.embeddings is None or not len(output.embeddings.start_ms):
        raise RunnerError(f"{spec.title} gave no embeddings of {clip}")
    made: dict[str, Any] = dict(spec.made_with())
    if output.result.model_version is not None:
        made[MODEL_VERSION] = output.result.model_version
    asked = embedded_with(made, spec)
    if (model := model_of(asked)) not in {model_of(each) for each in there}:
        raise RequestError(
            f"{folder}: its embeddings are of another model ({described(there[0])}) than that of the clip "
            f"({described(asked)}), and do not compare"
        )
    return Query(clip.name, np.ascontiguousarray(output.embeddings.values), model)


def _settings_in(folder: Path) -> list[dict[str, Any]]:
    """Return the settings that made the embeddings in a folder, one of each model in it."""
    found = {}
    for path, _ in files_here(folder):
        told = told_by(path)
        if told.model not in found and told.chunks:
            found[told.model] = dict(next(iter(told.chunks.values())))
    if not found:
        raise RequestError(f"{folder}: its files have no chunks")
    return list(found.values())


def _spec(settings: SearchSettings, there: list[dict[str, Any]]) -> RunnerSpec:
    """Return the settings of the runner that is given, else of the one that made the embeddings.

    What names a program is never taken from a file, which may be somebody else's.
    """
    if not settings.runs_stub:
        spec = settings.runner()
        if spec.embeds is None:
            raise RequestError(f"{spec.title} gives no embeddings")
        return spec
    made = there[0]
    kind = next((kind for kind in RUNNERS if kind.name == made[RUNNER] and kind.embeds is not None), None)
    if kind is None or kind.switch is None:
        raise RequestError(
            f"the embeddings were made with {described(made)}: name that runner with its options, so that the clip "
            "goes through it too; or name a window that has embeddings, with --recording and --start"
        )
    return kind(**{name: made[name] for name in kind.options() if name in made})


def _timed(found: Found, bases: Sequence[Path]) -> Found:
    """Return hits with the start of their recordings, from names and headers, where the files do not say it."""
    times = RecordingTimes(bases)
    origins = [times.of(hit.recording_id, hit.source_path, (hit.dataset_root,)) for hit in found.hits]
    timed = (
        replace(hit, recorded_at=hit.recorded_at or origin.recorded_at)
        for hit, origin in zip(found.hits, origins, strict=True)
    )
    return replace(found, hits=tuple(timed))


def _drawn(hits: tuple[Hit, ...], label: str) -> list[Drawn]:
    """Return the hits as a review has them, the most similar first; what is checked is whether each is that sound."""
    width = max(4, len(str(len(hits))))
    drawn = []
    for number, hit in enumerate(hits, start=1):
        end_ms = hit.chunk_end_ms if hit.end_ms is None else hit.end_ms
        sighting = Sighting(
            label,
            None,
            round(max(hit.similarity, 0.0), 4),
            hit.recording_id,
            hit.station,
            hit.local_time,
            hit.source_path,
            hit.dataset_root,
            hit.chunk_start_ms,
            hit.chunk_end_ms,
            hit.start_ms - hit.chunk_start_ms,
            end_ms - hit.chunk_start_ms,
        )
        drawn.append(Drawn(f"{number:0{width}}", sighting, None, None, hit.start_ms, end_ms, None))
    return drawn
