"""A cut belongs to its manifest: what is chunked already is kept, and cut anew only where that was asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from badc.chunks.cutting import plan_chunks, write_virtual_manifest
from badc.chunks.manifest import read_manifest
from badc.chunks.status import ChunkState, read_chunk_status, status_path
from badc.datasets.chunking.decision import ChunkDecision
from badc.datasets.chunking.plan import plan_dataset
from badc.datasets.chunking.recording import chunk_recording
from badc.datasets.chunking.settings import ChunkSettings
from tests.badc.datasets.chunking.planning import (
    break_manifest,
    break_status,
    cut_manifest,
    decisions,
    grow_audio,
    only,
    plan,
    remove_manifest,
    remove_status,
    run,
    set_status,
    spoil_nothing,
    tree,
)


@pytest.mark.parametrize(
    ("spoil", "settings", "reason"),
    [
        (cut_manifest, {}, "its manifest has other chunks than wanted: 1, not 2"),
        (break_manifest, {}, "its manifest is broken: "),
        (grow_audio, {}, "the audio has changed since"),
        (set_status(status="failed", error="disk full", chunk_duration=2.0), {"chunk_duration_s": 2.0}, "disk full"),
        (set_status(status="in_progress"), {"overlap_s": 0.5}, "and not finished"),
        (spoil_nothing, {"chunk_duration_s": 2.0}, "cut differently: chunks of 1 s, overlap 0 s"),
        (spoil_nothing, {"overlap_s": 0.5}, "cut differently"),
        (spoil_nothing, {"min_chunk_s": 0.1}, "its manifest has other chunks than wanted: 2, not 3"),
        (spoil_nothing, {"chunk_duration_s": 2.0, "virtual": False}, "cut differently"),
    ],
)
def test_a_cut_that_would_become_another_is_kept_until_it_is_to_be_made_anew(
    dataset: Path, spoil: Callable[[Path], None], settings: dict[str, Any], reason: str
) -> None:
    run(dataset)
    spoil(dataset)
    before = tree(dataset)
    planned = plan(dataset, **settings)
    assert only(planned).decision is ChunkDecision.KEEP
    assert reason in only(planned).reason
    assert any(f"c: {only(planned).reason}" in note for note in planned.notes("--again"))
    assert "c" not in {r.recording_id for r in planned.todo}
    run(dataset, **settings, pattern=("*/c.flac",))
    assert tree(dataset) == before
    assert only(plan(dataset, **settings, include_existing=True)).anew is not None
    run(dataset, **settings, include_existing=True)
    assert {d for d, _ in decisions(plan(dataset, **settings)).values()} == {ChunkDecision.SKIP}


@pytest.mark.parametrize("spoil", [remove_status, break_status])
def test_a_manifest_without_a_status_is_kept_and_gets_one(dataset: Path, spoil: Callable[[Path], None]) -> None:
    audio = dataset / "audio" / "north" / "c.flac"
    write_virtual_manifest(plan_chunks(audio, 0.7, 0.1), dataset / "manifests" / "c.csv", hash_chunks=False)
    status_path(dataset / "artifacts" / "chunks", "c").parent.mkdir(parents=True)
    status_path(dataset / "artifacts" / "chunks", "c").touch()
    spoil(dataset)
    before = tree(dataset)
    assert only(plan(dataset)).decision is ChunkDecision.ADOPT
    assert {row.recording_id for row in plan(dataset).rows()} == {"siteA_20230509_094500", "siteB_20230509_094500"}
    (outcome,) = run(dataset, pattern=("*/c.flac",))
    assert (outcome.chunks, outcome.error) == (4, None)
    assert tree(dataset).keys() - before.keys() <= {"artifacts/chunks/c/.chunk_status.json"}
    assert tree(dataset)["manifests/c.csv"] == before["manifests/c.csv"]
    status = read_chunk_status(status_path(dataset / "artifacts" / "chunks", "c"))
    assert status is not None
    assert (status.state, status.manifest_rows, status.manifest_path, status.audio_path, status.duration_s) == (
        *(ChunkState.COMPLETED, 4, "manifests/c.csv", "audio/north/c.flac"),
        None,
    )
    for settings in (ChunkSettings(dataset=dataset), ChunkSettings(dataset=dataset, salvage=True)):
        assert only(plan_dataset(settings, False)).decision is ChunkDecision.SKIP, "no lengths were asked for"
    assert only(plan(dataset)).decision is ChunkDecision.KEEP, "other lengths were"


def test_the_status_has_all_settings_of_the_cut(dataset: Path) -> None:
    run(dataset, min_chunk_s=0.0, overlap_s=0.25, pattern=("*/c.flac",))
    status = json.loads(status_path(dataset / "artifacts" / "chunks", "c").read_bytes())
    names = ("chunk_duration", "overlap", "min_chunk", "virtual", "hash_chunks")
    assert [status[name] for name in names] == [1.0, 0.25, 0.0, True, False]
    run(dataset, min_chunk_s=0.0, virtual=False, pattern=("siteA/*",))
    status = json.loads(status_path(dataset / "artifacts" / "chunks", "siteA_20230509_094500").read_bytes())
    assert [status[name] for name in names] == [1.0, 0.0, 0.0, False, True]
    # A tail that is shorter than the default's least is no reason to cut again.
    assert {r.decision for r in plan_dataset(ChunkSettings(dataset=dataset), False).recordings} == {
        ChunkDecision.SKIP,
        ChunkDecision.CHUNK,
    }


def test_manifests_are_found_at_any_depth_under_any_name_and_of_several_recordings(dataset: Path) -> None:
    run(dataset)
    folder = dataset / "manifests"
    (folder / "north").mkdir()
    (folder / "c.csv").rename(folder / "north" / "by hand.csv")
    site_a, site_b = folder / "siteA_20230509_094500.csv", folder / "siteB_20230509_094500.csv"
    (folder / "both.csv").write_text(site_a.read_text() + site_b.read_text().partition("\n")[2])
    site_a.unlink()
    site_b.unlink()
    assert {d for d, _ in decisions(plan(dataset)).values()} == {ChunkDecision.SKIP}
    # Cut anew, one is replaced where it is, and the other, which has more than its rows, is not.
    anew = {"include_existing": True, "chunk_duration_s": 2.0}
    found = decisions(plan(dataset, **anew))
    assert {name: decision for name, (decision, _) in found.items()} == {
        "c": ChunkDecision.CHUNK,
        "siteA_20230509_094500": ChunkDecision.KEEP,
        "siteB_20230509_094500": ChunkDecision.KEEP,
    }
    assert "both.csv lists other recordings too" in found["siteA_20230509_094500"][1]
    run(dataset, **anew)
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.csv")) == ["both.csv", "north/by hand.csv"]
    assert len(read_manifest(folder / "north" / "by hand.csv").chunks) == 1


def test_a_manifest_that_its_status_names_elsewhere_is_not_made_again(dataset: Path) -> None:
    run(dataset)
    (dataset / "elsewhere").mkdir()
    (dataset / "manifests" / "c.csv").rename(dataset / "elsewhere" / "c.csv")
    set_status(manifest_path="elsewhere/c.csv")(dataset)
    planned = only(plan(dataset))
    assert planned.decision is ChunkDecision.KEEP
    assert "name its folder with --manifest-dir" in planned.reason


def test_what_lost_its_manifest_is_not_cut_into_other_chunks(dataset: Path) -> None:
    run(dataset)
    remove_manifest(dataset)
    planned = only(plan(dataset, chunk_duration_s=2.0))
    assert (planned.decision, planned.reason) == (
        ChunkDecision.KEEP,
        "its manifest is missing; cut differently: chunks of 1 s, overlap 0 s",
    )


# The keys that another tool writes, which is not told of more; its WAVs are as long as whole ms are.
REFERENCE_KEYS = (
    *("recording_id", "audio_path", "manifest_path", "status", "started_at", "completed_at", "updated_at"),
    *("manifest_rows", "chunk_duration", "overlap", "error"),
)


def as_the_reference_chunks(dataset: Path, rate: int = 22050) -> Path:
    """Chunk `c` as another tool does: WAVs with a last one of any length, a manifest, and a status with its keys."""
    folder = dataset / "artifacts" / "chunks" / "c"
    folder.mkdir(parents=True)
    (dataset / "manifests").mkdir()
    lines = ["recording_id,chunk_id,source_path,start_ms,end_ms,overlap_ms,sha256,notes"]
    for start, end in ((0, 1000), (1000, 2000), (2000, 2500)):
        chunk = f"c_chunk_{start}_{end}"
        sf.write(folder / f"{chunk}.wav", np.zeros((end - start) * rate // 1000 - 1), rate)
        lines.append(f"c,{chunk},artifacts/chunks/c/{chunk}.wav,{start},{end},0,TODO_HASH,")
    (dataset / "manifests" / "c.csv").write_text("\n".join(lines) + "\n")
    values = {
        **dict.fromkeys(REFERENCE_KEYS),
        **{"recording_id": "c", "audio_path": "audio/north/c.flac", "manifest_path": "manifests/c.csv"},
        **{"status": "completed", "manifest_rows": 3, "chunk_duration": 1.0, "overlap": 0.0},
    }
    status_path(dataset / "artifacts" / "chunks", "c").write_text(json.dumps(values))
    return folder


@pytest.mark.parametrize("spoil", [spoil_nothing, remove_status, "a WAV is missing", "another name", "annex keys"])
def test_what_another_tool_chunked_is_kept(dataset: Path, spoil: Any) -> None:
    folder = as_the_reference_chunks(dataset)
    if spoil == "a WAV is missing":
        (folder / "c_chunk_1000_2000.wav").unlink()
    elif spoil == "another name":
        manifest = dataset / "manifests" / "c.csv"
        manifest.write_text(manifest.read_text().replace("/c/c_chunk", "/c/part"))
        for path in folder.glob("*.wav"):
            path.rename(path.with_name(path.name.replace("c_chunk", "part")))
    elif spoil == "annex keys":  # named after what the link of an annexed recording points to
        manifest = dataset / "manifests" / "c.csv"
        manifest.write_text(manifest.read_text().replace("c_chunk", "MD5E-s123--abc_chunk"))
        for path in folder.glob("*.wav"):
            path.rename(path.with_name(path.name.replace("c_chunk", "MD5E-s123--abc_chunk")))
    else:
        spoil(dataset)
    before = tree(dataset)
    for settings in ({}, {"chunk_duration_s": 60.0}, {"virtual": False}, {"hash_chunks": True}):
        planned = plan_dataset(ChunkSettings(dataset=dataset, pattern=("c.flac",), **settings), False)
        expected = ChunkDecision.ADOPT if spoil is remove_status else (ChunkDecision.SKIP, ChunkDecision.KEEP)
        assert only(planned).decision in expected
        assert only(planned).recording_id == "c"
        for recording in planned.todo:
            assert chunk_recording(recording, planned.order).error is None
        assert {name: data for name, data in tree(dataset).items() if name in before} == before
        if spoil is remove_status:
            remove_status(dataset)


def test_chunk_wavs_that_no_manifest_lists_are_left_alone(dataset: Path) -> None:
    folder = as_the_reference_chunks(dataset)
    remove_status(dataset)
    remove_manifest(dataset)
    wavs = tree(folder)
    run(dataset)
    assert {name: data for name, data in tree(folder).items() if name != ".chunk_status.json"} == wavs
    run(dataset, include_existing=True)
    assert [path.name for path in folder.iterdir()] == [".chunk_status.json"]


def test_what_becomes_of_the_old_results_is_said_before(dataset: Path) -> None:
    run(dataset, virtual=False)
    (note,) = plan(dataset, include_existing=True, pattern=("c.flac",)).notes("--again")
    assert note == (
        "1 recording is cut anew, and its manifest replaced. Of 2 chunks that are there, the new cut has all, and "
        "their results stay valid. 2 chunk WAVs are removed"
    )
    (note,) = plan(dataset, include_existing=True, chunk_duration_s=2.0, virtual=False).notes("--again")
    assert "Of 6 chunks that are there, the new cut does not have 6: their results stay where they are" in note
    assert note.endswith("6 chunk WAVs are removed")


def test_lengths_that_nobody_asked_for_are_not_compared(dataset: Path) -> None:
    run(dataset, chunk_duration_s=2.0, overlap_s=0.5)
    manifest = dataset / "manifests" / "c.csv"
    rows = manifest.read_text().splitlines()
    assert {r.decision for r in plan(dataset).recordings} == {ChunkDecision.KEEP}
    whole = plan_dataset(ChunkSettings(dataset=dataset), False)
    assert {r.decision for r in whole.recordings} == {ChunkDecision.SKIP}
    assert whole.notes("--again") == []
    manifest.write_text("\n".join(rows[:-1]) + "\n")
    left = only(plan_dataset(ChunkSettings(dataset=dataset), False))
    assert (left.decision, left.reason) == (
        ChunkDecision.KEEP,
        "its manifest has 1 chunk, and had 2 when it was written",
    )
