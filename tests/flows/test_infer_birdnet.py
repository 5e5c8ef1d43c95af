"""The real classifier on real birds, through the flow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from badc.chunks.cutting import plan_chunks, write_chunk_wavs, write_virtual_manifest
from badc.detections.aggregate import aggregate
from badc.detections.settings import AggregateSettings
from badc.telemetry.summary import RunState

pytestmark = [pytest.mark.slow, pytest.mark.birdnet]

# What BirdNET 2.4 hears in the clip's three whole windows at the default threshold.
HEARD = [
    (0, 3000, "Bay-breasted Warbler", "Setophaga castanea", 0.46),
    (3000, 6000, "Tennessee Warbler", "Leiothlypis peregrina", 0.79),
    (6000, 9000, "Blackburnian Warbler", "Setophaga fusca", 0.45),
]


@pytest.fixture
def recording(birds_wav: Path, tmp_path: Path) -> Path:
    """Three times the clip, each starting on a whole 12 s."""
    samples, rate = sf.read(birds_wav, dtype="int16")
    padded = np.zeros(12 * rate, dtype=np.int16)
    padded[: 10 * rate] = samples[: 10 * rate]
    path = tmp_path / "audio" / "DEMO-01_20230509_094500.wav"
    path.parent.mkdir()
    sf.write(path, np.tile(padded, 3), rate, subtype="PCM_16")
    return path


def detections_below(folder: Path, table: Path) -> list[tuple[object, ...]]:
    import pyarrow.parquet as pq

    settings = AggregateSettings(detections_dir=folder, output=table.with_suffix(".csv"), parquet=table)
    assert aggregate(settings).bad_files == []
    columns = ["chunk_id", "absolute_time_ms", "absolute_end_ms", "label", "label_code", "confidence", "detected_at"]
    return [tuple(row.values()) for row in pq.read_table(table, columns=columns).to_pylist()]


def test_virtual_chunks_and_chunk_wavs_give_the_same_detections_and_embeddings(infer, recording, tmp_path):
    import pyarrow.parquet as pq

    plan = plan_chunks(recording, duration_s=12)
    write_virtual_manifest(plan, tmp_path / "virtual.csv", hash_chunks=False)
    write_chunk_wavs(plan, tmp_path / "chunks", tmp_path / "wavs.csv")
    found, embedded = {}, {}
    for kind in ("virtual", "wavs"):
        outcome = infer(
            tmp_path / f"{kind}.csv",
            use_birdnet=True,
            output_dir=tmp_path / kind,
            telemetry_log=tmp_path / f"{kind}.jsonl",
            embeddings=tmp_path / f"{kind}-embeddings",
        )
        assert outcome.state is RunState.COMPLETED
        found[kind] = detections_below(tmp_path / kind, tmp_path / f"{kind}.parquet")
        (file,) = (tmp_path / f"{kind}-embeddings").iterdir()
        embedded[kind] = pq.read_table(file, columns=["start_ms", "end_ms", "embedding"])

    assert found["virtual"] == found["wavs"]
    assert embedded["virtual"].equals(embedded["wavs"])
    assert embedded["virtual"]["start_ms"].to_pylist() == list(range(0, 36_000, 3000))
    expected = [
        (offset + start, offset + end, label, code)
        for offset in (0, 12_000, 24_000)
        for start, end, label, code, _ in HEARD
    ]
    assert [row[1:5] for row in found["virtual"]] == expected
    assert [round(row[5], 2) for row in found["virtual"]] == [confidence for *_, confidence in HEARD] * 3
    assert str(found["virtual"][4][6]) == "2023-05-09 09:45:15"


def test_a_species_list_limits_what_is_reported(infer, recording, tmp_path):
    (tmp_path / "list.txt").write_text("# warblers\nTennessee Warbler\nSetophaga fusca\n")
    write_virtual_manifest(plan_chunks(recording, duration_s=12), tmp_path / "m.csv", hash_chunks=False)
    infer(tmp_path / "m.csv", use_birdnet=True, species_list=tmp_path / "list.txt")

    labels = {row[3] for row in detections_below(tmp_path / "out", tmp_path / "t.parquet")}
    assert labels == {"Tennessee Warbler", "Blackburnian Warbler"}
