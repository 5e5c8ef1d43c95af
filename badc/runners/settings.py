"""The runner's part of a command's settings: which classifier, and its options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeAlias, get_origin

from pydantic import Field, create_model, field_validator, model_validator
from pydantic.fields import FieldInfo

from badc.detections.fingerprint import ALL_CHANNELS, CHANNEL, RUNNER
from badc.runners.interface import ChunkTimeout, RunnerSpec
from badc.runners.registry import RUNNERS
from badc.settings.model import Settings, option_name, option_words, turned_off_by


def _own_fields() -> dict[str, set[str]]:
    """Return the fields that choose a runner (one may be given), each with the fields for that runner only."""
    found: dict[str, set[str]] = {}
    for spec in sorted(RUNNERS, key=lambda spec: spec.choice() or ""):
        if (choice := spec.choice()) is not None:
            found.setdefault(choice, set()).update(set(spec.own_options()) - {choice})
    return found


_OWN_FIELDS = _own_fields()
# The stub has no option of its own, but that which turns another runner off; that switch is None if it is not given.
_STUB_FIELD, _STUB_OPTION = next(
    (spec.switch.field, spec.switch.off) for spec in RUNNERS if spec.switch is not None and spec.switch.off
)


def _sections() -> dict[str, tuple[str, ...]]:
    """Return the headings of the runners' options: Runner, for what chooses one, and those of the runners."""
    switches = {spec.switch.field for spec in RUNNERS if spec.switch is not None}
    found: dict[str, tuple[str, ...]] = {"Runner": tuple(sorted(_OWN_FIELDS, key=lambda name: name not in switches))}
    chosen = set(_OWN_FIELDS)
    for spec in sorted(RUNNERS, key=lambda spec: spec.section):
        own = [name for name in spec.own_options() if name not in chosen]
        found[spec.section] = (*found.get(spec.section, ()), *dict.fromkeys(own))
        chosen |= set(own)
    return found


class _RunnerChoice(Settings):
    """The choice of a runner. `RunnerSettings` adds the options of all of them."""

    sections = _sections()

    if TYPE_CHECKING:
        chunk_timeout_s: ChunkTimeout

    runner_block: Annotated[
        str | None,
        Field(
            description="Name of a Prefect block that holds the runner's settings. Options that you give as well "
            "override the block."
        ),
    ] = None

    @field_validator(*{spec.secrets_from for spec in RUNNERS if spec.secrets_from}, check_fields=False)
    @classmethod
    def _only_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        # The error must not quote the value: it may be a secret.
        if not all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) for name in value):
            raise ValueError("give the name of an environment variable, and not its value: LICENCE_TOKEN")
        return value

    @model_validator(mode="after")
    def _check_runner(self) -> Self:
        chosen = self._choices()
        options = [*map(option_name, chosen), *([_STUB_OPTION] if getattr(self, _STUB_FIELD) is False else [])]
        if len(options) > 1:
            raise ValueError(f"{' and '.join(options)} exclude each other; give one of them")
        if self.runner_block is not None:
            return self  # checked when the block has filled in the rest
        allowed = {name for choice in chosen for name in _OWN_FIELDS[choice]}
        for fields in _OWN_FIELDS.values():
            own = sorted(fields - allowed)
            if given := [name for name in own if getattr(self, name) != type(self).model_fields[name].default]:
                names = ", ".join(map(option_name, given))
                choices = " or ".join(option_name(choice) for choice, of in _OWN_FIELDS.items() if {*given} <= of)
                raise ValueError(f"{names} is for {choices}, which is not given")
        return self

    @property
    def runs_stub(self) -> bool:
        """Whether no runner is chosen, so that the stub runs, which detects nothing."""
        return not self._choices()

    def to_arguments(self) -> list[str]:
        """See `Settings.to_arguments`; a runner is named also where it is the default."""
        words = super().to_arguments()
        if self.runner_block is not None:
            return words
        choice = next(iter(self._choices()), None)
        if choice is None:
            return words if _STUB_OPTION in words else [*words, _STUB_OPTION]
        return words if getattr(self, choice) is not None else [*words, option_name(choice)]

    def _choices(self) -> list[str]:
        # By identity: 0 is a value that chooses, too.
        values = {name: getattr(self, name) for name in _OWN_FIELDS}
        return [name for name, value in values.items() if value is not None and value is not False and value != ()]

    def runner(self) -> RunnerSpec:
        """Return the settings of the chosen runner as given."""
        choice = next(iter(self._choices()), None)
        spec = next(spec for spec in RUNNERS if spec.choice() == choice and spec.is_meant(self))
        return spec(**{name: getattr(self, name) for name in spec.options()})

    def runner_spec(self) -> RunnerSpec:
        """Return the settings of the chosen runner as workers get them; raises as `RunnerSpec.prepared`."""
        return self.runner().prepared()


def _fields() -> dict[str, Any]:
    """Return the options of all runners; what one of them requires is optional here."""
    fields: dict[str, Any] = {}
    kind: Any
    for spec in RUNNERS:
        if (switch := spec.switch) is not None:
            kind = bool | None if switch.off else bool
            off = turned_off_by(switch.off) if switch.off else None
            default = None if switch.off else False
            fields[switch.field] = (kind, Field(default=default, description=switch.description, json_schema_extra=off))
        for name, field in spec.own_options().items():
            kind = field.annotation
            if not field.is_required():
                fields[name] = (kind, field)
            elif get_origin(kind) is tuple:
                fields[name] = (kind, FieldInfo.merge_field_infos(field, default=()))
            else:
                fields[name] = (kind | None, FieldInfo.merge_field_infos(field, default=None))
    return fields


if TYPE_CHECKING:  # a type checker cannot know the runners
    RunnerSettings: TypeAlias = _RunnerChoice
else:
    RunnerSettings = create_model(
        "RunnerSettings",
        __base__=_RunnerChoice,
        __doc__="The settings of the runner, shared by the commands that run one.",
        **_fields(),
    )


def options_that_made(settings: Mapping[str, Any]) -> str | None:
    """Return the options that ask for these settings of a result, as far as they are known; None for no runner of ours.

    A species list is not among them: the file that it came from is not known.
    """
    spec = next((spec for spec in RUNNERS if spec.name == settings.get(RUNNER)), None)
    if spec is None:
        return None
    words = [] if spec.switch is None else [option_name(spec.switch.field)]
    if spec.switch is None and (choice := spec.choice()) is not None and choice not in settings:
        words = [option_name(choice), "FILE"]  # which file it was, is not known
    for name, field in spec.own_options().items():
        value = settings.get(name)
        if value is not None and field.get_default() != (tuple(value) if isinstance(value, list) else value):
            for item in value if isinstance(value, list | tuple) else (value,):
                words += option_words(name, item, field)
    if words and (channel := settings.get(CHANNEL)) not in (None, ALL_CHANNELS):
        words += [option_name(CHANNEL), str(channel)]
    return shlex.join(words) or f"the runner '{spec.name}'"


def other_runners(settings: _RunnerChoice) -> list[str]:
    """Return the options that choose another runner than these settings do."""
    chosen = settings.runner().choice()
    return [option_name(name) for name in _OWN_FIELDS if name != chosen] + [_STUB_OPTION]


def stub_warning() -> str:
    """Return what a command says before a run that detects nothing."""
    options = [option_name(name) for name in _OWN_FIELDS]
    return (
        "The stub runner detects NOTHING. Its outputs say status 'stub' and hold no detections. "
        f"Choose {', '.join(options[:-1])} or {options[-1]} to find birds."
    )
