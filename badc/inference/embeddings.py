"""The embeddings of a run (`--embeddings`): which are there, which it may write, and how they are put together.

Imports of `badc.detections.embeddings` are not at the top: without the option, nothing needs its libraries.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from badc.chunks.manifest import Chunk
from badc.detections.fingerprint import CHANNEL, MODEL_VERSION, RUNNER, differ_in_channels_only, differences
from badc.detections.result import Standing
from badc.errors import BadcError, RequestError, RunnerError
from badc.runners.interface import RunnerOutput, RunnerSpec
from badc.runners.registry import RUNNERS
from badc.system.annex import ContentElsewhereError, require_content
from badc.system.output_lock import output_lock
from badc.system.paths import absolute, require_inside, require_writable

if TYPE_CHECKING:
    from badc.inference.plan import InferOrder, InferPlan

OPTION = "--embeddings"


def embeddings_folder(wanted: Path | None, results: Path, spec: RunnerSpec) -> Path | None:
    """Return the folder for embeddings, absolute; RequestError if the runner gives none, or it is that of results."""
    if wanted is None:
        return None
    if absolute(wanted) == results:
        raise RequestError(f"{OPTION} {wanted}: is the folder of the detections; name another one")
    if (reason := spec.no_embeddings) is not None:
        raise RequestError(f"{OPTION}: {reason}")
    if spec.embeds is None:
        those = ", ".join(sorted(each.title for each in RUNNERS if each.embeds is not None))
        raise RequestError(
            f"{OPTION}: {spec.title} gives no embeddings; leave it out, or choose one that does: {those}"
        )
    return absolute(wanted)


def embedded_with(made: Mapping[str, Any], spec: RunnerSpec) -> dict[str, Any]:
    """Return what of the settings that make results also makes embeddings."""
    return {name: made[name] for name in (RUNNER, MODEL_VERSION, *(spec.embeds or ()), CHANNEL) if name in made}


def require_room_for(folder: Path, recordings: Collection[str]) -> None:
    """Raise RequestError if the embeddings of recordings cannot be written, or added to those in the annex only."""
    require_writable(folder, "folder of embeddings")
    for recording_id in recordings:
        require_inside(folder, folder / recording_id)
    require_content([folder / f"{recording_id}.parquet" for recording_id in recordings], "embeddings")


@dataclass(frozen=True, slots=True)
class KeptEmbeddings:
    """How the embeddings of a manifest's recordings stand: by chunk, those that are there at all.

    Those whose content is in the annex only count as finished, as results do. `beside` are those of another model that
    a recording has of other chunks, as of another cut: a recording's file is of one model, so they would go, too.
    """

    chunks: Mapping[Chunk, Standing]
    beside: Mapping[str, Sequence[Standing]]

    def of(self, chunks: Sequence[Chunk]) -> Iterator[Standing]:
        """Yield what the embeddings of these chunks would replace."""
        yield from (self.chunks[chunk] for chunk in chunks if chunk in self.chunks)
        for recording_id in dict.fromkeys(chunk.recording_id for chunk in chunks):
            yield from self.beside.get(recording_id, ())


def embeddings_of(
    folder: Path, chunks: Sequence[Chunk], asked: Mapping[str, Any], is_mono: Callable[[Chunk], bool]
) -> KeptEmbeddings:
    """Return how the embeddings of these chunks stand.

    Raises
    ------
    UnreadableEmbeddingsError
        When a file of embeddings is damaged, or something else.
    """
    from badc.detections.embeddings import kept_chunks

    found: dict[Chunk, Standing] = {}
    beside: dict[str, Sequence[Standing]] = {}
    of_recording: dict[str, list[Chunk]] = {}
    for chunk in chunks:
        of_recording.setdefault(chunk.recording_id, []).append(chunk)
    for recording_id, its_chunks in of_recording.items():
        try:
            kept = dict(kept_chunks(folder, recording_id))
        except ContentElsewhereError:
            found |= dict.fromkeys(its_chunks, Standing(elsewhere=True))
            continue
        for chunk in its_chunks:
            if (made := kept.pop(chunk.chunk_id, None)) is not None:
                found[chunk] = _standing(made, asked, partial(is_mono, chunk))
        # The choice of channels makes no other model.
        others = (_standing(made, asked, lambda: True) for made in kept.values())
        beside[recording_id] = [standing for standing in others if not standing.done]
    return KeptEmbeddings(found, beside)


def _standing(made: Mapping[str, Any], asked: Mapping[str, Any], is_mono: Callable[[], bool]) -> Standing:
    different = differences(made, asked)
    if different and not (differ_in_channels_only(made, asked) and is_mono()):
        return Standing(f"its embeddings are of other settings: {'; '.join(different)}", made)
    return Standing()


def write_embeddings(output: RunnerOutput, chunk: Chunk, made: Mapping[str, Any], order: InferOrder) -> None:
    """Write the embeddings of a chunk, which its runner has analysed; RunnerError if it gave none."""
    from badc.detections.embeddings import Windows, write_chunk

    assert order.embeddings is not None
    if (given := output.embeddings) is None:
        raise RunnerError(f"{order.runner.title} gave no embeddings; {OPTION} asks for them")
    window_s = made.get("window_s")
    length_ms = None if window_s is None else round(float(window_s) * 1000)
    if late := [start_ms for start_ms in given.start_ms if start_ms >= chunk.duration_ms]:
        raise RunnerError(f"embeddings: a window at {late[0]} ms is not in the chunk of {chunk.duration_ms} ms")
    windows = Windows(given.start_ms, length_ms, given.values)
    root = None if order.dataset_root is None else str(order.dataset_root)
    require_inside(order.embeddings, order.embeddings / chunk.recording_id)
    write_chunk(order.embeddings, chunk, root, windows, embedded_with(made, order.runner))


def gather_embeddings(plan: InferPlan) -> list[str]:
    """Put the embeddings of a run's chunks together, by recording; return why that failed, if it did."""
    folder = plan.order.embeddings
    if folder is None:
        return []
    from badc.detections.embeddings import file_of, gather

    problems = []
    for recording_id in sorted(plan.gathered):
        try:
            gather(folder, recording_id, plan.settings.replace_results)
        except BadcError as error:
            problems.append(str(error))
        except OSError as error:
            path = file_of(folder, recording_id)
            problems.append(f"{path}: the embeddings cannot be put together ({error.strerror or error})")
    return problems


def require_gathered(plan: InferPlan) -> None:
    """Put together what a run left that was killed after its last chunk; BadcError if that fails."""
    folder = plan.order.embeddings
    if folder is None or not any(any((folder / recording_id).glob("*.parquet")) for recording_id in plan.gathered):
        return
    with output_lock(folder, plan.gathered, plan.telemetry_log):
        problems = gather_embeddings(plan)
    if problems:
        raise BadcError("\n".join(problems))
