"""The run configuration: a TOML file with the settings of `badc infer run`, to keep and to share.

`[runner]` has a key for each option, named like it (`--max-gpus` is `max_gpus`); `[hawkears]` has HawkEars' own
options; `[paths]` has `dataset_root`; `[blocks]` names Prefect blocks (`runner`, `cluster`, `dataset`). Relative paths
are looked for in the working directory, then below `dataset_root`, then in the file's folder.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from badc.errors import RequestError
from badc.inference.settings import InferSettings
from badc.settings.model import option_name
from badc.system import atomic
from badc.system.paths import absolute
from badc.system.texts import read_text
from badc.system.toml import TomlError, parse_toml

_RUNNER, _HAWKEARS, _PATHS, _BLOCKS = "runner", "hawkears", "paths", "blocks"
_BLOCK_SUFFIX = "_block"
_HAWKEARS_PREFIX = "hawkears_"
# Keys of [hawkears] that stand for options of HawkEars' own command line.
_HAWKEARS_WORDS = {
    "min_score": "--min_score",
    "models": "--models",
    "region": "--region",
    "lat": "--lat",
    "lon": "--lon",
    "date": "--date",
    "include": "--include",
    "exclude": "--exclude",
}
_HAWKEARS_PATHS = frozenset({"include", "exclude"})
_LOW_BAND = "low_band"
# What a run writes, and what need not be there before.
_OUTPUTS = frozenset({"output_dir", "embeddings", "telemetry_log"})


def load_run_config(path: Path, changes: Sequence[str] = ()) -> InferSettings:
    """Read the settings of a run from a TOML file.

    Each of `changes`, `key=value` or `table.key=value`, replaces what the file says. The value is written as in TOML,
    but text needs no quotes.

    Raises
    ------
    RequestError
        When the file cannot be read, or has an unknown key or value.
    """
    try:
        document = parse_toml(read_text(path, "run configuration"))
    except TomlError as error:
        raise RequestError(f"{path}: not TOML: {error}") from None
    _require_known(document, str(path))
    for change in changes:
        table, key, value = _read_change(change)
        document.setdefault(table, {})[key] = value
    return _settings_of(document, path)


def save_run_config(path: Path, settings: InferSettings) -> None:
    """Write the settings of a run that differ from the defaults, as `load_run_config` reads them."""
    import tomli_w

    root = None if settings.dataset_root is None else absolute(settings.dataset_root)
    given = {name: value for name, value in _places(settings) if value != _default_of(name)}
    document: dict[str, dict[str, Any]] = {}
    for name, value in given.items():
        table, key = place_of(name)
        if isinstance(value, Path):
            # The root is absolute: another `..` may be in the working directory, where a reader looks first.
            value = str(root) if name == "dataset_root" else _path_text(value, root)
        document.setdefault(table, {})[key] = list(value) if isinstance(value, tuple) else value
    with atomic.replacing(path) as temporary:
        temporary.write_text(tomli_w.dumps(document), encoding="utf-8")


def effective_configuration(settings: InferSettings) -> dict[str, dict[str, Any]]:
    """Return all settings of a run in the tables and keys of a run configuration, for the record."""
    document: dict[str, dict[str, Any]] = {}
    for name, value in settings.model_dump(mode="json").items():
        table, key = place_of(name)
        document.setdefault(table, {})[key] = value
    return document


def settings_of_run(configuration: Mapping[str, Mapping[str, Any]], root: Path) -> InferSettings:
    """Return the settings that `effective_configuration` wrote down; paths below its dataset are now below `root`.

    Raises
    ------
    RequestError
        When they cannot be used, such as those of another version.
    """
    before = configuration.get(_PATHS, {}).get("dataset_root")
    values: dict[str, Any] = {}
    for name in InferSettings.model_fields:
        table, key = place_of(name)
        if key in configuration.get(table, {}):
            value = configuration[table][key]
            if before and isinstance(value, str) and (value == before or value.startswith(f"{before}/")):
                value = f"{root}{value.removeprefix(before)}"
            values[name] = tuple(value) if isinstance(value, list) else value
    try:
        return InferSettings(**values)
    except ValidationError as error:
        raise RequestError(f"the settings of its run cannot be used: {error.errors()[0]['msg']}") from None


@cache
def place_of(field: str) -> tuple[str, str]:
    """Return the table and the key of a field of `InferSettings`."""
    if field == "dataset_root":
        return _PATHS, field
    if field.endswith(_BLOCK_SUFFIX):
        return _BLOCKS, field.removesuffix(_BLOCK_SUFFIX)
    if field == "hawkears_arg":
        return _HAWKEARS, "extra_args"
    if field.startswith(_HAWKEARS_PREFIX):
        return _HAWKEARS, field.removeprefix(_HAWKEARS_PREFIX)
    return _RUNNER, option_name(field).removeprefix("--").replace("-", "_")


def _from_home(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise RequestError(f"{text}: there is no such user, or the user has no home folder") from None


def _settings_of(document: Mapping[str, Any], path: Path) -> InferSettings:
    given = document.get(_PATHS, {}).get("dataset_root")
    places = _Places(path, None if given is None else _from_home(str(given)))
    uses_hawkears = document.get(_RUNNER, {}).get("use_hawkears") or "runner" in document.get(_BLOCKS, {})
    values: dict[str, Any] = {}
    for name, field in InferSettings.model_fields.items():
        table, key = place_of(name)
        # A file may keep its HawkEars table while another runner is chosen.
        if key not in document.get(table, {}) or (name.startswith(_HAWKEARS_PREFIX) and not uses_hawkears):
            continue
        value = document[table][key]
        if name == "dataset_root":
            value = places.root
        elif Path in (field.annotation, *get_args(field.annotation)) and isinstance(value, str):
            value = places.output(value) if name in _OUTPUTS else places.existing(value, f"{table}.{key}")
        values[name] = tuple(value) if isinstance(value, list) else value
    hawkears = document.get(_HAWKEARS, {}) if uses_hawkears else {}
    words = [word for key in hawkears for word in _words_of(path, key, hawkears[key], places)]
    given_words = values.get("hawkears_arg", ())
    if words and isinstance(given_words, tuple):  # else the settings refuse what is there
        values["hawkears_arg"] = (*words, *given_words)
    try:
        return InferSettings(**values)
    except ValidationError as error:
        lines = []
        for found in error.errors():
            place = ".".join(place_of(str(found["loc"][0]))) + ": " if found["loc"] else ""
            lines.append(f"{path}: {place}{found['msg'].removeprefix('Value error, ')}")
        raise RequestError("\n".join(lines)) from None


class _Places:
    """Where the relative paths of a file may be: the working directory, the dataset's root, the file's folder."""

    def __init__(self, file: Path, root: Path | None) -> None:
        self._file = file
        folder = absolute(file).parent
        near = [Path.cwd(), folder]
        self.root = None if root is None else next((p for b in near if os.path.exists(p := absolute(b / root))), None)  # noqa: PTH110
        if root is not None and self.root is None:
            raise self._not_found(f"{_PATHS}.dataset_root", [absolute(base / root) for base in near])
        self._bases = near if self.root is None else [near[0], self.root, folder]

    def existing(self, text: str, place: str) -> Path:
        """Return the first path that exists; dropped content does. RequestError, with all that were tried, if none."""
        tried = self._candidates(text)
        for path in tried:
            if os.path.lexists(path):
                return path
        raise self._not_found(place, tried)

    def output(self, text: str) -> Path:
        """Return the first path that exists; of those that do not, the one of which most does, best in the dataset."""
        tried = self._candidates(text)
        if there := next((path for path in tried if os.path.lexists(path)), None):
            return there
        in_dataset = [path for path in tried if self.root is not None and path.is_relative_to(self.root)]
        return min([*in_dataset, *tried], key=lambda path: sum(not os.path.exists(folder) for folder in path.parents))  # noqa: PTH110

    def _candidates(self, text: str) -> list[Path]:
        """Return the places of a path, in order; an absolute path has one."""
        return list(dict.fromkeys(absolute(base / _from_home(text)) for base in self._bases))

    def _not_found(self, place: str, tried: Sequence[Path]) -> RequestError:
        return RequestError(f"{self._file}: {place}: no such file or folder; tried {', '.join(map(str, tried))}")


def _words_of(path: Path, key: str, value: Any, places: _Places) -> list[str]:
    """Return the words of HawkEars' command line that a key of [hawkears] stands for."""
    if key == _LOW_BAND:
        if not isinstance(value, bool):
            raise RequestError(f"{path}: hawkears.low_band is {value!r}; it is true or false")
        return ["--low-band" if value else "--no-low-band"]
    if key not in _HAWKEARS_WORDS:
        return []
    if isinstance(value, (bool, list, dict)):
        raise RequestError(f"{path}: hawkears.{key} is {value!r}; it is one number or text")
    if key in _HAWKEARS_PATHS:
        value = places.existing(str(value), f"{_HAWKEARS}.{key}")
    return [_HAWKEARS_WORDS[key], str(value)]


