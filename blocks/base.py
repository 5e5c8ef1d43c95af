"""The base classes of the blocks, whose fields are part of a command's settings and validated as these are.

They are apart from `blocks.types`, where `prefect block register` would register them as block types too.
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
    """Settings saved in Prefect under a name."""

    model_config = ConfigDict(**{**Block.model_config, "extra": "forbid"})

    part: ClassVar[Part]

    @model_validator(mode="before")
    @classmethod
    def _without_prefects_own(cls, values: Any) -> Any:
        # Prefect stores these two with a block that has no fields.
        if not isinstance(values, dict):
            return values
        return {name: value for name, value in values.items() if name not in ("block_type_slug", "_is_anonymous")}

    @model_validator(mode="after")
    def _check_part(self) -> Self:
        self.part.check(self)
        return self

    def values_for(self, target: type[Settings]) -> dict[str, Any]:
        """Return this block's values for a command, without those that its settings have no field for."""
        return {name: value for name, value in self.part.given(self).items() if name in target.model_fields}


class CommandBlock(SettingsBlock):
    """A command that receives its secrets through the environment."""

    secrets_from: ClassVar[str]

    def values_for(self, target: type[Settings]) -> dict[str, Any]:
        """Put the secrets into this process's environment; the settings, and so the records, hold only their names."""
        environment: SecretDict = self.environment  # type: ignore[attr-defined]
        secrets = {name: str(value) for name, value in environment.get_secret_value().items()}
        os.environ.update(secrets)
        values = super().values_for(target)
        names = dict.fromkeys((*values.get(self.secrets_from, ()), *secrets))
        return values | ({self.secrets_from: tuple(names)} if names else {})


class DatasetBlock(SettingsBlock):
    """A dataset, whose root has a different name in each command."""

    def values_for(self, target: type[Settings]) -> dict[str, Any]:
        """Return this block's values under the names that the command uses."""
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
    """Return the type of block that saves a part of the settings.

    A block's full name starts with `slug`, as in `badc-dataset/ridge`; `first` and `further` go to `Part.model`.
    """
    made = part.model(name, base, first or {}, **further)
    made.__module__ = "blocks.types"  # Prefect shows this import beside each block
    made.part = part
    made._block_type_name = f"BADC: {part.title}"
    made._block_type_slug = slug
    made._description = part.description
    # Again, now under its slug, by which a block without fields is found: the class was made without one.
    return register_type(made)
