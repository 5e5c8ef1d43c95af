"""Reports that an earlier run did not make: made later, without analysing anything again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from badc.chunks.manifest import read_manifest
from badc.datasets.inference.plan import OrchestrationPlan, plan_orchestration, require_runnable
from badc.datasets.inference.recording import InferDecision
from badc.datasets.inference.settings import OrchestrateSettings
from badc.detections.result import ChunkResult, ResultStatus, result_path, write_result
from badc.telemetry.summary import RunState
from flows.run.reports import missing_reports


@pytest.fixture
def planned(make_dataset: Callable[..., Path]) -> Callable[[], OrchestrationPlan]:
    """Return a function that plans the reports of a dataset, of which A and B are complete and C has no output."""
    root = make_dataset("A", "B", "C")
    for name in "AB":
        for chunk in read_manifest(root / "manifests" / f"{name}.csv").chunks:
            write_result(
                result_path(root / "artifacts" / "infer", chunk), ChunkResult(chunk, "stub", ResultStatus.STUB)
            )
    settings = OrchestrateSettings(
        dataset=root, use_hawkears=False, pattern=("[AB]",), bundle=True, bundle_rollup=True, apply=True
    )

    def plan() -> OrchestrationPlan:
        made = plan_orchestration(settings)
        require_runnable(made)
        assert made.todo == []
        return made

    return plan


def test_what_is_complete_gets_the_reports_that_it_lacks(planned: Callable[[], OrchestrationPlan]) -> None:
    first = planned()
    assert first.counts() == {InferDecision.REPORT: 2}
    tables = first.settings.table_of("A").parent
    said: list[str] = []
    outcome = missing_reports(first, said.append)
    assert outcome is not None
    assert outcome.state is RunState.COMPLETED, outcome.reasons()
    assert said == ["Making the reports of 2 recordings analysed before"]
    assert all((tables / f"{name}_report.html").is_file() for name in "AB")
    board = tables / "aggregate_summary" / "station_summary.csv"
    assert board.is_file()

    assert planned().counts() == {InferDecision.SKIP: 2}
    assert missing_reports(planned(), said.append) is None, "nothing is missing"
    # As after an interruption between a page and the leaderboards.
    (tables / "A_report.html").unlink()
    board.unlink()
    assert [r.recording_id for r in planned().to_report] == ["A"]
    stopped = missing_reports(planned(), said.append, lambda: True)
    assert stopped is not None
    assert (stopped.state, stopped.not_begun, board.exists()) == (RunState.INTERRUPTED, ["A"], False)
    assert missing_reports(planned(), said.append) is not None
    board.unlink()
    assert missing_reports(planned(), said.append) is not None
    assert board.is_file()


def test_a_report_that_cannot_be_made_fails_its_recording_alone(planned: Callable[[], OrchestrationPlan]) -> None:
    made = planned()
    made.settings.table_of("A").mkdir(parents=True)
    outcome = missing_reports(made, lambda line: None)
    assert outcome is not None
    states = {r.recording_id: (r.state, bool(r.error)) for r in outcome.recordings}
    assert states == {"A": (RunState.FAILED, True), "B": (RunState.COMPLETED, False)}
    assert outcome.state is RunState.FAILED


def test_reports_older_than_the_results_are_made_again_but_not_in_git(planned: Callable[[], OrchestrationPlan]) -> None:
    first = planned()
    assert missing_reports(first, lambda line: None) is not None
    root = first.settings.root
    (chunk, *_) = read_manifest(root / "manifests" / "A.csv").chunks
    write_result(result_path(root / "artifacts" / "infer", chunk), ChunkResult(chunk, "stub", ResultStatus.STUB))
    assert [r.recording_id for r in planned().to_report] == ["A"]
    (root / ".git").mkdir()
    assert planned().to_report == []


def test_results_that_cannot_be_read_are_told_each_time(planned: Callable[[], OrchestrationPlan]) -> None:
    root = planned().settings.root
    (root / "artifacts" / "infer" / "A" / "damaged.json").write_text('{"chunk_id":')
    for left in (["A", "B"], ["A"]):
        made = planned()
        assert [r.recording_id for r in made.to_report] == left
        outcome = missing_reports(made, lambda line: None)
        assert outcome is not None
        assert outcome.state is RunState.FAILED
        assert "damaged.json" in outcome.reasons()[0]
