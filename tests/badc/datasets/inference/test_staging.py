"""Copies of audio on a disk of the machine: read in place of the original, which alone is named; then gone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from badc.datasets.inference.settings import OrchestrateSettings
from badc.datasets.inference.staging import Stage
from badc.detections.result import result_path
from badc.errors import RequestError
from badc.inference.plan import InferPlan, plan_inference
from badc.inference.settings import InferSettings
from badc.inference.worker import infer_chunks
from badc.system.scratch import MARKER


@pytest.fixture
def plan(make_recording, make_manifest, fake, tmp_path: Path) -> Callable[[], InferPlan]:
    """Return a function that plans the run of a recording of two chunks."""
    manifest = make_manifest(make_recording("REC_20260101_050000.wav", 2))

    def make() -> InferPlan:
        places = {"output_dir": tmp_path / "out", "telemetry_log": tmp_path / "run.jsonl"}
        return plan_inference(InferSettings(manifest=manifest, runner_cmd=fake("detector"), **places))

    return make


def analysed(plan: InferPlan) -> list[bytes]:
    """Run all chunks, and return the results without what is of one moment."""
    ended = infer_chunks(plan.todo, plan.order, lambda attempt: None)
    assert [attempt.ok for attempt in ended] == [True, True], ended
    paths = [result_path(plan.order.output_dir, planned.chunk) for planned in plan.todo]
    return [path.read_bytes() for path in paths]


def test_chunks_are_read_from_the_copy_and_results_are_the_same(plan, tmp_path: Path) -> None:
    planned, said = plan(), []
    expected = analysed(planned)
    audio = planned.todo[0].audio.path
    stage = Stage(tmp_path / "node" / "scratch")
    with stage.of(planned, said.append) as staged:
        copies = {each.audio.file for each in staged.todo}
        assert {copy.name for copy in copies} == {audio.name}
        hidden = audio.rename(tmp_path / "hidden.wav")
        assert analysed(staged) == expected
        hidden.rename(audio)
    assert not any(copy.exists() for copy in copies)
    assert analysed(staged) == expected, "without its copy, the original is read"
    stage.close()
    assert not list((tmp_path / "node" / "scratch").iterdir())
    assert said == []


def test_a_machine_may_clear_the_folder_of_the_copies(plan, tmp_path: Path) -> None:
    planned, said = plan(), []
    node = tmp_path / "node"
    stage = Stage(node)
    with stage.of(planned, said.append) as staged:
        shutil.rmtree(node)
        analysed(staged)
    with stage.of(planned, said.append) as staged:
        assert all(each.audio.file.is_relative_to(node) for each in staged.todo)
    assert said == []
    shutil.rmtree(node)
    node.write_text("in the way")
    with stage.of(planned, said.append) as staged:
        assert staged is planned
    stage.close()
    (line,) = said
    assert line.endswith("no copy can be made there (File exists); the audio is read where it is")


def test_a_copy_without_room_is_said_and_not_made(plan, tmp_path: Path) -> None:
    planned, said = plan(), []
    os.truncate(planned.todo[0].audio.path, shutil.disk_usage(tmp_path).free)
    stage = Stage(tmp_path)
    with stage.of(planned, said.append) as staged:
        assert [each.audio.file for each in staged.todo] == [each.audio.path for each in planned.todo]
    stage.close()
    (line,) = said
    assert line.startswith("no room for a copy of REC_20260101_050000.wav in ")
    assert line.endswith("it is read where it is")


def test_no_copy_is_finished_for_a_run_that_is_stopped(plan, tmp_path: Path) -> None:
    planned = plan()
    stage = Stage(tmp_path / "node", stopped=lambda: True)
    with stage.of(planned, print) as staged:
        assert staged.todo == planned.todo
    stage.close()


def test_what_a_killed_run_left_goes_with_the_next_one(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from badc.datasets.inference.staging import Stage; "
    code += "s = Stage(Path(sys.argv[1])); print('here', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as killed:
        assert killed.stdout.readline() == b"here\n"
        killed.send_signal(signal.SIGKILL)
    (left,) = tmp_path.glob(f"*/{MARKER}")
    stage = Stage(tmp_path)
    assert not left.exists()
    stage.close()


def test_a_folder_for_copies_is_on_the_machine_of_the_workers(tmp_path: Path) -> None:
    for others in (
        {"scheduler": "tcp://host:8786"},
        {"slurm_dask": tmp_path / "job.sh"},
        {"slurm_script": tmp_path / "a.sh", "slurm_stage": True},
    ):
        with pytest.raises((ValueError, RequestError), match="--stage-dir"):
            OrchestrateSettings(dataset=tmp_path, stage_dir=tmp_path, **others)
    with pytest.raises((ValueError, RequestError), match="--slurm-stage is for --slurm-script"):
        OrchestrateSettings(dataset=tmp_path, slurm_dask=tmp_path / "job.sh", slurm_stage=True)
