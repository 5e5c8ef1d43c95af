"""BatDetect2 as a resident command: the example of the documentation, with the real weights, on modelled calls."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from badc.inference.plan import plan_inference
from badc.inference.settings import InferSettings
from badc.inference.worker import infer_chunks
from badc.runners.current import close_runner
from badc.runners.process import serve
from tests.conftest import ROOT

PYTHON = ROOT / ".venv-bats" / "bin" / "python"
CALLS_S = np.arange(0.2, 2.8, 0.1)
pytestmark = [
    pytest.mark.bats,
    pytest.mark.long,
    pytest.mark.skipif(
        not os.environ.get("BADC_TEST_BATS"), reason="needs BatDetect2, 6 GB; `make test-bats` installs and runs"
    ),
]


def pipistrelle(path: Path, rate: int) -> Path:
    """Write 6 s with the calls of a Common Pipistrelle in the first half: 6 ms from 90 kHz down to 45 kHz."""
    samples = np.random.default_rng(1).normal(0, 0.002, rate * 6)
    at = np.arange(round(rate * 0.006)) / rate
    hz = 45_000 + 45_000 * np.exp(-1000 * at)
    call = 0.3 * np.sin(2 * np.pi * np.cumsum(hz) / rate) * np.hanning(len(at))
    for start_s in CALLS_S:
        samples[round(start_s * rate) :][: len(call)] += call
    sf.write(path, samples, rate, subtype="PCM_16")
    return path


def test_each_call_of_a_bat_is_found_at_256_khz_and_resampled(make_manifest: Any, tmp_path: Path) -> None:
    for file in (ROOT / "docs" / "examples" / "batdetect2_resident.py", Path(serve.__file__)):
        shutil.copy(file, tmp_path)
    command = f"{PYTHON} {tmp_path / 'batdetect2_resident.py'} 0.5"
    try:
        for rate in (256_000, 384_000):
            recording = pipistrelle(tmp_path / f"BAT-{rate}.wav", rate)
            settings = InferSettings(
                manifest=make_manifest(recording, 3.0), output_dir=tmp_path / "out", runner_resident=command
            )
            plan = plan_inference(settings)
            attempts = infer_chunks(plan.todo, plan.order, lambda attempt: None)
            assert [attempt.ok for attempt in attempts] == [True, True], [attempt.details for attempt in attempts]
            assert [attempt.details["detections"] for attempt in attempts] == [len(CALLS_S), 0]
            assert attempts[0].found.keys() == {"Pipistrellus pipistrellus"}
    finally:
        close_runner()
