"""The runners of BADC, one line each.

Options and their help, run configurations, blocks, forms, and the choice between runners follow from their settings.
"""

from __future__ import annotations

from importlib import import_module

from badc.runners.interface import RunnerSpec


def _spec(place: str) -> type[RunnerSpec]:
    module, _, name = place.partition(":")
    found = getattr(import_module(f"badc.runners.{module}"), name)
    assert isinstance(found, type)
    assert issubclass(found, RunnerSpec)
    return found


RUNNERS: tuple[type[RunnerSpec], ...] = tuple(
    map(
        _spec,
        (
            "hawkears.resident:HawkearsSpec",
            "hawkears.script:HawkearsScriptSpec",
            "birdnet.runner:BirdnetSpec",
            "command:CommandSpec",
            "stub:StubSpec",
        ),
    )
)
