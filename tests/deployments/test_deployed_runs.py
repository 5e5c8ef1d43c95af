"""Runs of the deployments, as a person starts, cancels and repeats them."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest

from badc.telemetry.events import EventStatus, read_events
from tests.conftest import ROOT, page_of_the_lab
from tests.deployments.conftest import Lab, WorkerScript, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.xdist_group("deployments")]

PICTURES = ROOT / "docs" / "images" if os.environ.get("BADC_TAKE_PICTURES") else None


@pytest.mark.long
def test_a_run_is_started_from_the_form_and_cancelled(
    lab: Lab,
    worker: psutil.Process,
    chromium: str,
    make_recording: Any,
    make_manifest: Any,
    fake: Any,
    tmp_path: Path,
) -> None:
    from playwright.sync_api import expect, sync_playwright

    manifest = make_manifest(make_recording(seconds=6))
    infer = lab.deployments()["infer"]["id"]
    before = lab.run_ids()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = page_of_the_lab(browser, viewport={"width": 1200, "height": 1300})
        page.goto(f"{lab.ui}/deployments/deployment/{infer}/run")
        expect(page.get_by_text("BirdNET 2.4", exact=True)).to_be_visible(timeout=60_000)
        # Groups that have defaults are folded.
        expect(page.get_by_text("Use at most this many of the GPUs found")).to_be_hidden()
        page.get_by_text("Workers", exact=True).click()
        expect(page.get_by_text("Use at most this many of the GPUs found")).to_be_visible()
        page.get_by_text("None", exact=True).nth(0).click()
        page.get_by_text("BirdNET 2.4", exact=True).click()
        expect(page.get_by_text("BirdNET and ONNX models: leave out detections below this confidence")).to_be_visible()
        if PICTURES is not None:
            page.screenshot(path=PICTURES / "prefect-form.png")
        page.get_by_text("A command", exact=True).click()
        # The page replaces its fields: what is filled in before it has is lost.
        expect(page.get_by_text("BirdNET and ONNX models: leave out detections below this confidence")).to_be_hidden()
        expect(page.get_by_text("Command to run on each chunk as CMD").first).to_be_visible()
        command = fake("detector", "--seconds", 120)
        boxes = page.locator("textarea:not([disabled])")
        boxes.nth(0).fill(str(manifest))
        boxes.nth(1).fill(command)
        expect(boxes.nth(0)).to_have_value(str(manifest))
        expect(boxes.nth(1)).to_have_value(command)
        page.get_by_role("button", name="Submit").click()
        expect(page.get_by_role("button", name="Submit")).to_have_count(0, timeout=60_000)  # or what the page says
        (run_id,) = lab.run_ids() - before
        browser.close()

    def logs() -> list[Path]:
        return list((ROOT / "data" / "telemetry" / "infer").glob(f"REC_{run_id[:8]}.jsonl"))

    try:
        wait_until(lambda: logs() or lab.state_of(run_id)["type"] in ("FAILED", "CRASHED"))
        assert logs(), [log["message"][-1500:] for log in lab.ask("logs/filter")]
        wait_until(lambda: b'"start"' in logs()[0].read_bytes())
        started = worker.children(recursive=True)
        assert len(started) >= 3
        assert cancelled_after_s(lab, run_id, started) < 60  # 14 to 20 where it was tried; the chunk would take 120
        summary = orjson.loads(logs()[0].with_name(f"{logs()[0].name}.summary.json").read_bytes())
        assert summary["state"] == "interrupted"
        assert {job["status"] for job in summary["jobs"].values()} == {"not_run"}
        assert "Traceback" not in lab.log_of(run_id)
    finally:
        for path in (ROOT / "data" / "telemetry" / "infer").glob(f"REC_{run_id[:8]}.jsonl*"):
            path.unlink()


def cancelled_after_s(lab: Lab, run_id: str, processes: list[psutil.Process]) -> float:
    """Cancel a run, and return the seconds until it is cancelled and its processes are gone."""
    lab.prefect("flow-run", "cancel", run_id)
    return wait_until(
        lambda: lab.state_of(run_id)["type"] == "CANCELLED" and not any(map(psutil.Process.is_running, processes)), 40
    )


@pytest.mark.long
@pytest.mark.parametrize("deployment", ["orchestrate", "pipeline"])
def test_a_run_of_a_whole_dataset_is_cancelled(
    lab: Lab, worker: psutil.Process, deployment: str, make_dataset: Any, make_recording: Any, fake: Any, tmp_path: Path
) -> None:
    root = make_dataset("A", "B", seconds=4) if deployment == "orchestrate" else make_recording("A.wav").parents[1]
    runner = {"kind": "command", "runner_cmd": fake("detector", "--seconds", 120)}
    given = {"dataset": {"root": str(root)}, "runner": runner, "workers": {"max_gpus": 0, "cpu_workers": 2}}
    # Longer than Prefect would wait before it kills the run.
    run_id = lab.start(f"{deployment}/{deployment}", chunks={"grace_period_s": 60}, **given)
    telemetry = root / "artifacts" / "telemetry" / "infer"

    def begun() -> list[Path]:
        return [log for log in telemetry.glob("*.jsonl") if b'"start"' in log.read_bytes()]

    wait_until(begun)
    log = begun()[0]  # either recording may have the workers first
    started = worker.children(recursive=True)
    assert cancelled_after_s(lab, run_id, started) < 60
    assert orjson.loads(log.with_name(f"{log.name}.summary.json").read_bytes())["state"] == "interrupted"
    attempts = [(event.status, event.details.get("error")) for event in read_events(log)]
    assert (EventStatus.FAILURE, "interrupted before it ended") in attempts
    assert not any("worker died" in (error or "") for _, error in attempts), "workers were left their grace period"


@pytest.mark.long
def test_a_run_started_from_the_shell_is_completed(
    lab: Lab, worker: psutil.Process, make_recording: Any, make_manifest: Any, fake: Any, tmp_path: Path
) -> None:
    parameters = {
        "manifest": str(make_manifest(make_recording(seconds=3))),
        "runner": {"kind": "command", "runner_cmd": fake("detector")},
        "places": {"output_dir": str(tmp_path / "out"), "telemetry_log": str(tmp_path / "run.jsonl")},
    }
    lab.prefect("deployment", "run", "infer/infer", "--params", orjson.dumps(parameters).decode(), "--watch")
    assert len(list((tmp_path / "out" / "REC").glob("*.json"))) == 3


@pytest.mark.long
@pytest.mark.parametrize("by", ["a person", "a person who wanted everything again", "Prefect"])
def test_a_run_that_failed_goes_on_where_it_was_when_it_is_retried(
    lab: Lab, worker: psutil.Process, by: str, make_dataset: Any, fake: Any, tmp_path: Path
) -> None:
    root = make_dataset("A", "B", seconds=4)
    # Fails at its first attempt at one chunk, and there is no other in this run.
    command = fake("detector", "--only", "A_chunk_2000", "--fail-times", 1, "--state", tmp_path / "state")
    given = {"dataset": {"root": str(root)}, "chunks": {"max_retries": 0, "keep_going": True}}
    runner = {"kind": "command", "runner_cmd": command}
    if by != "Prefect":
        if everything := by != "a person":
            before = {"kind": "command", "runner_cmd": fake("detector")}
            assert lab.ended(lab.start("orchestrate/orchestrate", runner=before, **given))["type"] == "COMPLETED"
        given["recordings"] = {"include_existing": everything}
        given["chunks"]["replace_results"] = everything  # the words of its command are others
        run_id = lab.start("orchestrate/orchestrate", runner=runner, **given)
        assert lab.ended(run_id)["type"] == "FAILED"
        assert "A_chunk_2000_3000: the command ended with exit code 3" in lab.state_of(run_id)["message"]
        lab.prefect("flow-run", "retry", run_id)
    else:
        variables = ("--job-variable", 'env={"PREFECT_FLOWS_DEFAULT_RETRIES": "1"}')
        run_id = lab.start("orchestrate/orchestrate", *variables, runner=runner, **given)
    wait_until(lambda: lab.state_of(run_id)["type"] == "COMPLETED")
    assert "Traceback" not in lab.log_of(run_id)
    attempts = {path.name: len(path.read_text().splitlines()) for path in (tmp_path / "state").iterdir()}
    assert attempts == {f"{name}_chunk_{n}_{n + 1000}": 1 for name in "AB" for n in range(0, 4000, 1000)} | {
        "A_chunk_2000_3000": 2
    }


@pytest.mark.long
@pytest.mark.parametrize("deployment", ["infer", "orchestrate", "pipeline"])
def test_a_run_is_suspended_and_resumed(
    lab: Lab, worker: psutil.Process, deployment: str, make_dataset: Any, fake: Any, tmp_path: Path
) -> None:
    root = make_dataset("A", seconds=12)
    runner = {"kind": "command", "runner_cmd": fake("detector", "--seconds", 1.5, "--state", tmp_path / "state")}
    given = {"runner": runner, "workers": {"max_gpus": 0, "cpu_workers": 1}}
    log = root / "artifacts" / "telemetry" / "infer" / "A.jsonl"
    if deployment == "infer":
        places = {"telemetry_log": str(log), "dataset_root": str(root)}
        run_id = lab.start("infer/infer", manifest=str(root / "manifests" / "A.csv"), places=places, **given)
    else:
        run_id = lab.start(f"{deployment}/{deployment}", dataset={"root": str(root)}, **given)
    wait_until(lambda: log.exists() and log.read_bytes().count(b'"success"') >= 2)
    started = worker.children(recursive=True)
    # As the button in Prefect's UI does it.
    in_an_hour = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    details = {"pause_timeout": in_an_hour, "pause_reschedule": True}
    wanted = {"type": "PAUSED", "name": "Suspended", "state_details": details}
    lab.ask(f"flow_runs/{run_id}/set_state", state=wanted)
    wait_until(lambda: not any(map(psutil.Process.is_running, started)), 40)
    assert lab.state_of(run_id)["name"] == "Suspended"
    summary = log.with_name(f"{log.name}.summary.json")
    assert orjson.loads(summary.read_bytes())["state"] == "interrupted"
    done = {path.stem for path in (root / "artifacts" / "infer" / "A").glob("*.json")}
    assert 2 <= len(done) < 12
    assert "Traceback" not in lab.log_of(run_id)

    lab.http.post(f"{lab.api}/flow_runs/{run_id}/resume", json={}).raise_for_status()
    assert lab.ended(run_id)["type"] == "COMPLETED"
    assert orjson.loads(summary.read_bytes())["state"] == "completed"
    attempts = {path.name: len(path.read_text().splitlines()) for path in (tmp_path / "state").iterdir()}
    assert len(attempts) == 12
    assert {name for name, number in attempts.items() if number > 1} & done == set(), "what was done is not done again"
    unended = [run["name"] for run in lab.ask("flow_runs/filter") if run["state"]["type"] == "RUNNING"]
    assert unended == []


@pytest.mark.long
@pytest.mark.parametrize("then", ["goes on", "is cancelled"])
def test_a_run_whose_worker_is_killed(
    lab: Lab,
    worker: psutil.Process,
    worker_script: WorkerScript,
    then: str,
    make_dataset: Any,
    fake: Any,
    tmp_path: Path,
) -> None:
    root = make_dataset("A", seconds=12)
    runner = {"kind": "command", "runner_cmd": fake("detector", "--seconds", 2, "--state", tmp_path / "state")}
    given = {"dataset": {"root": str(root)}, "runner": runner, "workers": {"max_gpus": 0, "cpu_workers": 1}}
    run_id = lab.start("orchestrate/orchestrate", **given)
    log = root / "artifacts" / "telemetry" / "infer" / "A.jsonl"
    wait_until(lambda: log.exists() and b'"success"' in log.read_bytes())
    started = worker.children(recursive=True)
    worker.kill()
    worker_script.ended()
    worker_script.worker()  # another one, which leaves the run to itself
    if then == "goes on":
        assert lab.ended(run_id)["type"] == "COMPLETED"
    else:
        assert cancelled_after_s(lab, run_id, started) < 60
    summary = orjson.loads(log.with_name(f"{log.name}.summary.json").read_bytes())
    assert summary["state"] == ("completed" if then == "goes on" else "interrupted")
    wait_until(lambda: not any(map(psutil.Process.is_running, started)), 40)
    attempts = {path.name: len(path.read_text().splitlines()) for path in (tmp_path / "state").iterdir()}
    assert set(attempts.values()) == {1}, "no chunk was begun twice"
    assert then != "goes on" or len(attempts) == 12


@pytest.mark.long
@pytest.mark.parametrize("deployment", ["orchestrate", "pipeline"])
def test_a_run_of_a_dataset_that_another_one_has_is_cancelled(
    lab: Lab, worker: psutil.Process, deployment: str, make_dataset: Any, fake: Any
) -> None:
    root = make_dataset("A", "B", "C", seconds=3)
    dataset = {"root": str(root)}
    first_two = {("pattern" if deployment == "orchestrate" else "infer_pattern"): ["[AB]*"]}
    given = {
        "runner": {"kind": "command", "runner_cmd": fake("detector", "--seconds", 12)},
        "workers": {"max_gpus": 0, "cpu_workers": 1},
    }
    first = lab.start(f"{deployment}/{deployment}", dataset=dataset, recordings=first_two, **given)
    telemetry = root / "artifacts" / "telemetry" / "infer"
    wait_until(lambda: any(b'"start"' in log.read_bytes() for log in telemetry.glob("*.jsonl")))
    second = lab.start("orchestrate/orchestrate", dataset=dataset, **given)
    others = lab.start("orchestrate/orchestrate", dataset=dataset, recordings={"pattern": ["C*"]}, **given)
    state = lab.ended(second)
    assert state["type"] == "CANCELLED"
    assert "another run is to write the outputs of A and 1 more recording" in state["message"]
    for other in (first, others):
        assert lab.ended(other, 240)["type"] == "COMPLETED"


@pytest.mark.long
def test_tables_and_reports_say_what_they_made_and_where(
    lab: Lab, worker: psutil.Process, chromium: str, make_dataset: Any, fake: Any, tmp_path: Path
) -> None:
    from playwright.sync_api import expect, sync_playwright

    root = make_dataset("A")
    runner = {"kind": "command", "runner_cmd": fake("detector")}
    given = {"dataset": {"root": str(root)}, "runner": runner}
    assert lab.ended(lab.start("orchestrate/orchestrate", **given))["type"] == "COMPLETED"
    table = tmp_path / "made" / "detections.parquet"
    tables = {"output": str(table.with_suffix(".csv")), "parquet": str(table)}
    state = lab.ended(lab.start("aggregate/aggregate", detections_dir=str(root / "artifacts" / "infer"), tables=tables))
    assert (state["type"], state["message"]) == (
        "COMPLETED",
        "3 detections in 3 chunks, 0 of them without an output",
    )
    state = lab.ended(lab.start("report/report", parquet=str(table), contents={"no_clips": True}))
    assert state["type"] == "COMPLETED"
    page = table.with_name("detections_report.html")
    assert page.is_file()
    artifacts = lab.ask("artifacts/filter")
    assert any(table.as_uri() in found["data"] for found in artifacts if found["key"] == "aggregate-infer")
    (report,) = (found for found in artifacts if found["key"] == "report-made-detections")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        opened = page_of_the_lab(browser)
        opened.goto(f"{lab.ui}/artifacts/artifact/{report['id']}")
        expect(opened.get_by_role("link", name=str(page))).to_have_attribute("href", page.as_uri(), timeout=60_000)
        browser.close()


@pytest.mark.long
@pytest.mark.parametrize(
    ("deployment", "parameters", "said"),
    [
        ("infer", {"manifest": "/nowhere/REC.csv", "runner": {"kind": "stub"}}, "/nowhere/REC.csv: no such manifest"),
        ("orchestrate", {"dataset": {"block": "none"}, "runner": {"kind": "stub"}}, "none: no such block"),
        ("aggregate", {"detections_dir": "/nowhere"}, "/nowhere"),
        ("report", {"parquet": "/nowhere/table.parquet"}, "no such table of detections"),
    ],
)
def test_a_request_that_is_wrong_fails_with_a_clear_error(
    lab: Lab, worker: psutil.Process, deployment: str, parameters: dict[str, Any], said: str
) -> None:
    run_id = lab.start(f"{deployment}/{deployment}", **parameters)
    state = lab.ended(run_id)
    assert state["type"] == "FAILED"
    assert said in state["message"]
    assert "Traceback" not in lab.log_of(run_id)
