"""A hundred thousand recordings and a million chunks: chunked, planned, resumed and aggregated, each as its command."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import soundfile as sf

from tests.bench.aggregation import CHUNKS_OF_EACH, DETECTIONS_OF_EACH, detections_of_chunk

RECORDINGS = 100_000
LEFT = 100  # recordings that a stopped run has not done
_RATE_HZ = 48_000
_HOURS_OF_A_DAY, _DAYS = 24, 30


@dataclass(frozen=True, slots=True)
class _Cost:
    """What a command and its children took: seconds, seconds of a core, and the memory of the largest process."""

    seconds: float
    cpu_s: float
    mib: float

    def row(self, what: str) -> str:
        return f"| {what} | {self.seconds:.0f} | {self.cpu_s:.0f} | {self.mib:,.0f} MiB |"


def measure(scratch: Path) -> str:
    """Run each command on the dataset as it grows, from start to exit."""
    dataset, n = scratch / "dataset", RECORDINGS
    (dataset / ".datalad").mkdir(parents=True)
    names = [_name(number) for number in range(n)]
    _write_audio(dataset / "audio", names)
    ours = ("--stub-runner", "--max-gpus", "0", "--cpu-workers", "2")
    rows = [
        _cost(dataset, f"chunk {n}", "chunk", "orchestrate").row("`chunk orchestrate`, the plan"),
        _cost(dataset, "", "chunk", "orchestrate", "--apply").row("`chunk orchestrate --apply`"),
        _cost(dataset, f"{n} run", "infer", "orchestrate", *ours).row("`infer orchestrate`, the plan: nothing done"),
    ]
    _write_results(dataset, names[:-LEFT], _first_result(dataset, names[0], ours))
    left = f"{LEFT} recordings of {CHUNKS_OF_EACH} chunks left"
    rows.append(_cost(dataset, f"{LEFT}", "infer", "orchestrate", *ours, "--apply").row(f"the same `--apply`: {left}"))
    words = ("--parquet", "artifacts/aggregate/all.parquet", "--manifest", "manifests")
    rows.append(_cost(dataset, f"{n}", "infer", "aggregate", *words).row("`infer aggregate`, CSV and Parquet"))
    rows.append(
        _cost(dataset, f"{n} skip", "infer", "orchestrate", *ours).row("`infer orchestrate`, the plan: all done")
    )
    shutil.rmtree(dataset)
    return (
        "## A million chunks\n\n"
        f"`python -m tests.bench scale`: {n:,} recordings of {CHUNKS_OF_EACH} minutes at {_RATE_HZ // 1000} kHz "
        f"(sparse files), cut into {n * CHUNKS_OF_EACH:,} virtual chunks of a minute, {DETECTIONS_OF_EACH} detections "
        "in each. Each row is a command from start to exit, with the CPU time of all its processes, the private server "
        "included, and the memory of the largest of them.\n\n"
        "| command | seconds | of a core | memory |\n|---|---|---|---|\n" + "\n".join(rows)
    )


def _name(number: int) -> str:
    """A recording an hour, for a month, at as many stations as that takes."""
    slot, station = number % (_DAYS * _HOURS_OF_A_DAY), number // (_DAYS * _HOURS_OF_A_DAY)
    return f"ST-{station:03d}_202305{slot // _HOURS_OF_A_DAY + 1:02d}_{slot % _HOURS_OF_A_DAY:02d}0000"


def _write_audio(folder: Path, names: list[str]) -> None:
    """Write silence as files with nothing but a header on the disk, a folder for each station."""
    frames = CHUNKS_OF_EACH * 60 * _RATE_HZ
    whole = io.BytesIO()
    with sf.SoundFile(whole, "w", _RATE_HZ, 1, "PCM_16", format="WAV") as sound:
        sound.seek(frames - 1)
        sound.write([0.0])
    header, size = whole.getvalue()[:44], whole.getbuffer().nbytes
    for name in names:
        path = folder / name.split("_")[0] / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as audio:
            audio.write(header)
            audio.truncate(size)


def _first_result(dataset: Path, name: str, ours: tuple[str, ...]) -> dict[str, Any]:
    """Run the first recording for real; return what its first chunk's file has in common with all others."""
    _cost(dataset, "completed", "infer", "run", f"manifests/{name}.csv", *ours)
    found = dataset / "artifacts" / "infer" / name / f"{name}_chunk_0_60000.json"
    document: dict[str, Any] = orjson.loads(found.read_bytes())
    return document


def _write_results(dataset: Path, names: list[str], template: dict[str, Any]) -> None:
    """Write results like the first, with detections."""
    detections = detections_of_chunk()
    for name in names:
        folder = dataset / "artifacts" / "infer" / name
        folder.mkdir(parents=True, exist_ok=True)
        source = template["source_path"].replace(template["recording_id"], name)
        source = source.replace(template["recording_id"].split("_")[0], name.split("_")[0])
        for number in range(CHUNKS_OF_EACH):
            times = {"start_ms": number * 60_000, "end_ms": (number + 1) * 60_000}
            chunk = f"{name}_chunk_{times['start_ms']}_{times['end_ms']}"
            ids = {"recording_id": name, "chunk_id": chunk, "source_path": source, "chunk": template["chunk"] | times}
            result = template | ids | {"status": "ok", "detections": detections}
            (folder / f"{chunk}.json").write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2))


def _cost(dataset: Path, said: str, *words: str) -> _Cost:
    """Run a command in the dataset; it must succeed, and say this (without commas)."""
    place = ("artifacts/infer",) if words[:2] == ("infer", "aggregate") else (".",) if words[1] == "orchestrate" else ()
    log = dataset.parent / "log"
    begin = time.perf_counter()
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows", *words[:2], *place, *words[2:]],
            cwd=dataset,
            stdout=stream,
            stderr=stream,
            env=os.environ | {"PREFECT_API_URL": ""},
        )
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    text = log.read_text()
    if os.waitstatus_to_exitcode(status) or said not in text.replace(",", ""):
        raise RuntimeError(f"{' '.join(words)}: {text[-600:]}")
    cost = _Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
    print(cost.row(" ".join(words)), file=sys.stderr, flush=True)  # the whole takes hours
    return cost
