"""The switch of every command that reads recordings whose end may be damaged."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Salvage = Annotated[
    bool,
    Field(description="Use what can be read of recordings whose end is damaged, which are refused otherwise."),
]
