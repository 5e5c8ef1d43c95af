"""The automations: a run that dies is marked Crashed, and messages reach the lab's webhook."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import ROOT
from tests.deployments.conftest import Lab, wait_until

TABLES = ("summary.csv", "summary_coverage.csv", "detections.parquet", "detections_coverage.parquet")

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.browser, pytest.mark.xdist_group("deployments")]


@pytest.fixture
def messages(lab: Lab) -> Iterator[list[str]]:
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
        "json_data={'subject': '{{subject}}', 'text': '{{body}}'}).save('lab', overwrite=True)"
    )
    subprocess.run([sys.executable, "-c", save], env=lab.environment, check=True, timeout=60)
    before = {automation["id"] for automation in lab.ask("automations/filter")}
    lab.up("--message-block", "custom-webhook/lab")
    yield received
    server.shutdown()
    for automation in lab.ask("automations/filter"):
        if automation["id"] not in before:
            lab.http.delete(f"{lab.api}/automations/{automation['id']}").raise_for_status()


def test_a_run_that_was_killed_is_marked_crashed_and_a_message_says_so(
    lab: Lab, messages: list[str], make_dataset: Any, fake: Any
) -> None:
    root = make_dataset("A")
    words = ["infer", "orchestrate", root, "--apply", "--cpu-workers", "1", "--max-gpus", "0"]
    words += ["--runner-cmd", fake("detector", "--seconds", 600)]
    run = subprocess.Popen(
        [Path(sys.executable).with_name("badc"), *words],
        env=lab.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    log = root / "artifacts" / "telemetry" / "infer" / "A.jsonl"
    wait_until(lambda: log.exists() and b'"start"' in log.read_bytes())
    (run_id,) = [each["id"] for each in of_flow(lab, "orchestrate")]
    assert lab.state_of(run_id)["type"] == "RUNNING"
    # It has to be known to live before it can be noticed to be dead.
    wait_until(lambda: heartbeats_of(lab, run_id), 60)
    run.kill()
    run.wait(30)
    assert wait_until(lambda: lab.state_of(run_id)["type"] == "CRASHED", 200) > 30
    wait_until(lambda: messages, 30)
    assert f"orchestrate {root.name}: Crashed" in messages[0]
    assert "No heartbeat came any more" in messages[0]


def test_a_silent_worker_sends_a_message(lab: Lab, messages: list[str]) -> None:
    emit = (
        "from prefect import flow; from tasks.silent_workers import SILENT, tell_of_worker\n"
        "@flow(name='watching')\ndef watching(): tell_of_worker(SILENT, 'gpu-1', 'REC_chunk_0_1000')\nwatching()"
    )
    subprocess.run([sys.executable, "-c", emit], env=lab.environment, cwd=ROOT, check=True, timeout=60)
    wait_until(lambda: messages, 60)
    assert "gpu-1 is silent" in messages[0]
    assert "no report since it began REC_chunk_0_1000" in messages[0]


def test_a_dataset_that_is_analysed_gets_its_tables_and_its_reports(
    lab: Lab, worker: psutil.Process, make_dataset: Any, fake: Any
) -> None:
    wanted = {"BADC: tables of a dataset that is analysed", "BADC: reports of a new table of detections"}
    automations = [each for each in lab.ask("automations/filter") if each["name"] in wanted]
    assert [each["enabled"] for each in automations] == [False, False]
    for each in automations:
        lab.change(f"automations/{each['id']}", enabled=True)
    root = make_dataset("A")
    words = ["infer", "orchestrate", root, "--apply", "--cpu-workers", "1", "--max-gpus", "0"]
    badc = Path(sys.executable).with_name("badc")
    subprocess.run([badc, *words, "--runner-cmd", fake("detector")], env=lab.environment, check=True, timeout=120)
    tables = root / "artifacts" / "aggregate"
    try:
        wait_until((tables / "detections_report.html").exists, 180)
    finally:
        for each in automations:
            lab.change(f"automations/{each['id']}", enabled=False)
    of_tables = {"event": {"name": ["prefect.asset.materialization.succeeded"]}}
    payloads = [event["payload"] for event in lab.ask("events/filter", filter=of_tables)["events"]]
    made = {payload["path"]: payload for payload in payloads}
    assert set(made) == {str(tables / name) for name in TABLES}
    assert all(each["missing_chunks"] == 0 and each["fingerprints"] for each in made.values())


def of_flow(lab: Lab, flow: str) -> list[Any]:
    """Flow runs of a flow that were started, newest first."""
    begun = {"state": {"type": {"not_any_": ["SCHEDULED"]}}}
    return list(lab.ask("flow_runs/filter", flows={"name": {"any_": [flow]}}, flow_runs=begun))


def heartbeats_of(lab: Lab, run_id: str) -> int:
    wanted = {
        "event": {"name": ["prefect.flow-run.heartbeat"]},
        "any_resource": {"id": [f"prefect.flow-run.{run_id}"]},
    }
    return len(lab.ask("events/filter", filter=wanted)["events"])
