"""The base of all settings models: frozen, strict, and the one source of options, their help and printed commands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic.fields import FieldInfo

from badc.errors import RequestError
from badc.system.paths import absolute, require_nameable

# The json_schema_extra of a field that is an argument rather than an option; see also `also_called`, `turned_off_by`.
ARGUMENT = {"argument": True}
# That of a field that is an argument, and an option too for those who prefer to name it.
ARGUMENT_OR_OPTION = {"argument_or_option": True}
# Settings that name something saved elsewhere, which is filled in before a command begins.
BLOCK_FIELDS = ("runner_block", "cluster_block", "dataset_block", "slurm_profile")


class Settings(BaseModel):
    """A frozen set of settings; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    # The headings of the help in their order, with what is below each, the usual first: fields, and further options of
    # the commands. What is below none comes before them.
    sections: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    @model_validator(mode="after")
    def _refuse_paths_that_no_file_can_hold(self) -> Self:
        """Refuse paths that are not UTF-8, here rather than where telemetry, tables and commands have them."""
        given = [getattr(self, name) for name in type(self).model_fields]
        paths = [item for value in given for item in (value if isinstance(value, tuple) else (value,))]
        for path in (path for path in paths if isinstance(path, Path)):
            require_nameable(absolute(path))
        return self

    @classmethod
    def in_the_help(cls, name: str) -> tuple[int, int]:
        """Return where a field stands in the help, to sort by: its heading, and its place below that."""
        for number, names in enumerate(cls.sections.values()):
            if name in names:
                return number, names.index(name)
        return -1, 0

    @property
    def named_blocks(self) -> dict[str, str]:
        """The names of the blocks in these settings, by field."""
        return {name: value for name in BLOCK_FIELDS if (value := getattr(self, name, None)) is not None}

    def to_arguments(self) -> list[str]:
        """Return the command-line words for these settings, defaults left out."""
        words: list[str] = []
        positional: list[str] = []
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if field.json_schema_extra == ARGUMENT:
                if value is None:
                    continue
                # A leading dash would make it an option.
                items = value if isinstance(value, tuple) else (value,)
                positional += [f"./{item}" if str(item).startswith("-") else str(item) for item in items]
            elif value != field.get_default(call_default_factory=True):
                for item in value if isinstance(value, tuple) else (value,):
                    words += option_words(name, item, field)
        return [*positional, *words]


def number_or_auto(value: object) -> object:
    """Return a number from 1 on, which may be text, or `auto`; ValueError for anything else."""
    if value == "auto" or (isinstance(value, int) and value >= 1 and not isinstance(value, bool)):
        return value
    if isinstance(value, str) and re.fullmatch(r"0*[1-9]\d{0,8}", value, re.ASCII):
        return int(value)
    raise ValueError(f"{value!r} is neither a number from 1 on, nor auto")


def option_words(name: str, value: object, field: FieldInfo) -> list[str]:
    """Return the command-line words that give a field this value, or one of its values if it is repeatable."""
    if isinstance(value, bool):
        return [option_name(name) if value else off_name(field)]
    # Joined by =, because a leading dash would make the value the next option.
    return [f"{option_name(name)}={value}"] if str(value).startswith("-") else [option_name(name), str(value)]


def turned_off_by(option: str, *synonyms: str) -> dict[str, Any]:
    """Return the `json_schema_extra` of a switch that this option turns off, and its synonyms do."""
    return {"off": option, "off_too": list(synonyms)}


def off_name(field: FieldInfo) -> str:
    """Return the option that turns a switch off, or an empty text if there is none."""
    extra = field.json_schema_extra
    return str(extra.get("off", "")) if isinstance(extra, dict) else ""


def option_name(field: str) -> str:
    """Return the command-line option of a settings field, without its unit `_s`."""
    return "--" + field.removesuffix("_s").replace("_", "-")


def also_called(*names: str) -> dict[str, Any]:
    """Return the `json_schema_extra` of a field whose option has these synonyms."""
    return {"also_called": list(names)}


def formerly(name: str) -> dict[str, Any]:
    """Return the `json_schema_extra` of a field whose option had this name, which still works and is not shown."""
    return {"formerly": name}


def former_name(field: FieldInfo) -> str | None:
    """Return the option by which a field was known before."""
    extra = field.json_schema_extra
    return option_name(str(extra["formerly"])) if isinstance(extra, dict) and "formerly" in extra else None


def option_names(name: str, field: FieldInfo) -> list[str]:
    """Return every option of a settings field: first the one in messages (`--on/--off` for a switch), then synonyms.

    A synonym of `--off` alone is ` /--synonym`, as Typer has it.
    """
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    others, off_too = extra.get("also_called", []), extra.get("off_too", [])
    assert isinstance(others, list)
    assert isinstance(off_too, list)
    off = off_name(field)
    first = option_name(name) + (f"/{off}" if off else "")
    return [first, *(option_name(str(other)) for other in others), *(f" /{other}" for other in off_too)]


def request_error(error: ValidationError, places: str = "option") -> RequestError:
    """Return the error to show for invalid settings: one line per field.

    `places="option"` names fields as command-line options, anything else as keys.
    """
    lines = []
    for found in error.errors():
        message = found["msg"].removeprefix("Value error, ")
        message = message[:1].lower() + message[1:] if not message.startswith("--") else message
        name = ".".join(str(part) for part in found["loc"])
        place = option_name(name) if places == "option" and name else name
        lines.append(f"{place}: {message}" if place else message)
    return RequestError("\n".join(lines))


def settings_from(model: type[Any], values: dict[str, Any]) -> Any:
    """Return `model(**values)`; invalid values raise a RequestError that names the options."""
    try:
        return model(**values)
    except ValidationError as error:
        raise request_error(error) from None
