"""The settings that say which dataset a command works on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from badc.settings.model import ARGUMENT, Settings
from badc.system.paths import absolute

DatasetBlock = Annotated[
    str | None,
    Field(
        description="Name of a Prefect block that holds a dataset: where it is, and its folders. Options that you give "
        "as well override the block."
    ),
]


class DatasetSettings(Settings):
    """The dataset, for the commands that work on a whole one."""

    dataset: Annotated[
        Path | None,
        Field(
            description="The dataset: a folder with the recordings in audio/, at any depth, and manifests/ once they "
            "are chunked.",
            json_schema_extra=ARGUMENT,
        ),
    ] = None
    dataset_block: DatasetBlock = None

    @model_validator(mode="after")
    def _check_dataset(self) -> Self:
        if self.dataset is None and self.dataset_block is None:
            raise ValueError("no dataset is given; name its folder, or give --dataset-block")
        return self

    @property
    def title(self) -> str:
        """The name to show: that of its folder, or of its block."""
        return str(self.dataset_block) if self.dataset is None else self.root.name

    @property
    def root(self) -> Path:
        """The dataset's folder, absolute."""
        assert self.dataset is not None, "the block is loaded before anything is planned"
        return absolute(self.dataset)
