"""Manifests: whatever chunks are written, the same are read."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import example, given
from hypothesis import strategies as st

from badc.chunks.manifest import Chunk, read_manifest, write_manifest
from tests.properties.examples import NAMES, TEXTS, examples

_TIMES_MS = st.integers(0, 10**15 - 2)
_CHUNKS = st.builds(
    lambda recording, chunk, source, times, overlap, digest, notes: Chunk(
        recording, chunk, source, min(times), max(times) + 1, overlap, digest, notes.strip()
    ),
    NAMES,
    NAMES,
    TEXTS.filter(bool),
    st.tuples(_TIMES_MS, _TIMES_MS),
    _TIMES_MS,
    st.none() | st.from_regex(r"\A[0-9a-f]{64}\Z"),
    TEXTS,
)


@examples(15, 2000)
@example([Chunk("a\rb", "c\rd", "e\r.wav", 0, 1, notes="f\rg")])
@given(st.lists(_CHUNKS, max_size=6, unique_by=lambda chunk: (chunk.recording_id, chunk.chunk_id)))
def test_the_chunks_that_are_written_are_read(chunks: list[Chunk]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "manifest.csv"
        write_manifest(path, chunks)
        assert list(read_manifest(path).chunks) == chunks
