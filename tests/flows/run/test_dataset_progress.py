"""How far a dataset is: what is handed out lasts for so long at the speed seen."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from badc.datasets.inference.recording import InferDecision, RecordingToInfer
from badc.inference.progress import Progress
from flows.run.dataset_progress import DatasetProgress


def recording(name: str, chunks: int) -> RecordingToInfer:
    path = Path(name)
    return RecordingToInfer(name, path, chunks, 0, 0, 1000 * chunks, "completed", InferDecision.RUN, "", path)


def test_what_is_handed_out_lasts_as_long_as_the_speed_says(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    recordings = [recording(name, 10) for name in "ABC"]
    made = DatasetProgress(recordings)
    assert made.ahead_s() == float("inf"), "no speed is known yet"
    for each in recordings[:2]:
        made.hand_out(each)
    of_a = Progress(10, 5, 0, 0, 5000, 10_000, 0.0, 1)
    made.note(recordings[0], of_a)
    clock[0] += 10
    assert made.ahead_s() == 30, "15 chunks of two recordings, at one in 2 s"
    assert (made.total().total, made.total().left, made.under_way()) == (30, 25, {"A": of_a})

    made.note(recordings[0], replace(of_a, done=10))
    assert made.end("A") == replace(of_a, done=10)
    assert made.end("A") is None
    made.put_back(recordings[1])
    assert made.ahead_s() == 0
    assert (made.total().done, made.total().audio_total_ms) == (10, 30_000)
