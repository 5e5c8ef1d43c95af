"""An archive larger than the disk: how busy a worker is while audio is fetched before it and dropped behind it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import soundfile as sf

from tests.bench.gpus import stand_in
from tests.conftest import git_identity_variables

RECORDINGS, CHUNKS, FIT = 100, 40, 5
CHUNK_S = 0.05  # so long the stand-in for HawkEars takes for a chunk, as on a GPU


def measure(scratch: Path) -> str:
    """Stream a clone's recordings through a limit on the disk, and sum the time that the model was busy."""
    from badc.datalad.environment import environment
    from badc.system.annex import content_is_here, size_of_content
    from flows.server.local import PrefectApi

    api = PrefectApi.begin()
    api.ready()
    spans = scratch / "spans"
    (scratch / "home").mkdir()
    variables = environment() | git_identity_variables(scratch / "home")
    variables |= {"PREFECT_API_URL": api.url, "HAWKEARS2_NETWORK_S": str(CHUNK_S), "HAWKEARS2_SPANS": str(spans)}
    clone = _clone(scratch, variables)
    audio = sorted((clone / "audio").iterdir())
    limit_kb = (FIT + 0.5) * (size_of_content(audio[0]) or 0) / 1000
    words = ["infer", "orchestrate", clone, "--apply", *stand_in(scratch), "--max-gpus", 0, "--cpu-workers", 1]
    words += ["--chunks-at-once", 1, "--no-record-datalad"]
    words += ["--fetch-ahead", FIT - 2, "--drop-after", "--disk-limit", f"{limit_kb}K"]
    most = 0
    with (scratch / "log").open("wb") as log:
        run = subprocess.Popen([sys.executable, "-m", "flows", *map(str, words)], env=variables, stdout=log, stderr=log)
        while run.poll() is None:
            most = max(most, sum(map(content_is_here, audio)))
            time.sleep(0.5)
    if run.returncode or most > FIT or any(map(content_is_here, audio)):
        raise RuntimeError(f"{most} recordings were here: {(scratch / 'log').read_text()[-2000:]}")
    times = np.loadtxt(spans)[1:]  # the first warms the model up
    assert len(times) == RECORDINGS * CHUNKS
    busy = float((times[:, 1] - times[:, 0]).sum() / (times[:, 1].max() - times[:, 0].min()))
    return (
        "## An archive larger than the disk\n\n"
        f"`python -m tests.bench streaming`: {RECORDINGS} recordings of {CHUNKS} chunks in a clone without their "
        f"audio, the archive on the same disk, `--fetch-ahead {FIT - 2} --drop-after` and a `--disk-limit` of {FIT} "
        f"recordings. A stand-in for HawkEars waits {CHUNK_S * 1000:.0f} ms for each chunk, as for a GPU; one worker. "
        f"Never more than {most} recordings were here, none at the end, and the model was busy {busy:.1%} of the time."
    )


def _clone(scratch: Path, variables: dict[str, str]) -> Path:
    """Return a clone of a dataset of recordings that differ, whose manifests and chunk statuses git has."""
    from badc.chunks.cutting import plan_chunks, write_virtual_manifest
    from badc.chunks.status import ChunkState, ChunkStatus, status_path, write_chunk_status
    from badc.datasets.attributes import add_attributes

    def run(*command: object) -> None:
        subprocess.run([*map(str, command)], env=variables, check=True, capture_output=True)

    root, clone = scratch / "archive", scratch / "clone"
    run("datalad", "create", root)
    add_attributes(root)
    (root / "audio").mkdir()
    random = np.random.default_rng(5)
    for number in range(RECORDINGS):
        audio = root / "audio" / f"SITE-{number:02}_20230509_094500.wav"
        sf.write(audio, random.normal(0, 0.1, CHUNKS * 8000), 8000, subtype="PCM_16")
        write_virtual_manifest(plan_chunks(audio, 1), root / "manifests" / f"{audio.stem}.csv", hash_chunks=False)
        status = ChunkStatus(audio.stem, None, None, ChunkState.COMPLETED)
        write_chunk_status(status_path(root / "artifacts" / "chunks", audio.stem), status)
    run("datalad", "-C", root, "save", "-m", "recordings")
    run("git", "clone", "-q", root, clone)
    run("git", "-C", clone, "annex", "init", "-q", "clone")
    return clone
