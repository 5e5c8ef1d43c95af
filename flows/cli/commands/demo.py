"""`badc demo`: the main job on a real recording, from audio to a table of species."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from badc.errors import BadcError, RequestError
from badc.system.paths import require_inside
from flows.cli.console import print_table

RECORDING = "DEMO-01_20230509_094500"
_MARK = ".badc-demo"
_REPEATS = 30
# Four of BirdNET's 3 s windows, so that each repeat of the clip has its own windows.
_REPEAT_S = 12


def demo(
    folder: Annotated[
        Path, typer.Argument(help="Folder to make. In an earlier demo's folder, files that you added stay.")
    ] = Path("demo"),
) -> None:
    """Make a six-minute recording from real bird song, find the birds in it with BirdNET, and show them.

    The steps are printed as commands that you can run by hand.
    """
    from badc.recordings.sample import fetch_birds_wav
    from flows.server.local import PrefectApi, quiet_defaults

    quiet_defaults(verbose=False)
    _make_way(folder)
    audio = _write_recording(folder, fetch_birds_wav())
    # One server for all steps: that in PREFECT_API_URL, if set.
    api = PrefectApi.begin()
    _step(folder, "chunk", "manifest", str(audio.relative_to(folder)), "--chunk-duration", "30")
    api.ready()
    _step(folder, "infer", "run", f"manifests/{RECORDING}.csv", "--use-birdnet", "--cpu-workers", "2")
    table = "artifacts/aggregate/detections.parquet"
    _step(folder, "infer", "aggregate", "artifacts/infer", "--manifest", "manifests", "--parquet", table)
    _show_species(folder / table)
    print(f"\nEverything is in {folder}")


def _make_way(folder: Path) -> None:
    if folder.exists():
        if not (folder / _MARK).exists() and any(folder.iterdir()):
            raise RequestError(f"{folder}: exists and is not a BADC demo; name another folder")
        # Only what an earlier demo made: people keep working in its folder.
        outputs = folder / "artifacts" / "infer" / RECORDING
        for place in (*(folder / name for name in ("audio", "manifests", "artifacts/aggregate")), outputs):
            require_inside(folder, place)
        own = (folder / f"audio/{RECORDING}.wav", folder / f"manifests/{RECORDING}.csv")
        for path in (*own, *outputs.glob(f"{RECORDING}_chunk_*.json")):
            path.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK).touch()


def _write_recording(folder: Path, clip: Path) -> Path:
    """Write a recording that repeats the clip every 12 s, named as autonomous recorders name theirs."""
    import numpy as np
    import soundfile as sf

    samples, rate = sf.read(clip, dtype="int16")
    padded = np.zeros(_REPEAT_S * rate, dtype=np.int16)
    padded[: 10 * rate] = samples[: 10 * rate]
    path = folder / "audio" / f"{RECORDING}.wav"
    path.parent.mkdir(exist_ok=True)
    sf.write(path, np.tile(padded, _REPEATS), rate, subtype="PCM_16")
    return path


def _step(folder: Path, *words: str) -> None:
    print(f"\n$ {shlex.join(['badc', *words])}", flush=True)
    done = subprocess.run([sys.executable, "-m", "flows", *words], cwd=folder)
    if done.returncode != 0:
        raise BadcError(f"this step of the demo failed (exit code {done.returncode})")


def _show_species(parquet: Path) -> None:
    import duckdb

    rows: list[Any] = duckdb.execute(
        """
        SELECT label, label_code, count(*), round(avg(confidence), 3), round(max(confidence), 3)
        FROM read_parquet(?) GROUP BY ALL ORDER BY 3 DESC, 5 DESC
        """,
        [str(parquet)],
    ).fetchall()
    if not rows:
        raise BadcError("the demo found no birds")
    print("\nSpecies", flush=True)
    names = ("species", "scientific name", "detections", "mean confidence", "highest")
    print_table([dict(zip(names, row, strict=True)) for row in rows])
