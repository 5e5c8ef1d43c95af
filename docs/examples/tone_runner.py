"""A runner inside BADC, complete: it reports the seconds in which one band of frequencies stands out.

Real classifiers differ in what `ToneRunner.detect` does; the rest is what every runner has.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from badc.chunks.manifest import Chunk
from badc.detections.result import ChunkResult, Detection, ResultStatus, RunnerName
from badc.recordings.audio import AudioWindow, read_samples
from badc.runners.interface import RunnerOutput, WorkerPlace


@dataclass(frozen=True, slots=True)
class ToneSpec:
    """Settings of the runner: frozen, hashable and small, since they travel to the workers with every task.

    Parameters
    ----------
    low_hz, high_hz
        The band.
    least_share
        Share of a second's energy that has to lie in the band, 0..1.
    """

    low_hz: float = 4000.0
    high_hz: float = 8000.0
    least_share: float = 0.5

    @property
    def name(self) -> RunnerName:
        """What results say as `runner`. A runner of BADC's own has a name of its own in `RunnerName`."""
        return RunnerName.CUSTOM

    @property
    def description(self) -> str:
        """What a run says it uses."""
        return f"tones between {self.low_hz:g} and {self.high_hz:g} Hz"

    @property
    def takes_batches(self) -> bool:
        """Whether one call may have several chunks."""
        return False

    def open(self, place: WorkerPlace) -> ToneRunner:
        """Make the runner, once per worker process. A model would be loaded here, or in a process of its own."""
        return ToneRunner(self)


class ToneRunner:
    """Finds seconds in which the band has most of the energy."""

    def __init__(self, spec: ToneSpec) -> None:
        self._spec = spec
        self.name = spec.name

    def detect(self, chunk: Chunk, audio: AudioWindow) -> RunnerOutput:
        """Analyse one chunk; what is raised here fails this attempt, and is tried again."""
        samples, rate = read_samples(audio)
        mono = samples.mean(axis=1)
        found = []
        for number, start in enumerate(range(0, len(mono) - rate + 1, rate)):
            share = self._share(mono[start : start + rate], rate)
            if share >= self._spec.least_share:
                found.append(Detection("tone", round(share, 3), number * 1000, (number + 1) * 1000))
        status = ResultStatus.OK if found else ResultStatus.NO_DETECTIONS
        return RunnerOutput(ChunkResult(chunk, self.name, status, tuple(found), model_version="tone 1"))

    def close(self) -> None:
        """End what the runner started: nothing here."""

    def _share(self, second: np.ndarray, rate: int) -> float:
        energy = np.abs(np.fft.rfft(second)) ** 2
        hz = np.fft.rfftfreq(len(second), 1 / rate)
        in_band = energy[(hz >= self._spec.low_hz) & (hz < self._spec.high_hz)].sum()
        return float(in_band / max(energy[1:].sum(), 1e-12))
