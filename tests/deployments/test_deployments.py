"""The deployments as a person uses them: a server made ready, a form filled in, a run cancelled."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.browser]

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs" / "images" if os.environ.get("BADC_TAKE_PICTURES") else None


@pytest.fixture(scope="module")
def environment(start_server_with_ui: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a lab with a server of its own, in which `deployments/up.sh` has been run twice."""
    home = tmp_path_factory.mktemp("lab")
    variables = os.environ | {"PREFECT_HOME": str(home), "PREFECT_API_URL": start_server_with_ui(home) + "/api"}
    said = []
    for limit in ("1", "5"):
        up = [ROOT / "deployments" / "up.sh", "--gpu-limit", limit]
        done = subprocess.run(up, env=variables, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert "made; runs that use GPUs at the same time: 1" in said[0]
    assert "is there, and keeps its limit" in said[1]
    return variables


@pytest.fixture(scope="module")
def worker(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[psutil.Process]:
    """A worker of the pool, in the checkout."""
    with (tmp_path_factory.mktemp("worker") / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "worker", "start", "--pool", "badc"],
            env=environment,
            cwd=ROOT,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    yield psutil.Process(process.pid)
    process.terminate()
    process.wait(60)


def api(environment: dict[str, str], path: str, **body: Any) -> Any:
    return httpx.post(f"{environment['PREFECT_API_URL']}/{path}", json=body, timeout=30).raise_for_status().json()


def state_of(environment: dict[str, str], run_id: str) -> str:
    answer = httpx.get(f"{environment['PREFECT_API_URL']}/flow_runs/{run_id}", timeout=30).raise_for_status().json()
    return str(answer["state"]["type"])


def wait_until(condition: Any, timeout_s: float = 120) -> float:
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < timeout_s, "what the test waits for did not happen"
        time.sleep(0.2)
    return time.monotonic() - begin


def test_up_made_everything_once(environment: dict[str, str]) -> None:
    names = {deployment["name"] for deployment in api(environment, "deployments/filter")}
    assert names == {"infer", "aggregate", "orchestrate", "pipeline", "report"}
    assert [pool["name"] for pool in api(environment, "work_pools/filter")] == ["badc"]
    assert [automation["name"] for automation in api(environment, "automations/filter")] == [
        "BADC: runs that died are marked Crashed"
    ]
    (limit,) = api(environment, "v2/concurrency_limits/filter")
    assert (limit["name"], limit["limit"]) == ("gpu", 1)


def test_a_run_is_started_from_the_form_and_cancelled(
    environment: dict[str, str],
    worker: psutil.Process,
    chromium: str,
    make_recording: Any,
    make_manifest: Any,
    fake: Any,
    tmp_path: Path,
) -> None:
    from playwright.sync_api import expect, sync_playwright

    manifest = make_manifest(make_recording(seconds=6))
    ids = {deployment["name"]: deployment["id"] for deployment in api(environment, "deployments/filter")}
    url = environment["PREFECT_API_URL"].removesuffix("/api")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 1300})
        page.goto(f"{url}/deployments/deployment/{ids['infer']}/run")
        expect(page.get_by_text("Use at most this many of the GPUs found")).to_be_visible(timeout=60_000)
        page.get_by_text("BirdNET 2.4", exact=True).click()
        expect(page.get_by_text("BirdNET: leave out detections below this confidence")).to_be_visible()
        if PICTURES is not None:
            page.screenshot(path=PICTURES / "prefect-form.png")
        page.get_by_text("A command", exact=True).click()
        boxes = page.locator("textarea:not([disabled])")
        boxes.nth(0).fill(str(manifest))
        boxes.nth(1).fill(fake("detector", "--seconds", 120))
        page.get_by_role("button", name="Submit").click()
        wait_until(lambda: api(environment, "flow_runs/filter"), 30)
        (run,) = api(environment, "flow_runs/filter")
        run_id = run["id"]
        browser.close()

    def logs() -> list[Path]:
        return list((ROOT / "data" / "telemetry" / "infer").glob(f"REC_{run_id[:8]}.jsonl"))

    try:
        wait_until(lambda: logs() or state_of(environment, run_id) in ("FAILED", "CRASHED"))
        runs = api(environment, "flow_runs/filter")
        assert logs(), [runs[0]["parameters"], *(log["message"][-1500:] for log in api(environment, "logs/filter"))]
        wait_until(lambda: b'"start"' in logs()[0].read_bytes())
        started = worker.children(recursive=True)
        assert len(started) >= 3
        api(environment, f"flow_runs/{run_id}/set_state", state={"type": "CANCELLING", "name": "Cancelling"})
        took_s = wait_until(
            lambda: state_of(environment, run_id) == "CANCELLED" and not any(map(psutil.Process.is_running, started)),
            40,
        )
        assert took_s < 20
        summary = orjson.loads(logs()[0].with_name(f"{logs()[0].name}.summary.json").read_bytes())
        assert summary["state"] == "interrupted"
        assert {job["status"] for job in summary["jobs"].values()} == {"not_run"}
    finally:
        for path in (ROOT / "data" / "telemetry" / "infer").glob(f"REC_{run_id[:8]}.jsonl*"):
            path.unlink()


def test_a_run_started_from_the_shell_is_completed(
    environment: dict[str, str],
    worker: psutil.Process,
    make_recording: Any,
    make_manifest: Any,
    fake: Any,
    tmp_path: Path,
) -> None:
    parameters = {
        "manifest": str(make_manifest(make_recording(seconds=3))),
        "runner": {"kind": "command", "runner_cmd": fake("detector")},
        "places": {"output_dir": str(tmp_path / "out"), "telemetry_log": str(tmp_path / "run.jsonl")},
    }
    words = ["deployment", "run", "infer/infer", "--params", orjson.dumps(parameters).decode()]
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", *words, "--watch"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((tmp_path / "out" / "REC").glob("*.json"))) == 3
