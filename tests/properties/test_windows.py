"""Chunks: put together again, they are the recording, sample by sample."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile as sf
from hypothesis import given
from hypothesis import strategies as st

from badc.chunks.cutting import plan_chunks
from badc.recordings.audio import frame_at, read_frames, wav_bytes, window_of
from tests.properties.examples import examples

_RATES = st.sampled_from([8000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000, 384_000]) | st.integers(1000, 50_000)
_FORMATS = st.sampled_from([*(("wav", kind) for kind in ("PCM_16", "PCM_24", "FLOAT", "PCM_U8")), ("flac", "PCM_16")])


@dataclass(frozen=True)
class Case:
    """A recording, and how it is cut."""

    rate: int
    frames: int
    channels: int
    suffix: str
    subtype: str
    duration_ms: int
    overlap_ms: int
    min_chunk_ms: int


@st.composite
def cases(draw: st.DrawFn) -> Case:
    rate = draw(_RATES)
    frames = draw(st.integers(rate // 1000 + 1, 50_000))
    total_ms = frames * 1000 // rate
    step_ms = draw(st.integers(total_ms // 30 + 1, total_ms + 1000))
    overlap_ms = draw(st.just(0) | st.integers(0, 2 * total_ms))
    suffix, subtype = draw(_FORMATS)
    return Case(
        rate=rate,
        frames=frames,
        channels=draw(st.integers(1, 2)),
        suffix=suffix,
        subtype=subtype,
        duration_ms=step_ms + overlap_ms,
        overlap_ms=overlap_ms,
        min_chunk_ms=draw(st.integers(0, 2 * total_ms)),
    )


@examples(15, 1000)
@given(cases())
def test_chunks_are_the_recording_sample_by_sample(case: Case) -> None:
    with TemporaryDirectory() as folder:
        audio = Path(folder) / f"REC.{case.suffix}"
        noise = np.random.default_rng(case.frames).uniform(-1, 1, (case.frames, case.channels))
        sf.write(audio, noise, case.rate, subtype=case.subtype)
        plan = plan_chunks(audio, case.duration_ms / 1000, case.overlap_ms / 1000, case.min_chunk_ms / 1000)
        whole, _ = sf.read(audio, dtype="float64", always_2d=True)
        pieces = []
        end = 0
        for chunk in plan.chunks:
            window = window_of(audio, plan.audio, chunk.start_ms, chunk.end_ms)
            samples, _ = read_frames(window, "float64")
            again, rate = sf.read(io.BytesIO(wav_bytes(window)), dtype="float64", always_2d=True)
            assert rate == case.rate
            np.testing.assert_array_equal(again, samples)
            start = frame_at(chunk.start_ms, case.rate)
            assert end == frame_at(chunk.start_ms + chunk.overlap_ms, case.rate), "no gap, and the overlap that is told"
            pieces.append(samples[end - start :])
            end = start + len(samples)
        joined = np.concatenate(pieces)
        np.testing.assert_array_equal(joined, whole[: len(joined)])
        # What is left is the tail that is told to be left out, and what is no whole millisecond.
        assert 0 <= len(whole) - len(joined) <= frame_at(plan.left_out_ms + 1, case.rate)
        assert plan.left_out_ms == 0 or plan.left_out_ms < min(case.min_chunk_ms, case.duration_ms)
