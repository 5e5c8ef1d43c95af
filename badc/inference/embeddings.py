"""The embeddings of a run (`--embeddings`) before it starts: where they go, which are there and which it may write.

The import of `badc.detections.embeddings` is not at the top: without the option, nothing needs its libraries.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from badc.chunks.manifest import Chunk
from badc.detections.fingerprint import CHANNEL, MODEL_VERSION, RUNNER, differ_in_channels_only, differences
from badc.detections.result import Standing
from badc.errors import RequestError
from badc.runners.interface import RunnerSpec
from badc.runners.registry import RUNNERS
from badc.system.annex import ContentElsewhereError, require_content
from badc.system.paths import absolute, require_inside, require_writable

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
