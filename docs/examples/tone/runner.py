"""A runner inside BADC, complete: it reports the seconds in which one band of frequencies stands out.

Real classifiers differ in what `ToneRunner.detect` does; the rest is what every runner has.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from badc.chunks.manifest import Chunk
from badc.detections.result import ChunkResult, Detection, ResultStatus
from badc.recordings.audio import AudioWindow, read_samples
from badc.runners.interface import ChunkTimeout, RunnerOutput, RunnerSpec, Switch, WorkerPlace


class ToneSpec(RunnerSpec):
    """Settings of the runner, which travel to the workers with every task."""

    name = "tone"  # what results say as `runner`
    kind = "tone"  # its block is badc-tone
    title = "Tones"
    about = "Seconds in which one band of frequencies has most of the energy."
    switch = Switch("use_tone", "Report the seconds in which one band of frequencies stands out.")

    # Each field is an option (--tone-low-hz), a key of run configurations, and a field of the block and the form.
    tone_low_hz: Annotated[float, Field(gt=0, description="Tones: lower end of the band, in Hz.")] = 4000.0
    tone_high_hz: Annotated[float, Field(gt=0, description="Tones: upper end of the band, in Hz.")] = 8000.0
    tone_least_share: Annotated[
        float, Field(ge=0, le=1, description="Tones: share of a second's energy that has to lie in the band.")
    ] = 0.5
    chunk_timeout_s: ChunkTimeout = None

    @property
    def description(self) -> str:
        """What a run says it uses."""
        return f"tones between {self.tone_low_hz:g} and {self.tone_high_hz:g} Hz"

    def open(self, place: WorkerPlace) -> ToneRunner:
        """Make the runner, once per worker process. A model would be loaded here, or in a process of its own."""
        return ToneRunner(self)


class ToneRunner:
    """Finds seconds in which the band has most of the energy."""

    name = ToneSpec.name

    def __init__(self, spec: ToneSpec) -> None:
        self._spec = spec

    def detect(self, chunk: Chunk, audio: AudioWindow) -> RunnerOutput:
        """Analyse one chunk; what is raised here fails this attempt, and is tried again."""
        samples, rate = read_samples(audio)
        mono = samples.mean(axis=1)
        found = []
        for number, start in enumerate(range(0, len(mono) - rate + 1, rate)):
            share = self._share(mono[start : start + rate], rate)
            if share >= self._spec.tone_least_share:
                found.append(Detection("tone", round(share, 3), number * 1000, (number + 1) * 1000))
        status = ResultStatus.OK if found else ResultStatus.NO_DETECTIONS
        return RunnerOutput(ChunkResult(chunk, self.name, status, tuple(found), model_version="tone 1"))

    def close(self) -> None:
        """End what the runner started: nothing here."""

    def _share(self, second: np.ndarray, rate: int) -> float:
        energy = np.abs(np.fft.rfft(second)) ** 2
        hz = np.fft.rfftfreq(len(second), 1 / rate)
        in_band = energy[(hz >= self._spec.tone_low_hz) & (hz < self._spec.tone_high_hz)].sum()
        return float(in_band / max(energy[1:].sum(), 1e-12))
