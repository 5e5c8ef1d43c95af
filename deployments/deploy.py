"""Deploys what is in prefect.yaml. A deployment that is there already keeps its schedules and its parameters.

Prefect would replace them, and what was changed in its UI would be gone after each update of BADC.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound

from blocks.types import TYPES_BY_OPTION

# The fields named `block`, by the title of their group: the option that they fill in.
BLOCK_FIELDS = {"Saved": "runner_block", "Workers": "cluster_block", "Dataset": "dataset_block"}
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
        saved = _saved_blocks(client)
        for deployment in _existing(client, names):
            schema = _with_saved_blocks(deployment.parameter_openapi_schema or {}, saved)
            client.update_deployment(deployment.id, DeploymentUpdate(parameter_openapi_schema=schema))
    print("\n".join(names))


def _full_name(deployment: Mapping[str, Any]) -> str:
    # Each flow is named like its function, which ends the dotted path.
    return f"{deployment['entrypoint'].rpartition('.')[2]}/{deployment['name']}"


def _existing(client: SyncPrefectClient, names: Iterable[str]) -> Iterator[DeploymentResponse]:
    for name in names:
        with suppress(ObjectNotFound):
            yield client.read_deployment_by_name(name)


def _saved_blocks(client: SyncPrefectClient) -> dict[str, str]:
    """Return what is saved for each option that names a block, as a sentence."""
    kinds = {each.get_block_type_slug(): option for option, types in TYPES_BY_OPTION.items() for each in types}
    found: dict[str, list[str]] = {option: [] for option in TYPES_BY_OPTION}
    offset = 0
    while page := client.read_block_documents(offset=offset, limit=200):
        offset += len(page)
        for document in page:
            if document.name and document.block_type and document.block_type.slug in kinds:
                found[kinds[document.block_type.slug]].append(f"{document.block_type.slug}/{document.name}")
    return {
        option: f"Saved when this was deployed: {', '.join(sorted(names))}." if names else "None was saved yet."
        for option, names in found.items()
    }


def _with_saved_blocks(schema: Mapping[str, Any], saved: Mapping[str, str]) -> dict[str, Any]:
    """Return the schema of a form whose fields for the name of a block say which there are.

    Prefect's forms have no choice of blocks that a later one could join.
    """
    changed = deepcopy(dict(schema))
    for definition in changed.get("definitions", {}).values():
        for name, field in definition.get("properties", {}).items():
            option = BLOCK_FIELDS.get(definition["title"]) if name == "block" else name
            if option in saved:
                field["description"] = f"{field['description']} {saved[option]}"
    return changed


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
