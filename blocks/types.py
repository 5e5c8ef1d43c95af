"""The types of BADC's blocks. `badc setup`, or `prefect block register -f blocks/types.py`, makes them known.

A block is saved in Prefect's UI, or from Python, and named in the options `--runner-block`, `--cluster-block`,
`--dataset-block` and `--slurm-profile`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect.types import SecretDict
from pydantic import Field

from blocks import base, parts


def _runner(name: str, kind: str, **further: Any) -> Any:
    return base.block_type(name, f"badc-{kind}", parts.RUNNERS[kind], **further)


HawkearsResidentRunner = _runner("HawkearsResidentRunner", "hawkears-resident")
HawkearsScriptRunner = _runner("HawkearsScriptRunner", "hawkears-script")
BirdnetRunner = _runner("BirdnetRunner", "birdnet")
CommandRunner = _runner(
    "CommandRunner",
    "command",
    base=base.CommandBlock,
    environment=(
        # A dict of SecretStr would not do: Prefect gives such values to everyone who reads the block.
        SecretDict,
        Field(
            default_factory=lambda: SecretDict({}),
            title="Secrets",
            description='Environment variables for the command, such as {"LICENCE_TOKEN": "…"}. Stored encrypted.',
        ),
    ),
)
StubRunner = _runner("StubRunner", "stub")
GpuCluster = base.block_type("GpuCluster", "badc-gpu-cluster", parts.CLUSTER)
Dataset = base.block_type(
    "Dataset",
    "badc-dataset",
    parts.DATASET,
    base.DatasetBlock,
    first={
        "root": (Path, Field(title="Root", description="The dataset's folder, as the machine that runs BADC sees it."))
    },
    sites=(
        Path | None,
        Field(
            default=None,
            title="Sites",
            description="CSV of the stations (station,latitude,longitude), for reports; a relative path is below the "
            "root.",
        ),
    ),
)
SlurmProfile = base.block_type("SlurmProfile", "badc-slurm-profile", parts.SLURM)

RUNNER_BLOCKS = (HawkearsResidentRunner, HawkearsScriptRunner, BirdnetRunner, CommandRunner, StubRunner)
# The types of block that each option may name.
TYPES_BY_OPTION: dict[str, tuple[Any, ...]] = {
    "runner_block": RUNNER_BLOCKS,
    "cluster_block": (GpuCluster,),
    "dataset_block": (Dataset,),
    "slurm_profile": (SlurmProfile,),
}
