"""Datasets in clones that lack the content of manifests, statuses, results and summaries: with real git-annex."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from badc.chunks.manifest import read_manifest
from badc.chunks.status import ChunkState, ChunkStatus, status_path, write_chunk_status
from badc.datasets.attributes import add_attributes
from badc.datasets.inference.elsewhere import content_notes, plan_with_content
from badc.datasets.inference.plan import OrchestrationPlan, plan_orchestration
from badc.datasets.inference.recording import InferDecision
from badc.datasets.inference.scripts import datalad_lines
from badc.datasets.inference.settings import OrchestrateSettings
from badc.detections.aggregate import aggregate
from badc.detections.result import ChunkResult, ResultStatus, result_path, write_result
from badc.detections.settings import AggregateSettings
from badc.errors import RequestError
from badc.inference.plan import plan_inference
from badc.system.annex import ContentElsewhereError, content_is_elsewhere
from badc.telemetry.summary import Job, JobStatus, RunState, RunSummary, summary_path, write_summary
from tests.conftest import shell_variables

pytestmark = pytest.mark.datalad
Cloned = Callable[..., Path]
DETECTOR = shlex.join([sys.executable, str(Path(__file__).parents[3] / "fakes" / "detector.py")])


def shell(line: str) -> None:
    """Run a line as a person pastes it."""
    done = subprocess.run(["sh", "-c", line], env=shell_variables(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def settings(root: Path, **others: object) -> OrchestrateSettings:
    values = {"runner_cmd": DETECTOR, "resume_completed": True, "max_gpus": 0}
    return OrchestrateSettings.model_validate({"dataset": root, **values, **others})


def plan(root: Path, **others: object) -> OrchestrationPlan:
    return plan_orchestration(settings(root, **others))


@pytest.fixture
def cloned(datalad_dataset: Path, tmp_path: Path) -> Cloned:
    """Return a function that makes results of the dataset's recording, saves all of it, and returns a clone."""

    def make(kind: str = "locked", chunks: int = 3) -> Path:
        root = datalad_dataset
        with (root / ".gitattributes").open("a") as stream:
            stream.write("*.csv annex.largefiles=anything\n")
        status = ChunkStatus("REC", "audio/REC.wav", "manifests/REC.csv", ChunkState.COMPLETED)
        write_chunk_status(status_path(root / "artifacts" / "chunks", "REC"), status)
        wanted = plan(root)
        (recording,) = wanted.recordings
        order = plan_inference(wanted.infer_settings(recording)).order
        summary = RunSummary(str(recording.log), str(recording.manifest), "custom", "", "", RunState.INTERRUPTED)
        for chunk in read_manifest(recording.manifest, root).chunks[:chunks]:
            made = ChunkResult(chunk, "custom", ResultStatus.NO_DETECTIONS, settings=order.made_with)
            write_result(result_path(order.output_dir, chunk), made)
            summary.jobs[chunk.chunk_id] = Job("REC", JobStatus.SUCCESS)
        recording.log.parent.mkdir(parents=True)
        write_summary(summary_path(recording.log), summary)
        (root / "manifests" / "REC.csv").write_bytes((root / "manifests" / "REC.csv").read_bytes() + b"\n")
        shell(f"datalad -C '{root}' save -m results")
        if kind == "unlocked":
            shell(f"cd '{root}' && git annex unlock --quiet . && git commit -qm unlocked")
        clone = tmp_path / "clone"
        shell(f"git clone -q '{root}' '{clone}' && cd '{clone}' && git annex init -q clone")
        if kind == "adjusted":
            shell(f"cd '{clone}' && git annex adjust --quiet --unlock")
        return clone

    return make


