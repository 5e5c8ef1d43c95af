"""What the blocks have in common: their fields are a part of the settings, checked as the settings are."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from prefect.blocks.core import Block
from pydantic import ConfigDict, model_validator

from badc.settings_model import Settings
from badc.settings_parts import Part


class SettingsBlock(Block):
    """Some settings, saved in Prefect under a name."""

    model_config = ConfigDict(**{**Block.model_config, "extra": "forbid"})

    part: ClassVar[Part]

    @model_validator(mode="after")
    def _check_part(self) -> Self:
        self.part.check(self)
        return self

    def values_for(self, target: type[Settings]) -> dict[str, Any]:
        """Return what this block says of the settings of a command, which may have more fields, and fewer."""
        return {name: value for name, value in self.part.given(self).items() if name in target.model_fields}


def block_type(name: str, slug: str, part: Part, base: type[SettingsBlock] = SettingsBlock, **further: Any) -> Any:
    """Return the type of the blocks that save a part of the settings.

    Parameters
    ----------
    name
        Name of the class.
    slug
        What a block's full name starts with, as in `badc-dataset/ridge`.
    part
        The part.
    base
        Its base class.
    further
        More fields, as `Part.model` takes them.
    """
    made = part.model(name, base, **further)
    made.part = part
    made._block_type_name = f"BADC: {part.title}"
    made._block_type_slug = slug
    made._description = part.description
    return made
