"""Embeddings through whole runs: after kill -9, and of a dataset."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile as sf

from badc.chunks.cutting import plan_chunks, write_virtual_manifest

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.birdnet]


@pytest.fixture
def recording(birds_wav: Path, tmp_path: Path) -> Path:
    """Forty times the clip."""
    samples, rate = sf.read(birds_wav, dtype="int16")
    path = tmp_path / "audio" / "DEMO-01_20230509_094500.wav"
    path.parent.mkdir()
    sf.write(path, np.tile(samples[: 9 * rate], 40), rate, subtype="PCM_16")
    return path


def starts(path: Path) -> list[int]:
    found: list[int] = pq.read_table(path)["start_ms"].to_pylist()
    return found


def test_after_kill_9_what_was_embedded_is_kept_and_the_rest_is_done(badc, recording, tmp_path):
    write_virtual_manifest(plan_chunks(recording, duration_s=9), tmp_path / "rec.csv", hash_chunks=False)
    words = ("infer", "run", "rec.csv", "--use-birdnet", "--max-gpus", 0, "--output-dir", "out", "--embeddings", "e")
    words += ("--telemetry-log", "run.jsonl", "--chunks-per-task", 1)
    process = badc(*words)
    parts = tmp_path / "e" / recording.stem
    end = time.monotonic() + 120
    while len(list(parts.glob("*.parquet"))) < 4:
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.kill()
    process.wait()
    kept = {path.name: path.stat().st_mtime_ns for path in parts.glob("*.parquet")}
    assert 4 <= len(kept) < 40
    results = {path.stem for path in (tmp_path / "out" / recording.stem).glob("*.json")}
    assert results <= {Path(name).stem for name in kept}, "no result comes before its embeddings"

    resumed = badc(*words, "--resume-summary", "run.jsonl")
    out, err = resumed.communicate(timeout=240)
    assert resumed.returncode == 0, err
    whole = tmp_path / "e" / f"{recording.stem}.parquet"
    assert starts(whole) == list(range(0, 360_000, 3000))
    assert not parts.exists()
    assert f"{40 - len(results)}/{40 - len(results)} chunks" in out or "done before" in out


def test_a_dataset_has_a_file_for_each_recording_and_lacking_ones_are_made(badc, recording, tmp_path):
    shutil.copy(recording, recording.with_name("DEMO-02_20230509_094500.wav"))
    study = tmp_path / "study"
    study.mkdir()
    recording.parent.rename(study / "audio")
    whole = ("pipeline", "run", "study", "--use-birdnet", "--max-gpus", 0, "--chunk-duration", 90, "--no-report")
    done = badc(*whole)
    assert done.communicate(timeout=240)
    assert done.returncode == 0

    plan = badc("infer", "orchestrate", "study", "--use-birdnet", "--embeddings", "artifacts/embeddings")
    out, _ = plan.communicate(timeout=120)
    assert "4 chunks have an output without embeddings" in out

    again = badc(*whole, "--embeddings", "artifacts/embeddings")
    _, err = again.communicate(timeout=240)
    assert again.returncode == 0, err
    folder = study / "artifacts" / "embeddings"
    assert sorted(path.name for path in folder.iterdir()) == [f"DEMO-0{n}_20230509_094500.parquet" for n in (1, 2)]
    assert starts(folder / "DEMO-02_20230509_094500.parquet") == list(range(0, 360_000, 3000))
    skipped = badc(*whole, "--embeddings", "artifacts/embeddings")
    out, err = skipped.communicate(timeout=120)
    assert skipped.returncode == 0
    assert "every recording is complete" in out + err
