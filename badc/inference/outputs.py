"""How the outputs of a manifest's chunks stand: their detections and, where they are wanted, their embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from badc.chunks.manifest import Chunk, Manifest
from badc.detections.result import Standing, standings_of
from badc.inference.embeddings import OPTION, KeptEmbeddings, embedded_with, embeddings_of
from badc.inference.other_results import OtherResults
from badc.recordings.audio import AudioError, probe
from badc.runners.interface import RunnerSpec

_MISSING = Standing("its embeddings are missing")


@dataclass(frozen=True, slots=True)
class OutputFolders:
    """Where a run writes, and the settings that make what it writes; `embeddings` is None where they are not wanted."""

    runner: RunnerSpec
    made_with: Mapping[str, Any]
    results: Path
    embeddings: Path | None = None

    def look(self, manifest: Manifest, redo_before: str | None = None) -> ChunkOutputs:
        """Look at the outputs of a manifest's chunks; results written before `redo_before` (ISO 8601) do not count.

        Raises
        ------
        BadcError
            When a file of embeddings cannot be read.
        """
        is_mono = mono_in(manifest)
        results = standings_of(self.results, manifest.chunks, self.made_with, redo_before, is_mono)
        if self.embeddings is None:
            return ChunkOutputs(self, results, None)
        asked = embedded_with(self.made_with, self.runner)
        return ChunkOutputs(self, results, embeddings_of(self.embeddings, manifest.chunks, asked, is_mono))

    def has_to_gather(self, recording_id: str) -> bool:
        """Whether a run was killed before it put the embeddings of a recording together."""
        return self.embeddings is not None and any((self.embeddings / recording_id).glob("*.parquet"))


@dataclass(frozen=True, slots=True)
class ChunkOutputs:
    """How the outputs stand of the chunks that have some."""

    folders: OutputFolders
    results: Mapping[Chunk, Standing]
    embeddings: KeptEmbeddings | None

    @property
    def standings(self) -> Mapping[Chunk, Standing]:
        """How the chunks stand that have results: one is done when its embeddings are there too."""
        if self.embeddings is None:
            return self.results
        embedded = self.embeddings.chunks
        both = ((chunk, result, embedded.get(chunk, _MISSING)) for chunk, result in self.results.items())
        return {chunk: result if not result.done or embedding.done else embedding for chunk, result, embedding in both}

    @property
    def not_embedded(self) -> int:
        """Chunks that are done but for their embeddings, which are wanted."""
        if self.embeddings is None:
            return 0
        embedded = self.embeddings.chunks
        return sum(result.done and chunk not in embedded for chunk, result in self.results.items())

    def others(self, chunks: Iterable[Chunk]) -> list[OtherResults]:
        """Return what of the outputs of these chunks, which are to be written, other settings made."""
        wanted = list(chunks)
        results = OtherResults(self.folders.results, self.folders.made_with)
        results.add(self.results[chunk] for chunk in wanted if chunk in self.results)
        found = [results]
        if self.embeddings is not None and self.folders.embeddings is not None:
            asked = embedded_with(self.folders.made_with, self.folders.runner)
            found.append(OtherResults(self.folders.embeddings, asked, OPTION, "embedded chunk"))
            found[-1].add(self.embeddings.of(wanted))
        return [other for other in found if other]


def mono_in(manifest: Manifest) -> Callable[[Chunk], bool]:
    """Return a function that says whether a chunk's audio has one channel; it opens each file once."""

    @cache
    def is_mono(source_path: str) -> bool:
        try:
            return probe(manifest.locate(source_path), salvage=True).channels == 1
        except (AudioError, OSError):
            return False

    return lambda chunk: is_mono(chunk.source_path)
