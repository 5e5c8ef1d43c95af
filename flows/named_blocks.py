"""Settings of a command that name Prefect blocks: the API is needed before anything else is."""

from __future__ import annotations

from typing import TypeVar

from badc.settings.model import Settings

S = TypeVar("S", bound=Settings)


def with_blocks(settings: S, verbose: bool = False) -> S:
    """Return the settings, filled from the blocks that they name.

    Parameters
    ----------
    settings
        What a command was given.
    verbose
        Whether Prefect's own messages are to be seen.

    Raises
    ------
    RequestError
        When a block is not there or does not fit, or the configured Prefect API does not answer.
    """
    if not settings.named_blocks:
        return settings
    from flows.server import PrefectApi, quiet_defaults

    quiet_defaults(verbose)
    PrefectApi.begin().ready()
    from blocks.loading import filled_from_blocks

    return filled_from_blocks(settings)