def _require_known(document: Mapping[str, Any], where: str) -> None:
    known = _known_keys()
    for table, content in document.items():
        if table not in known:
            raise RequestError(f"{where}: unknown table [{table}]{_nearest(table, known)}")
        if not isinstance(content, dict):
            raise RequestError(f"{where}: {table} is not a table; write [{table}] on a line of its own")
        for key in content:
            if key not in known[table]:
                raise RequestError(f"{where}: unknown key {table}.{key}{_nearest_place(key, table)}")


@lru_cache(maxsize=1)
def _known_keys() -> dict[str, frozenset[str]]:
    known: dict[str, set[str]] = {_RUNNER: set(), _HAWKEARS: {*_HAWKEARS_WORDS, _LOW_BAND}}
    for name in InferSettings.model_fields:
        table, key = place_of(name)
        known.setdefault(table, set()).add(key)
    return {table: frozenset(keys) for table, keys in known.items()}


def _nearest(name: str, known: Mapping[str, object]) -> str:
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return f"; the nearest known one is [{found[0]}]"


def _nearest_place(key: str, table: str) -> str:
    places = {f"{t}.{k}": k for t, keys in _known_keys().items() for k in keys}
    same = [place for place, known in places.items() if known == key]
    found = same or difflib.get_close_matches(f"{table}.{key}", places, n=1, cutoff=0.0)
    return f"; the nearest known one is {found[0]}"


def _read_change(change: str) -> tuple[str, str, Any]:
    name, equals, text = change.partition("=")
    if not equals:
        raise RequestError(f"--set {change}: is written key=value")
    table, _, key = name.strip().rpartition(".")
    known = _known_keys()
    tables = [table] if table else [t for t, keys in known.items() if key in keys]
    if len(tables) != 1 or key not in known.get(tables[0], ()):
        raise RequestError(f"--set {change}: unknown key {name}{_nearest_place(key, table or _RUNNER)}")
    try:
        value = parse_toml(f"value = {text}")["value"]
    except TomlError:
        value = text.strip()
    return tables[0], key, value


def _places(settings: InferSettings) -> Iterator[tuple[str, Any]]:
    for name in InferSettings.model_fields:
        yield name, getattr(settings, name)


def _default_of(name: str) -> Any:
    return InferSettings.model_fields[name].get_default()


def _path_text(path: Path, root: Path | None) -> str:
    full = absolute(path)
    return full.relative_to(root).as_posix() if root is not None and full.is_relative_to(root) else str(full)
