"""How a dataset's inference gets at the audio: fetched ahead and dropped again, or copied to a disk of the machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from badc.settings.model import Settings


def _with_unit(text: str | None) -> str | None:
    if text is None or re.fullmatch(r"\d+(\.\d+)?[KMGT]", text, re.ASCII):
        return text
    raise ValueError(f"{text!r} is not a size such as 200G")


class AudioOptions(Settings):
    """What is done with the audio of recordings before they are analysed, and after."""

    fetch_ahead: Annotated[
        int | None,
        Field(
            ge=1,
            description="Fetch the audio of so many recordings that is not here while the workers analyse the ones "
            "before. Default: each recording's when it begins, or one ahead with --drop-after.",
        ),
    ] = None
    drop_after: Annotated[
        bool,
        Field(
            description="Drop the audio that the run itself has fetched when its recording has ended, if git-annex "
            "has proof of another copy."
        ),
    ] = False
    disk_limit: Annotated[
        str | None,
        AfterValidator(_with_unit),
        Field(
            description="With --drop-after, never have more fetched audio here at a time than this, such as 200G (K, "
            "M, G, T for powers of 1000)."
        ),
    ] = None
    stage_dir: Annotated[
        Path | None,
        Field(
            description="Copy each recording's audio into this folder, on a disk of this machine, and read it there. "
            "The copy goes when the recording has ended. What has no room is read where it is."
        ),
    ] = None

    @model_validator(mode="after")
    def _check_limit(self) -> Self:
        if self.disk_limit is not None and not self.drop_after:
            raise ValueError("--disk-limit is for --drop-after, which is not given")
        return self

    @property
    def streams(self) -> bool:
        """Whether audio is fetched ahead, or dropped."""
        return self.fetch_ahead is not None or self.drop_after

    @property
    def disk_limit_bytes(self) -> int | None:
        """The limit in bytes."""
        if self.disk_limit is None:
            return None
        return int(float(self.disk_limit[:-1]) * 1000 ** (1 + "KMGT".index(self.disk_limit[-1])))
