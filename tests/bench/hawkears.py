"""HawkEars: resident against a process per chunk, and the script with many chunks per call against one."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import numpy as np
import soundfile as sf

from tests.conftest import ROOT

PYTHON = ROOT / ".venv-hawkears" / "bin" / "python"
CHUNKS, CHUNK_S = 40, 15
# A process per chunk takes so long that a part of the chunks has to tell the rate.
FEW = 4
PER_CALL = 20
WORDS = ("--min_score", "0.77")


def measure(scratch: Path) -> str:
    """Measure chunks per minute of the same 40 chunks in five ways, all on one core."""
    if not PYTHON.exists():
        return "## HawkEars\n\nNot measured: `make hawkears` installs it (6 GB)."
    os.environ["OMP_NUM_THREADS"] = "1"
    data_root = scratch / "data-root"
    subprocess.run([PYTHON, ROOT / "tests/hawkears/untrained_ensemble.py", data_root], check=True)
    os.environ["HAWKEARS_DATA_DIR"] = str(data_root)
    manifest = _manifest(scratch)
    resident = _rate(scratch / "resident", manifest, CHUNKS, hawkears_engine="resident", hawkears_arg=WORDS)
    own = own_rate(data_root, _wavs(scratch), threads=1)
    process = _process_rate(scratch, data_root)
    script = {"hawkears_root": ROOT / "tests/bench/hawkears1_on_2", "hawkears_python": PYTHON, "hawkears_arg": WORDS}
    many = _rate(scratch / "many", manifest, CHUNKS, chunks_per_task=PER_CALL, **script)
    one = _rate(scratch / "one", manifest, FEW, **script)
    return (
        "## HawkEars\n\n"
        f"`python -m tests.bench hawkears`: {CHUNKS} chunks of {CHUNK_S} s on one CPU worker, one core, an ensemble of "
        "three small models that was never trained. Where one process takes many, its start is not counted. What takes "
        f"a process per chunk was measured on {FEW} of the chunks. HawkEars 1.x could not be had: its contract is "
        "served by a script of ours on the same models.\n\n"
        "| what | chunks per minute | |\n|---|---|---|\n"
        f"| `hawkears analyze`, one process per chunk | {process:.1f} | 1 |\n"
        f"| `hawkears analyze`, one process for a folder of all | {own:.1f} | {own / process:.1f} |\n"
        f"| resident | {resident:.1f} | {resident / process:.1f} |\n"
        f"| script, `--chunks-per-task 1` | {one:.1f} | 1 |\n"
        f"| script, `--chunks-per-task {PER_CALL}` | {many:.1f} | {many / one:.1f} |"
    )


def _manifest(scratch: Path) -> Path:
    from badc.chunks.cutting import plan_chunks, write_virtual_manifest
    from badc.recordings.sample import fetch_birds_wav

    samples, rate = sf.read(fetch_birds_wav(), dtype="int16")
    path = scratch / "REC.wav"
    sf.write(path, np.resize(samples, CHUNKS * CHUNK_S * rate), rate, subtype="PCM_16")
    write_virtual_manifest(plan_chunks(path, CHUNK_S), scratch / "m.csv", hash_chunks=False)
    return scratch / "m.csv"


def _rate(folder: Path, manifest: Path, chunks: int, **settings: object) -> float:
    """Return chunks per minute of a run, from the end of its first chunk, or call, to the end of its last."""
    from datetime import datetime

    from badc.inference.plan import plan_inference
    from badc.inference.settings import InferSettings
    from badc.telemetry.events import EventStatus, read_events
    from flows.cli.launch import launch_inference

    lines = manifest.read_text().splitlines(keepends=True)
    folder.mkdir()
    part = folder / "m.csv"
    part.write_text("".join(lines[: chunks + 1]))
    log = folder / "run.jsonl"
    plan = plan_inference(
        InferSettings(
            manifest=part, use_hawkears=True, max_gpus=0, output_dir=folder / "out", telemetry_log=log, **settings
        )
    )
    launch_inference(plan, lambda progress: None, lambda line: None)
    events = [event for event in read_events(log) if event.status is EventStatus.SUCCESS]
    assert len(events) == chunks
    ends = [datetime.fromisoformat(str(event.finished_at)) for event in events]
    return sum(end > min(ends) for end in ends) * 60 / (max(ends) - min(ends)).total_seconds()


def own_rate(data_root: Path, wavs: Path, threads: int) -> float:
    """Return WAVs per minute of HawkEars' own run over a folder, from the first that is done to the last."""
    words = [PYTHON, "-P", ROOT / "tests/bench/hawkears_own.py", data_root, wavs, str(threads)]
    return float(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def _wavs(scratch: Path) -> Path:
    """Write a WAV of each chunk; return their folder."""
    samples, rate = sf.read(scratch / "REC.wav", dtype="int16")
    folder = scratch / "wavs"
    folder.mkdir()
    for number, part in enumerate(np.split(samples, CHUNKS)):
        sf.write(folder / f"{number:03}.wav", part, rate, subtype="PCM_16")
    return folder


def _process_rate(scratch: Path, data_root: Path) -> float:
    begin = time.perf_counter()
    for number in range(FEW):
        wav = scratch / "wavs" / f"{number:03}.wav"
        words = ["analyze", "-i", wav, "-o", scratch / "own", "--rtype", "csv", "--quiet", *WORDS]
        subprocess.run([PYTHON.with_name("hawkears"), *words], cwd=data_root, check=True)
    return FEW * 60 / (time.perf_counter() - begin)
