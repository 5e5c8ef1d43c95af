"""The settings that say which dataset a command works on."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from badc.datasets.place import DatasetPlace, place_of
from badc.settings.dataset import DatasetBlock
from badc.settings.model import ARGUMENT, Settings


class DatasetSettings(Settings):
    """The dataset, for the commands that work on a whole one."""

    dataset: Annotated[
        Path | None,
        Field(
            description="The dataset: a folder with the recordings in audio/, at any depth, and manifests/ once they "
            "are chunked. Or any other folder of recordings, also at any depth: results then go to badc/ in it.",
            json_schema_extra=ARGUMENT,
        ),
    ] = None
    dataset_block: DatasetBlock = None
    results: Annotated[
        Path | None,
        Field(
            description="Folder for the manifests and all results, in place of the dataset, for recordings that are "
            "only read. Default: the dataset, or badc/ in any other folder of recordings."
        ),
    ] = None

    @model_validator(mode="after")
    def _check_dataset(self) -> Self:
        if self.dataset is None and self.dataset_block is None:
            raise ValueError("no dataset is given; name its folder, or give --dataset-block")
        return self

    @property
    def title(self) -> str:
        """The name to show: that of its folder, or of its block."""
        return str(self.dataset_block) if self.dataset is None else self.place.title

    @cached_property
    def place(self) -> DatasetPlace:
        """Where its recordings are, and where its results go."""
        assert self.dataset is not None, "the block is loaded before anything is planned"
        return place_of(self.dataset, self.results)

    @property
    def root(self) -> Path:
        """The folder of its manifests and results, absolute: the dataset, unless its recordings are elsewhere."""
        return self.place.root
