"""Plans: tables of what a command would do, one row per recording, as CSV or JSON.

A pydantic model of the row defines a kind of plan. In CSV a list is a JSON array in one quoted field, None is an empty
field, and booleans are `true` and `false`. In JSON a plan is an array of objects.
"""

from __future__ import annotations

import csv
import io
import types
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from badc.errors import MOST_LISTED, RequestError, listed
from badc.system import atomic
from badc.system.texts import csv_writer, read_text, require_commas


class PlanRow(BaseModel):
    """A row of a plan. Unknown columns are ignored, since other tools may add their own."""

    model_config = ConfigDict(frozen=True, extra="ignore")


Row = TypeVar("Row", bound=PlanRow)


def write_plan_csv(path: Path, model: type[PlanRow], rows: Iterable[PlanRow]) -> None:
    """Write a plan as CSV, atomically. The model's fields are the columns, even when there are no rows."""
    with (
        atomic.replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv_writer(stream)
        writer.writerow(model.model_fields)
        for row in rows:
            writer.writerow([_field(value) for value in row.model_dump(mode="json").values()])


def write_plan_json(path: Path, rows: Iterable[PlanRow]) -> None:
    """Write a plan as JSON, atomically."""
    content = [row.model_dump(mode="json") for row in rows]
    atomic.write_bytes(path, orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def read_plan(path: Path, model: type[Row]) -> list[Row]:
    """Read a plan and check every row.

    It is JSON if its name ends with `.json`, else CSV; UTF-8 with or without a BOM, any line ends.

    Raises
    ------
    RequestError
        When the file is no such plan; the text names the first 20 bad rows.
    """
    text = read_text(path, "plan")
    is_json = path.suffix.lower() == ".json"
    found = _json_rows(path, text) if is_json else _csv_rows(path, text, model)
    rows: list[Row] = []
    problems: list[str] = []
    total = 0
    for place, values in found:
        try:
            rows.append(model.model_validate(values))
        except ValidationError as error:
            total += 1
            if len(problems) < MOST_LISTED:
                problems.append(f"{path}:{place}: {_reason(error)}")
    if problems:
        raise RequestError(listed(problems, total))
    return rows


def _field(value: Any) -> Any:
    """Return a value as a CSV field."""
    if isinstance(value, bool | list | dict):
        return orjson.dumps(value).decode()
    return "" if value is None else value


def _json_rows(path: Path, text: str) -> Iterable[tuple[str, Any]]:
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise RequestError(f"{path}: the plan is not JSON ({error})") from None
    if not isinstance(content, list):
        raise RequestError(f"{path}: the plan is not a JSON array of objects")
    return [(f" row {number}", values) for number, values in enumerate(content, start=1)]


def _csv_rows(path: Path, text: str, model: type[PlanRow]) -> Iterable[tuple[str, Any]]:
    reader = csv.reader(io.StringIO(text, newline=""))
    found: list[tuple[str, Any]] = []
    names: list[str] | None = None
    try:
        for row in reader:
            if names is None:
                names = [name.strip() for name in row]
                _require_columns(path, names, model)
            elif row:
                found.append((str(reader.line_num), _values(names, row, model)))
    except csv.Error as error:
        raise RequestError(f"{path}:{reader.line_num}: not CSV: {error}") from None
    if names is None:
        raise RequestError(f"{path}: the plan is empty; its first line must be {','.join(model.model_fields)}")
    return found


def _require_columns(path: Path, names: Sequence[str], model: type[PlanRow]) -> None:
    needed = [name for name, field in model.model_fields.items() if field.is_required()]
    if missing := [name for name in needed if name not in names]:
        require_commas(path, names, "plan")
        raise RequestError(
            f"{path}:1: no column {', '.join(missing)}; a plan starts with {','.join(model.model_fields)}"
        )


def _values(names: Sequence[str], row: Sequence[str], model: type[PlanRow]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, text in zip(names, row, strict=False):
        if name not in model.model_fields:
            continue
        kinds = _kinds(model.model_fields[name].annotation)
        if text == "" and types.NoneType in kinds:
            values[name] = None
        elif text == "" and str not in kinds:
            continue  # its default, if it has one
        elif any(get_origin(kind) in (list, tuple, dict) for kind in kinds):
            values[name] = _list(text)
        else:
            values[name] = text
    return values


def _kinds(annotation: Any) -> tuple[Any, ...]:
    """Return the types that a field may have."""
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def _list(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text  # the model refuses it and names the column


def _reason(error: ValidationError) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f"{name} is missing"
    return f"{name or 'the row'} {first['input']!r}: {first['msg'][:1].lower()}{first['msg'][1:]}"
