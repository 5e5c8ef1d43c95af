"""The setting that names a saved dataset."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

DatasetBlock = Annotated[
    str | None,
    Field(
        description="Name of a Prefect block that holds a dataset: where it is, and its folders. Options that you give "
        "as well override the block."
    ),
]
