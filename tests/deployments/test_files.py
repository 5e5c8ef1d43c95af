"""What stands in the files of `deployments/`: scripts without faults, units and a compose file that fit each other."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
import yaml

from flows.server.local import RECORDER_SETTINGS
from flows.server.shared import SETTINGS
from tests.conftest import ROOT

FOLDER = ROOT / "deployments"


def test_the_scripts_have_no_faults() -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([shellcheck, *sorted(FOLDER.glob("*.sh"))], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["up.sh", "--help"], 0, "Usage: deployments/up.sh"),
        (["up.sh", "--gpus"], 2, "Usage: deployments/up.sh"),
        (["up.sh", "--gpu-limit", "0"], 2, "not a number"),
        (["up.sh"], 2, "PREFECT_API_URL is not set"),
        (["worker.sh", "--help"], 0, "Usage: deployments/worker.sh"),
        (["worker.sh"], 2, "PREFECT_API_URL is not set"),
    ],
)
def test_a_script_says_what_is_wrong(words: list[str], code: int, said: str, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    environment["HOME"] = str(tmp_path)  # without a badc.env
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    done = subprocess.run([FOLDER / words[0], *words[1:]], env=environment, capture_output=True, text=True)
    assert done.returncode == code
    assert said in done.stdout + done.stderr


def test_no_server_is_a_clear_error() -> None:
    environment = os.environ | {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
    done = subprocess.run([FOLDER / "up.sh"], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "up.sh: no Prefect server answers at http://127.0.0.1:9/api\n"


@pytest.mark.parametrize("path", sorted((FOLDER / "automations").glob("*.yaml")), ids=lambda path: path.stem)
def test_prefect_takes_each_automation(path: Path) -> None:
    from prefect.events.schemas.automations import AutomationCore

    deployments = "infer|aggregate|orchestrate|pipeline|report"
    text = re.sub(rf"@MESSAGE_BLOCK_ID@|@ID_OF ({deployments})/\1@", str(uuid4()), path.read_text())
    automation = AutomationCore.model_validate(yaml.safe_load(text))
    assert automation.name.startswith("BADC: ")
    assert automation.actions


def test_the_silent_worker_message_is_about_the_event_that_runs_emit() -> None:
    from tasks.silent_workers import SILENT

    automation = yaml.safe_load((FOLDER / "automations" / "message-silent-worker.yaml").read_text())
    assert automation["trigger"]["expect"] == [SILENT]


@pytest.mark.parametrize("name", ["badc-server", "badc-worker"])
def test_a_unit_starts_a_program_of_the_checkout(name: str) -> None:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(FOLDER / "systemd" / f"{name}.service")
    service = parser["Service"]
    program = service["ExecStart"].split()[0]
    assert program.startswith("%h/badc/")
    if ".venv" not in program:
        assert os.access(FOLDER.parent / program.removeprefix("%h/badc/"), os.X_OK)
    assert service["Restart"] == "on-failure"
    # Longer than a run's own grace period and end, or systemd would kill it over its summary.
    assert int(service["TimeoutStopSec"]) >= 30
    assert parser["Install"]["WantedBy"] == "default.target"


def test_the_compose_file_joins_a_server_to_its_database() -> None:
    document = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    database, server = document["services"]["database"], document["services"]["server"]
    url = server["environment"]["PREFECT_API_DATABASE_CONNECTION_URL"]
    user, name = database["environment"]["POSTGRES_USER"], database["environment"]["POSTGRES_DB"]
    assert url == f"postgresql+asyncpg://{user}:${{POSTGRES_PASSWORD}}@database:5432/{name}"
    assert server["depends_on"]["database"]["condition"] == "service_healthy"
    assert all(mapping.startswith("127.0.0.1:") for mapping in server["ports"])
    assert server["environment"]["PREFECT_SERVER_API_AUTH_STRING"].startswith("${PREFECT_SERVER_API_AUTH_STRING:?")
    for name, value in (SETTINGS | RECORDER_SETTINGS).items():
        assert server["environment"][name] == value
    used = {volume.partition(":")[0] for service in (database, server) for volume in service["volumes"]}
    assert used == set(document["volumes"])
    import prefect

    assert server["image"] == f"prefecthq/prefect:{prefect.__version__}-python3.12"
