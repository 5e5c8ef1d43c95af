"""Blocks and deployments that a server keeps from before the modules moved."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from badc.datasets.inference.settings import OrchestrateSettings
from badc.inference.settings import InferSettings
from tests.conftest import ROOT

# As the code of version 0.1.0 registered them.
REGISTERED = json.loads(Path(__file__).with_name("registered_before_the_move.json").read_text())
pytestmark = pytest.mark.xdist_group("blocks")
OPTIONS = {"GpuCluster": "cluster_block", "Dataset": "dataset_block", "SlurmProfile": "slurm_profile"}


@pytest.mark.parametrize("name", REGISTERED)
def test_a_block_still_loads(prefect_api: str, name: str) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import BlockDocumentCreate, BlockSchemaCreate, BlockTypeCreate
    from prefect.exceptions import ObjectAlreadyExists

    from blocks.loading import filled_from_blocks

    known, saved_as = REGISTERED[name], f"before-{uuid4().hex[:8]}"
    with get_client(sync_client=True) as client:
        try:
            kind = client.create_block_type(BlockTypeCreate(**known["type"]))
        except ObjectAlreadyExists:
            kind = client.read_block_type_by_slug(known["type"]["slug"])
        schema = client.create_block_schema(BlockSchemaCreate(block_type_id=kind.id, **known["schema"]))
        assert schema.checksum == known["checksum"]
        document = BlockDocumentCreate(
            name=saved_as, data=known["data"], block_schema_id=schema.id, block_type_id=kind.id
        )
        made = client.create_block_document(document)
    option = OPTIONS.get(name, "runner_block")
    asked = {option: f"{kind.slug}/{saved_as}"}
    try:
        settings: Any = filled_from_blocks(
            OrchestrateSettings(dataset=Path("d"), slurm_script=Path("job.sh"), **asked)
            if name == "SlurmProfile"
            else InferSettings(manifest=Path("m.csv"), **asked)
        )
    finally:
        os.environ.pop("TOKEN", None)
        with get_client(sync_client=True) as client:
            client.delete_block_document(made.id)
    values = {"root": "dataset_root"}
    for field, value in known["data"].items():
        if field not in ("environment", "sites"):
            said = getattr(settings, values.get(field, field))
            assert said == (tuple(value) if isinstance(value, list) else type(said)(value)) or "TOKEN" in said, field


def test_deployments_still_find_their_flows(tmp_path: Path) -> None:
    """As Prefect's worker does it: in a new process, in the checkout, from the entrypoint that the server keeps."""
    code = (
        "import sys; from prefect.flows import load_flow_from_entrypoint\n"
        "for name in sys.argv[1:]:\n"
        "    flow = load_flow_from_entrypoint(f'flows/deployed.py:{name}'); print(flow.name)\n"
        "    assert flow.parameters.properties\n"
        "    from flows.deployed import flows\n"
        "    assert flow.fn.__module__ == flows.__name__"
    )
    names = ["infer", "aggregate", "orchestrate", "pipeline", "report"]
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, *names],
        env=os.environ | {"PREFECT_HOME": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == names
