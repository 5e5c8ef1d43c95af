"""A lab: a Prefect server with its UI that `deployments/up.sh` has made ready, and a worker in the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil
import pytest

from tests.conftest import LAB_AUTH, ROOT


class Lab:
    """The lab's server, as its API and its commands show it.

    Parameters
    ----------
    environment
        The variables of a shell in this lab.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.api = environment["PREFECT_API_URL"]
        self.ui = self.api.removesuffix("/api")
        user, _, password = environment["PREFECT_API_AUTH_STRING"].partition(":")
        self.http = httpx.Client(auth=(user, password), timeout=30)

    def ask(self, path: str, **body: Any) -> Any:
        """Return what the API says."""
        return self.http.post(f"{self.api}/{path}", json=body).raise_for_status().json()

    def change(self, path: str, **body: Any) -> None:
        """Change something through the API."""
        self.http.patch(f"{self.api}/{path}", json=body).raise_for_status()

    def up(self, *words: str) -> str:
        """Run `deployments/up.sh`, and return what it said."""
        command = [ROOT / "deployments" / "up.sh", *words]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def prefect(self, *words: str) -> str:
        """Run a command of Prefect's, and return what it said."""
        command = [sys.executable, "-m", "prefect", "--no-prompt", *words]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def deployments(self) -> dict[str, Any]:
        """Return the deployments by their names."""
        return {deployment["name"]: deployment for deployment in self.ask("deployments/filter")}

    def start(self, deployment: str, *options: str, **parameters: Any) -> str:
        """Start a run of a deployment as `prefect deployment run` does it, and return its id."""
        known = self.run_ids()
        self.prefect("deployment", "run", deployment, *options, "--params", orjson.dumps(parameters).decode())
        (run_id,) = self.run_ids() - known
        return run_id

    def run_ids(self) -> set[str]:
        """Return the ids of all flow runs that are no subflows."""
        return {run["id"] for run in self.ask("flow_runs/filter") if run["parent_task_run_id"] is None}

    def state_of(self, run_id: str) -> dict[str, Any]:
        """Return the state of a flow run."""
        answer = self.http.get(f"{self.api}/flow_runs/{run_id}").raise_for_status()
        state: dict[str, Any] = answer.json()["state"]
        return state

    def ended(self, run_id: str, timeout_s: float = 120) -> dict[str, Any]:
        """Wait for the end of a flow run, and return its state."""
        ends = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")
        wait_until(lambda: self.state_of(run_id)["type"] in ends, timeout_s)
        return self.state_of(run_id)

    def log_of(self, run_id: str) -> str:
        """Return the log of a flow run, as its page shows it."""
        of_run = {"flow_run_id": {"any_": [run_id]}}
        return "\n".join(entry["message"] for entry in self.ask("logs/filter", logs=of_run, sort="TIMESTAMP_ASC"))


def wait_until(condition: Callable[[], Any], timeout_s: float = 120) -> float:
    """Wait, and return how many seconds it took."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < timeout_s, "what the test waits for did not happen"
        time.sleep(0.2)
    return time.monotonic() - begin


@pytest.fixture(scope="session")
def lab(start_server_with_ui: Any, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """The lab's server, made ready."""
    home = tmp_path_factory.mktemp("lab")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    variables = {"PREFECT_HOME": str(home), "PREFECT_API_URL": start_server_with_ui(home) + "/api", "PATH": path}
    variables["PREFECT_API_AUTH_STRING"] = ":".join(LAB_AUTH)
    made = Lab(os.environ | variables)
    assert "made; runs that use GPUs at the same time: 1" in made.up()
    return made


class WorkerScript:
    """`deployments/worker.sh` in a lab, started anew when it has ended."""

    def __init__(self, lab: Lab, log: Path) -> None:
        self._lab = lab
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None

    def worker(self) -> psutil.Process:
        """Return Prefect's worker, whose children are the runs."""
        if self.process is None or self.process.poll() is not None:
            with self.log.open("a") as log:
                self.process = subprocess.Popen(
                    [ROOT / "deployments" / "worker.sh"],
                    env=self._lab.environment,
                    cwd=ROOT,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            wait_until(self._started, 60)
        return self._started()[0]

    def ended(self) -> None:
        """Wait for the end of the script."""
        assert self.process is not None
        self.process.wait(60)

    def _started(self) -> list[psutil.Process]:
        assert self.process is not None
        with suppress(psutil.Error):  # a child of the script's that has just ended
            return [child for child in psutil.Process(self.process.pid).children() if "worker" in child.cmdline()]
        return []


@pytest.fixture(scope="session")
def worker_script(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerScript]:
    """The script that keeps a worker in the checkout."""
    script = WorkerScript(lab, tmp_path_factory.mktemp("worker") / "log")
    yield script
    if script.process is not None:
        script.process.terminate()
        script.process.wait(60)


@pytest.fixture
def worker(worker_script: WorkerScript) -> psutil.Process:
    """Prefect's worker, whose children are the runs."""
    return worker_script.worker()
