"""The units under a real systemd: the server comes back, and what a worker runs ends truthfully when it is stopped."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from badc.telemetry.events import EventStatus, read_events
from tests.conftest import ROOT
from tests.deployments.conftest import Lab, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.browser, pytest.mark.xdist_group("deployments")]

SYSTEMD = Path("/lib/systemd/systemd")
BOOTED = Path("/run/systemd/system")


@pytest.fixture
def units(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[dict[str, str]]:
    """A user's systemd with the units, the checkout in ~/badc, and a port of its own; the environment to reach it."""
    if not SYSTEMD.exists() or os.geteuid() != 0 or not (ROOT / ".venv").exists():
        pytest.skip("needs systemd (Debian: systemd), root, and the environment in .venv")
    home, run = tmp_path / "home", tmp_path / "run"
    (home / ".config" / "systemd" / "user").mkdir(parents=True)
    run.mkdir(mode=0o700)
    (home / "badc").symlink_to(ROOT)
    for unit in (ROOT / "deployments" / "systemd").glob("*.service"):
        shutil.copy(unit, home / ".config" / "systemd" / "user")
    port = free_port()
    settings = {
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
    }
    (home / ".config" / "badc.env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    booted_here = not BOOTED.exists()
    BOOTED.mkdir(parents=True, exist_ok=True)  # or systemd says that the machine was not booted with it
    environment = os.environ | settings | {"HOME": str(home), "XDG_RUNTIME_DIR": str(run)}
    log = (tmp_path / "systemd.log").open("w")
    manager = subprocess.Popen(
        [SYSTEMD, "--user", "--log-target=console"], env=environment, stdout=log, stderr=log, start_new_session=True
    )
    try:
        wait_until(lambda: systemctl(environment, "is-system-running").strip() == "running", 30)
        yield environment
    finally:
        systemctl(environment, "stop", "badc-worker", "badc-server")
        manager.terminate()
        manager.wait(60)
        if booted_here:
            BOOTED.rmdir()


def systemctl(environment: dict[str, str], *words: str) -> str:
    done = subprocess.run(
        ["systemctl", "--user", *words], env=environment, capture_output=True, text=True, timeout=180, check=False
    )
    return done.stdout


def test_a_worker_that_is_stopped_lets_its_run_end(
    units: dict[str, str], make_dataset: Any, fake: Any, tmp_path: Path
) -> None:
    systemctl(units, "start", "badc-server")
    wait_until(lambda: answers(units["PREFECT_API_URL"]))
    # The first start has made it, for the worker's unit and for shells.
    settings = Path(units["HOME"], ".config", "badc.env")
    assert settings.stat().st_mode & 0o777 == 0o600
    (auth,) = [line for line in settings.read_text().splitlines() if line.startswith("PREFECT_API_AUTH_STRING=")]
    lab = Lab(units | {"PREFECT_API_AUTH_STRING": auth.partition("=")[2]})
    first = systemctl(units, "show", "--value", "--property=MainPID", "badc-server").strip()
    os.kill(int(first), 9)
    wait_until(lambda: not answers(lab.api), 10)
    wait_until(lambda: answers(lab.api))
    lab.up()
    systemctl(units, "start", "badc-worker")
    root = make_dataset("A", seconds=20)
    runner = {"kind": "command", "runner_cmd": fake("detector", "--seconds", 3)}
    given = {"dataset": {"root": str(root)}, "runner": runner, "workers": {"max_gpus": 0, "cpu_workers": 2}}
    run_id = lab.start("orchestrate/orchestrate", **given)
    log = root / "artifacts" / "telemetry" / "infer" / "A.jsonl"
    wait_until(lambda: log.exists() and b'"start"' in log.read_bytes())
    time.sleep(0.5)
    systemctl(units, "stop", "badc-worker")
    assert systemctl(units, "is-active", "badc-worker").strip() == "inactive"
    assert lab.state_of(run_id)["type"] == "CANCELLED"
    summary = orjson.loads(log.with_name(f"{log.name}.summary.json").read_bytes())
    assert summary["state"] == "interrupted"
    events = [event.status for event in read_events(log)]
    assert events.count(EventStatus.START) == events.count(EventStatus.SUCCESS) > 0, "running chunks were let finish"


def answers(api: str) -> bool:
    try:
        return httpx.get(f"{api}/health", timeout=5).is_success
    except httpx.HTTPError:
        return False
