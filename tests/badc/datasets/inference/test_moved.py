"""A copy of a dataset without `.datalad` reads its own audio, and says where that is not what its manifests name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from badc.chunks.cutting import plan_chunks, write_virtual_manifest
from badc.datasets.chunking.plan import plan_dataset
from badc.datasets.chunking.recording import chunk_recording
from badc.datasets.chunking.settings import ChunkSettings
from badc.datasets.inference.plan import OrchestrationPlan, plan_orchestration
from badc.datasets.inference.settings import OrchestrateSettings
from badc.inference.plan import plan_inference
from badc.inference.settings import InferSettings


def plan(root: Path) -> OrchestrationPlan:
    return plan_orchestration(OrchestrateSettings(dataset=root, allow_partial_chunks=True, use_hawkears=False))


def test_a_copy_with_absolute_manifests_reads_its_own_audio_and_says_so(
    tmp_path: Path, make_audio: Callable[..., Path]
) -> None:
    root, copy = tmp_path / "ds", tmp_path / "copy"
    for name in "AB":
        audio = make_audio(f"ds/audio/{name}.wav", seconds=2)
        write_virtual_manifest(plan_chunks(audio, 1), root / "manifests" / f"{name}.csv", hash_chunks=False)
    assert f",{root}/audio/A.wav," in (root / "manifests" / "A.csv").read_text()
    assert plan(root).audio_notes == []
    shutil.copytree(root, copy)

    made = plan(copy)
    read = {
        chunk.audio and chunk.audio.path for r in made.todo for chunk in plan_inference(made.infer_settings(r)).todo
    }
    assert read == {copy / "audio" / "A.wav", copy / "audio" / "B.wav"}
    (note,) = plan(copy).audio_notes
    assert note.startswith(
        f"2 files of audio found in {copy}, where the dataset is now: {copy}/audio/A.wav, where the "
    )
    alone = plan_inference(InferSettings(manifest=copy / "manifests" / "A.csv"))
    assert {planned.audio.path for planned in alone.todo if planned.audio} == {copy / "audio" / "A.wav"}
    assert alone.audio_notes[0].startswith(f"1 file of audio found in {copy}, ")

    (copy / "audio" / "A.wav").unlink()
    _, outside = plan(copy).audio_notes
    assert outside == f"1 file of audio read from outside of {copy}, as the manifests say: {root}/audio/A.wav"
    (root / "audio").rename(tmp_path / "unmounted")
    (note,) = plan(root).audio_notes
    assert note == (
        f"the audio of 2 of 2 recordings to run is not where the manifests say, such as {root}/audio/A.wav: they will "
        "fail; mount its disk, or bring it back there"
    )


def test_results_of_a_single_run_name_the_dataset_that_a_relative_path_is_in(
    tmp_path: Path, make_audio: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_audio("ds/audio/A.wav", seconds=2)
    made = plan_dataset(ChunkSettings(dataset=tmp_path / "ds", chunk_duration_s=1), fetching=False)
    assert [chunk_recording(each, made.order).error for each in made.todo] == [None]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    run = plan_inference(InferSettings(manifest=tmp_path / "ds" / "manifests" / "A.csv"))

    assert run.todo[0].chunk.source_path == "audio/A.wav"
    assert run.order.dataset_root == tmp_path / "ds"
    assert run.order.output_dir == tmp_path / "elsewhere" / "artifacts" / "infer"
