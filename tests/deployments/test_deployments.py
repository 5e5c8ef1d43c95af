"""The deployments as a person uses them: a server made ready, a form filled in, a run cancelled, and one that dies."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.browser, pytest.mark.xdist_group("deployments")]

ROOT = Path(__file__).parents[2]
DEAD_RUNS = "BADC: runs that died are marked Crashed"
PICTURES = ROOT / "docs" / "images" if os.environ.get("BADC_TAKE_PICTURES") else None


@pytest.fixture(scope="module")
def environment(start_server_with_ui: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a lab with a server of its own, in which `deployments/up.sh` has been run."""
    home = tmp_path_factory.mktemp("lab")
    variables = os.environ | {"PREFECT_HOME": str(home), "PREFECT_API_URL": start_server_with_ui(home) + "/api"}
    assert "made; runs that use GPUs at the same time: 1" in up(variables)
    return variables


def up(environment: dict[str, str], *words: str) -> str:
    command = [ROOT / "deployments" / "up.sh", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout


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


def change(environment: dict[str, str], path: str, **body: Any) -> None:
    httpx.patch(f"{environment['PREFECT_API_URL']}/{path}", json=body, timeout=30).raise_for_status()


def state_of(environment: dict[str, str], run_id: str) -> str:
    answer = httpx.get(f"{environment['PREFECT_API_URL']}/flow_runs/{run_id}", timeout=30).raise_for_status().json()
    return str(answer["state"]["type"])


def wait_until(condition: Any, timeout_s: float = 120) -> float:
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < timeout_s, "what the test waits for did not happen"
        time.sleep(0.2)
    return time.monotonic() - begin


def deployments(environment: dict[str, str]) -> dict[str, Any]:
    return {deployment["name"]: deployment for deployment in api(environment, "deployments/filter")}


def test_up_made_everything(environment: dict[str, str]) -> None:
    assert set(deployments(environment)) == {"infer", "aggregate", "orchestrate", "nightly", "pipeline", "report"}
    assert [pool["name"] for pool in api(environment, "work_pools/filter")] == ["badc"]
    assert [automation["name"] for automation in api(environment, "automations/filter")] == [DEAD_RUNS]
    (limit,) = api(environment, "v2/concurrency_limits/filter")
    assert (limit["name"], limit["limit"]) == ("gpu", 1)


def test_up_again_keeps_what_an_operator_changed(environment: dict[str, str], chromium: str) -> None:
    nightly = deployments(environment)["nightly"]
    (example,) = nightly["schedules"]
    switch_on_in_the_ui(environment, chromium, nightly["id"])
    parameters = nightly["parameters"] | {"dataset": {"block": "coast"}}
    change(environment, f"deployments/{nightly['id']}", parameters=parameters)
    own = {"schedule": {"interval": 7 * 86_400}, "active": True, "parameters": {"runner": {"kind": "stub"}}}
    address = f"{environment['PREFECT_API_URL']}/deployments/{nightly['id']}/schedules"
    httpx.post(address, json=[own], timeout=30).raise_for_status()
    (dead_runs,) = api(environment, "automations/filter")
    change(environment, f"automations/{dead_runs['id']}", enabled=False)
    try:
        said = up(environment, "--gpu-limit", "5")
        after = deployments(environment)["nightly"]
        (automation,) = api(environment, "automations/filter")
    finally:
        change(environment, f"automations/{dead_runs['id']}", enabled=True)
        for schedule in deployments(environment)["nightly"]["schedules"]:
            httpx.delete(f"{address}/{schedule['id']}", timeout=30).raise_for_status()
    assert "is there, and keeps its limit" in said
    assert f"{DEAD_RUNS} (is there, and stays switched off)" in said
    assert automation["enabled"] is False
    assert after["parameters"] == parameters
    kept = {schedule["slug"]: schedule for schedule in after["schedules"]}
    assert set(kept) == {"nightly", None}
    assert all(schedule["active"] for schedule in after["schedules"])
    assert kept["nightly"]["schedule"] == example["schedule"]
    assert kept[None]["schedule"]["interval"] == own["schedule"]["interval"]
    assert kept[None]["parameters"] == own["parameters"]


def switch_on_in_the_ui(environment: dict[str, str], chromium: str, deployment: str) -> None:
    from playwright.sync_api import expect, sync_playwright

    url = environment["PREFECT_API_URL"].removesuffix("/api")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.goto(f"{url}/deployments/deployment/{deployment}")
        switch = page.get_by_role("switch")
        expect(switch).to_be_visible(timeout=60_000)
        switch.click()
        wait_until(lambda: all(s["active"] for s in deployments(environment)["nightly"]["schedules"]), 20)
        browser.close()


@pytest.fixture
def messages(environment: dict[str, str]) -> Iterator[list[str]]:
    """What the lab's webhook was sent; `deployments/up.sh` has been told of it."""
    received: list[str] = []

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

    server = HTTPServer(("127.0.0.1", 0), Webhook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    save = (
        "from prefect.blocks.notifications import CustomWebhookNotificationBlock as Webhook; "
        f"Webhook(name='lab', url='http://127.0.0.1:{server.server_port}', "
        "json_data={'subject': '{{subject}}', 'text': '{{body}}'}).save('lab')"
    )
    subprocess.run([sys.executable, "-c", save], env=environment, check=True, timeout=60)
    up(environment, "--message-block", "custom-webhook/lab")
    yield received
    server.shutdown()


def test_a_run_that_was_killed_is_marked_crashed_and_a_message_says_so(
    environment: dict[str, str], messages: list[str], make_dataset: Any, fake: Any
) -> None:
    root = make_dataset("A")
    words = ["infer", "orchestrate", root, "--apply", "--cpu-workers", "1", "--max-gpus", "0"]
    words += ["--runner-cmd", fake("detector", "--seconds", 600)]
    run = subprocess.Popen(
        [Path(sys.executable).with_name("badc"), *words],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    log = root / "artifacts" / "telemetry" / "infer" / "A.jsonl"
    wait_until(lambda: log.exists() and b'"start"' in log.read_bytes())
    (run_id,) = [each["id"] for each in of_flow(environment, "orchestrate")]
    assert state_of(environment, run_id) == "RUNNING"
    # It has to be known to live before it can be noticed to be dead.
    wait_until(lambda: heartbeats_of(environment, run_id), 60)
    run.kill()
    run.wait(30)
    assert wait_until(lambda: state_of(environment, run_id) == "CRASHED", 200) > 30
    wait_until(lambda: messages, 30)
    assert f"orchestrate {root.name}: Crashed" in messages[0]
    assert "No heartbeat came any more" in messages[0]


def of_flow(environment: dict[str, str], flow: str) -> list[Any]:
    """Flow runs of a flow that were started, newest first."""
    begun = {"state": {"type": {"not_any_": ["SCHEDULED"]}}}
    return list(api(environment, "flow_runs/filter", flows={"name": {"any_": [flow]}}, flow_runs=begun))


def heartbeats_of(environment: dict[str, str], run_id: str) -> int:
    wanted = {
        "event": {"name": ["prefect.flow-run.heartbeat"]},
        "any_resource": {"id": [f"prefect.flow-run.{run_id}"]},
    }
    return len(api(environment, "events/filter", filter=wanted)["events"])


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
    infer = deployments(environment)["infer"]["id"]
    url = environment["PREFECT_API_URL"].removesuffix("/api")
    before = {run["id"] for run in api(environment, "flow_runs/filter")}

    def new_runs() -> list[str]:
        return [run["id"] for run in api(environment, "flow_runs/filter") if run["id"] not in before]

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 1300})
        page.goto(f"{url}/deployments/deployment/{infer}/run")
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
        wait_until(new_runs, 30)
        (run_id,) = new_runs()
        browser.close()

    def logs() -> list[Path]:
        return list((ROOT / "data" / "telemetry" / "infer").glob(f"REC_{run_id[:8]}.jsonl"))

    try:
        wait_until(lambda: logs() or state_of(environment, run_id) in ("FAILED", "CRASHED"))
        assert logs(), [log["message"][-1500:] for log in api(environment, "logs/filter")]
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
