"""BirdNET through the flow, against bare loops of the same model."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import soundfile as sf

# From 1,000 chunks on, several share a task run.
RECORDINGS, MINUTES_OF_EACH = 20, 50
MINUTES = RECORDINGS * MINUTES_OF_EACH
WORKERS = 2
_ROUNDS = 15


def measure(scratch: Path) -> str:
    """Analyse the same one-minute chunks twice: on two workers of the flow, and in two bare processes."""
    from flows.server.local import PrefectApi

    PrefectApi.begin().ready()
    audio = _recordings(scratch)
    # numpy reads this as it is imported; workers' hosts have it from their runner.
    os.environ["OMP_NUM_THREADS"] = "1"
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        plain_ms, cut_ms = pool.apply(_window_ms, (audio[0],))
    bare = _bare_rate(audio)
    flow = _flow_rate(scratch, audio)
    return (
        "## BirdNET: one window of 3 s on one thread\n\n"
        f"`python -m tests.bench birdnet`: {_ROUNDS} rounds over 30 s of bird song, by turns; the median round, in "
        "milliseconds of processor time.\n\n"
        "| what | ms a window | |\n|---|---|---|\n"
        f"| the whole model in LiteRT, as other tools run it | {plain_ms:.1f} | 1 |\n"
        f"| `badc.runners.birdnet.cut_model` | {cut_ms:.1f} | {plain_ms / cut_ms:.1f} × as fast |\n\n"
        "## BirdNET: times real time\n\n"
        f"`python -m tests.bench birdnet`: {MINUTES} one-minute chunks at default settings, after start-up (the first "
        "chunk of each worker pays for its imports and its model, and is not counted).\n\n"
        "| what | × real time | against bare |\n|---|---|---|\n"
        f"| {WORKERS} processes that loop over the model | {bare:.0f} | 1 |\n"
        f"| the `infer` flow on {WORKERS} workers, with the Prefect server on the same cores | {flow:.0f} | "
        f"{flow / bare:.2f} |"
    )


def _window_ms(audio: Path) -> tuple[float, float]:
    """Return the milliseconds of processor time that a window takes: by the whole model, and by the cut one."""
    import soxr

    from badc.runners.birdnet.cut_model import Interpreter, Network
    from badc.species.birdnet_files import model_file

    whole, network = Interpreter(model_path=str(model_file())), Network(model_file())
    samples, rate = sf.read(audio, frames=30 * sf.info(audio).samplerate, dtype="float32")
    windows = soxr.resample(samples, rate, 48_000).reshape(10, -1)

    def took_ms(logits: Callable[[Any], Any]) -> float:
        begin = time.process_time()
        for window in windows:
            logits(window)
        return (time.process_time() - begin) / len(windows) * 1000

    rounds = [(took_ms(lambda window: whole.logits(window[None])), took_ms(network.logits)) for _ in range(_ROUNDS)]
    return median(one for one, _ in rounds), median(other for _, other in rounds)


def _recordings(scratch: Path) -> list[Path]:
    """Write one recording; return it under the names of all."""
    from badc.recordings.sample import fetch_birds_wav

    samples, rate = sf.read(fetch_birds_wav(), dtype="int16")
    minute = np.tile(samples[: 10 * rate], 6)
    paths = [scratch / f"REC-{number:02}.wav" for number in range(RECORDINGS)]
    sf.write(paths[0], np.tile(minute, MINUTES_OF_EACH), rate, subtype="PCM_16")
    for path in paths[1:]:
        path.hardlink_to(paths[0])
    return paths


def _loop(audio: list[Path], numbers: list[int], ready: object, times: object) -> None:
    """One bare process: load the model, then analyse the minutes given by their numbers."""
    from badc.recordings.audio import probe, window_of
    from badc.runners.birdnet.host import _Birdnet
    from badc.species.birdnet_files import labels_file, model_file

    model = _Birdnet(
        {
            "model": str(model_file()),
            "labels": str(labels_file()),
            "min_confidence": 0.25,
            "birdnet_overlap_s": 0.0,
            "species": None,
        }
    )
    info = probe(audio[0])

    def analyse(number: int) -> None:
        recording, minute = divmod(number, MINUTES_OF_EACH)
        window = window_of(audio[recording], info, minute * 60_000, (minute + 1) * 60_000)
        model.handle(asdict(window) | {"path": str(audio[recording])})

    analyse(0)
    ready.wait()
    begin = time.perf_counter()
    for number in numbers:
        analyse(number)
    times.put(time.perf_counter() - begin)


def _bare_rate(audio: list[Path]) -> float:
    context = multiprocessing.get_context("spawn")
    ready, times = context.Barrier(WORKERS), context.Queue()
    shares = [list(range(MINUTES))[worker::WORKERS] for worker in range(WORKERS)]
    processes = [context.Process(target=_loop, args=(audio, share, ready, times)) for share in shares]
    for process in processes:
        process.start()
    slowest = max(times.get() for _ in processes)
    for process in processes:
        process.join()
    return MINUTES * 60 / slowest


def _flow_rate(scratch: Path, audio: list[Path]) -> float:
    from badc.chunks.cutting import plan_chunks
    from badc.chunks.manifest import write_manifest
    from badc.inference.plan import plan_inference
    from badc.inference.settings import InferSettings
    from badc.telemetry.events import EventStatus, read_events
    from flows.cli.launch import launch_inference

    write_manifest(scratch / "m.csv", [chunk for path in audio for chunk in plan_chunks(path, 60).chunks])
    settings = InferSettings(
        manifest=scratch / "m.csv",
        use_birdnet=True,
        cpu_workers=WORKERS,
        max_gpus=0,
        output_dir=scratch / "out",
        telemetry_log=scratch / "run.jsonl",
    )
    launch_inference(plan_inference(settings), lambda progress: None, lambda line: None)
    ends: dict[str, list[datetime]] = {}
    for event in read_events(scratch / "run.jsonl"):
        if event.status is EventStatus.SUCCESS:
            ends.setdefault(str(event.worker), []).append(datetime.fromisoformat(str(event.finished_at)))
    warm = max(min(times) for times in ends.values())
    after = [end for times in ends.values() for end in times if end > warm]
    return len(after) * 60 / (max(after) - warm).total_seconds()
