"""The types of BADC's blocks, which `badc setup` or `prefect block register -f blocks/types.py` registers.

A block is saved in Prefect's UI, or from Python, and named in the options `--runner-block`, `--cluster-block`,
`--dataset-block` and `--slurm-profile`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect.types import SecretDict
from pydantic import Field

from badc.runners.interface import RunnerSpec
from badc.runners.registry import RUNNERS
from blocks import base, parts


def _runner(spec: type[RunnerSpec]) -> Any:
    name = f"{spec.kind.title().replace('-', '')}Runner"
    part, slug = parts.RUNNERS[spec.kind], f"badc-{spec.kind}"
    if spec.secrets_from is None:
        return base.block_type(name, slug, part)
    # Not a dict of SecretStr: Prefect shows such values to everyone who reads the block.
    secrets = Field(
        default_factory=lambda: SecretDict({}),
        title="Secrets",
        description='Environment variables for the command, such as {"LICENCE_TOKEN": "…"}. Stored encrypted.',
    )
    made = base.block_type(name, slug, part, base.CommandBlock, environment=(SecretDict, secrets))
    made.secrets_from = spec.secrets_from
    return made


RUNNER_BLOCKS = tuple(map(_runner, RUNNERS))
# By name, for Prefect and for imports: HawkearsResidentRunner, BirdnetRunner, CommandRunner, …
globals().update({block.__name__: block for block in RUNNER_BLOCKS})
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

# The block types that each option accepts.
TYPES_BY_OPTION: dict[str, tuple[Any, ...]] = {
    "runner_block": RUNNER_BLOCKS,
    "cluster_block": (GpuCluster,),
    "dataset_block": (Dataset,),
    "slurm_profile": (SlurmProfile,),
}
