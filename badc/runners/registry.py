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


def _checked(specs: tuple[type[RunnerSpec], ...]) -> tuple[type[RunnerSpec], ...]:
    """Refuse runners that would get into each other's way, while BADC itself is loaded."""
    owner: dict[str, object] = {}
    for spec in specs:
        required = [name for name, field in spec.options().items() if field.is_required()]
        if len(required) > 1 or (required and spec.switch is not None):
            raise TypeError(f"{spec.__name__}: a switch chooses it, or one required field; it has {required}")
        for name in spec.own_options():
            # Runners share the fields of a common base.
            home = next(base for base in reversed(spec.__mro__) if name in getattr(base, "model_fields", ()))
            if owner.setdefault(name, home) != home:
                raise TypeError(f"{spec.__name__}: another runner has a field {name}; call it {spec.kind}_{name}")
    if len({spec.kind for spec in specs}) < len(specs):
        raise TypeError(f"two runners of one kind: {[spec.kind for spec in specs]}")
    return specs


RUNNERS: tuple[type[RunnerSpec], ...] = _checked(
    tuple(
        _spec(place)
        for place in (
            "hawkears.resident:HawkearsSpec",
            "hawkears.script:HawkearsScriptSpec",
            "birdnet.runner:BirdnetSpec",
            "onnx.runner:OnnxSpec",
            "command:CommandSpec",
            "resident_command:ResidentSpec",
            "stub:StubSpec",
        )
    )
)
