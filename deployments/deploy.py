"""Deploys what is in prefect.yaml. A deployment that is there already keeps its schedules and its parameters.

Prefect would replace them, and what was changed in its UI would be gone after each update of BADC.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound

_FILE = Path(__file__).with_name("prefect.yaml")
_DEPLOY = ["-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(_FILE)]


def main() -> None:
    """Deploy from the folder above this one, where the flows are."""
    names = [_full_name(deployment) for deployment in yaml.safe_load(_FILE.read_text())["deployments"]]
    with get_client(sync_client=True) as client:
        before = list(_existing(client, names))
        done = subprocess.run([sys.executable, *_DEPLOY], cwd=_FILE.parents[1], capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        for deployment in before:
            client.update_deployment(deployment.id, DeploymentUpdate(parameters=deployment.parameters))
            _restore(client, deployment.id, deployment.schedules)
    print("\n".join(names))


def _full_name(deployment: Mapping[str, Any]) -> str:
    # Each flow is named like its function, which ends the dotted path.
    return f"{deployment['entrypoint'].rpartition('.')[2]}/{deployment['name']}"


def _existing(client: SyncPrefectClient, names: Iterable[str]) -> Iterator[DeploymentResponse]:
    for name in names:
        with suppress(ObjectNotFound):
            yield client.read_deployment_by_name(name)


def _restore(client: SyncPrefectClient, deployment: UUID, schedules: Iterable[DeploymentSchedule]) -> None:
    for schedule in client.read_deployment_schedules(deployment):
        client.delete_deployment_schedule(deployment, schedule.id)
    kept = [
        DeploymentScheduleCreate(
            schedule=schedule.schedule,
            active=schedule.active,
            max_scheduled_runs=schedule.max_scheduled_runs,
            parameters=schedule.parameters,
            slug=schedule.slug,
        )
        for schedule in schedules
    ]
    if kept:
        client.create_deployment_schedules(deployment, kept)


if __name__ == "__main__":
    main()