@pytest.mark.parametrize(
    "kind", ["locked", *(pytest.param(kind, marks=pytest.mark.long) for kind in ("unlocked", "adjusted"))]
)
def test_a_clone_is_planned_and_what_is_done_is_not_done_again(cloned: Cloned, kind: str) -> None:
    root = cloned(kind)
    assert content_is_elsewhere(root / "manifests" / "REC.csv")
    (recording,) = (before := plan(root)).recordings
    assert recording.decision is InferDecision.NOT_HERE
    line = f"`datalad -C {root} get manifests/REC.csv`"
    assert line in recording.reason
    with pytest.raises(RequestError, match=r"get manifests/REC\.csv"):
        before.require_complete()

    told: list[str] = []
    (recording,) = (made := plan_with_content(settings(root), told.append)).recordings
    assert told == ["1 manifest or chunk status fetched"]
    assert (recording.decision, recording.done, recording.elsewhere) == (InferDecision.SKIP, 3, 3)
    assert recording.reason.startswith("done, content elsewhere: all outputs")
    elsewhere, attributes = content_notes(made)
    assert elsewhere.startswith("3 outputs are done, content elsewhere")
    assert f"`badc data attributes {root}`" in attributes

    wanted = AggregateSettings(detections_dir=root / "artifacts" / "infer", output=root / "t.csv")
    with pytest.raises(ContentElsewhereError, match="3 files is not here") as refused:
        aggregate(wanted)
    assert not (root / "t.csv").exists()
    shell(str(refused.value).split("`")[1])
    assert (aggregate(wanted).files, plan(root).recordings[0].reason) == (3, "complete: every chunk has a valid output")


def test_what_is_asked_for_again_does_not_replace_results_that_cannot_be_read(cloned: Cloned) -> None:
    root = cloned()
    shell(f"datalad -C '{root}' get manifests artifacts/chunks")
    (recording,) = (again := plan(root, include_existing=True)).recordings
    assert recording.decision is InferDecision.REFUSE
    with pytest.raises(RequestError, match="no result is replaced unasked"):
        again.require_possible()


@pytest.mark.long
def test_a_chunk_status_that_is_elsewhere_is_fetched_to_decide(cloned: Cloned) -> None:
    root = cloned(chunks=2)
    shell(f"datalad -C '{root}' get manifests")
    (recording,) = plan(root).recordings
    assert (recording.decision, recording.chunk_status) == (InferDecision.NOT_HERE, "not here")
    assert "get artifacts/chunks/REC/.chunk_status.json`" in recording.reason
    (recording,) = plan_with_content(settings(root), lambda line: None).recordings
    assert (recording.decision, recording.done, recording.elsewhere) == (InferDecision.RESUME, 2, 2)


@pytest.mark.long
def test_a_printed_line_fetches_what_it_resumes_from(cloned: Cloned, prefect_api: str) -> None:
    root = cloned(chunks=2)
    shell(f"datalad -C '{root}' get manifests artifacts/chunks")
    (line,) = datalad_lines(plan(root, cpu_workers=1))
    assert "--input artifacts/infer/REC " in line
    assert "--input artifacts/telemetry/infer/REC.jsonl.summary.json" in line
    before = {path.name: os.readlink(path) for path in (root / "artifacts" / "infer" / "REC").iterdir()}  # noqa: PTH115
    shell(line)
    (recording,) = plan(root).recordings
    assert (recording.decision, recording.done, recording.elsewhere) == (InferDecision.SKIP, 3, 0)
    after = {path.name: os.readlink(path) for path in (root / "artifacts" / "infer" / "REC").iterdir()}  # noqa: PTH115
    assert before.items() < after.items()


def test_attributes_keep_small_files_in_git_and_the_users_lines(datalad_dataset: Path) -> None:
    root = datalad_dataset
    before = (root / ".gitattributes").read_text()
    added = add_attributes(root)
    assert [line.split()[0] for line in added] == [
        ".chunk_status.json",
        ".badc.toml",
        "*.jsonl",
        "*.jsonl.summary.json",
    ]
    assert (root / ".gitattributes").read_text() == before + "".join(f"{line}\n" for line in added)
    assert add_attributes(root) == [], "it says all of it already; of CSVs the user's own line does"
    log = root / "artifacts" / "telemetry" / "infer" / "REC.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text("{}\n")
    summary_path(log).write_text('{"jobs": {}}\n' * 100_000)
    shell(f"datalad -C '{root}' save -m more")
    assert not log.is_symlink()
    assert summary_path(log).is_symlink(), "large ones stay in git-annex"


def test_attributes_are_for_repositories(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="datalad create"):
        add_attributes(tmp_path)
