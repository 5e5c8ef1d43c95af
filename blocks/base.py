"""What the blocks are made from: their fields are a part of the settings, checked as the settings are.

Not beside the blocks themselves, where `prefect block register` would take these classes for types of block too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from prefect.blocks.core import Block
from prefect.types import SecretDict
from prefect.utilities.dispatch import register_type
from pydantic import ConfigDict, model_validator

from badc.settings.model import Settings
from blocks.parts import Part, dataset_values


class SettingsBlock(Block):
    """Some settings, saved in Prefect under a name."""

    model_config = ConfigDict(**{**Block.model_config, "extra": "forbid"})

    part: ClassVar[Part]

    @model_validator(mode="before")
    @classmethod
    def _without_prefects_own(cls, values: Any) -> Any:
        # Prefect stores these with a block that has no fields of its own.
        if not isinstance(values, dict):
            return values
        return {name: value for name, value in values.items() if name not in ("block_type_slug", "_is_anonymous")}

    @model_validator(mode="after")
    def _check_part(self) -> Self:
        self.part.check(self)
        return self

    def values_for(self, target: type[Settings]) -> dict[str, Any]:
        """Return what this block says of the settings of a command, which may have more fields, and fewer."""
        return {name: value for name, value in self.part.given(self).items() if name in target.model_fields}


class CommandBlock(SettingsBlock):
    """A command whose secrets are handed on through the environment."""

    def values_for(self, target: type[Settings]) -> dict[str, Any]:
        """Put the secrets into this process's environment; the settings have only their names, for the records."""
        environment: SecretDict = self.environment  # type: ignore[attr-defined]
        secrets = {name: str(value) for name, value in environment.get_secret_value().items()}
        os.environ.update(secrets)
        values = super().values_for(target)
        names = dict.fromkeys((*values.get("runner_env", ()), *secrets))
        return values | ({"runner_env": tuple(names)} if names else {})


class DatasetBlock(SettingsBlock):
    """A dataset, whose root has another name in each command."""

    def values_for(self, target: type[Settings]) -> dict[str, Any]:
        """Return what the block means for a command."""
        root, sites = getattr(self, "root", Path()), getattr(self, "sites", None)
        return dataset_values(root, sites, self.part.given(self), target)


def block_type(
    name: str,
    slug: str,
    part: Part,
    base: type[SettingsBlock] = SettingsBlock,
    first: Mapping[str, Any] | None = None,
    **further: Any,
) -> Any:
    """Return the type of the blocks that save a part of the settings.

    Parameters
    ----------
    name
        Name of the class, in `blocks.types`.
    slug
        What a block's full name starts with, as in `badc-dataset/ridge`.
    part
        The part.
    base
        Its base class.
    first, further
        More fields, as `Part.model` takes them.
    """
    made = part.model(name, base, first or {}, **further)
    made.__module__ = "blocks.types"  # Prefect shows the import beside each block
    made.part = part
    made._block_type_name = f"BADC: {part.title}"
    made._block_type_slug = slug
    made._description = part.description
    # Under its slug: as it was made it had none yet, and a block without fields is found by that.
    return register_type(made)
