"""How many examples the property tests take, and the values that several of them draw.

`make test` takes few, and always the same; `make test-all` many, at random (BADC_TEST_PROPERTIES=thorough).
"""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from pydantic.fields import FieldInfo

from badc.recordings.names import id_problem

_THOROUGH = os.environ.get("BADC_TEST_PROPERTIES") == "thorough"
# Whole files are written and synced: how long that takes, says nothing.
_SLOW_IS_FINE = (HealthCheck.too_slow, HealthCheck.data_too_large)

# What trips careless code comes more often than by chance.
_ODD = st.sampled_from("\"'`$\\,;{}[]*?~!#&|<>()=-/ \t\n\ré")
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0") | _ODD, max_size=30)
NAMES = TEXTS.filter(lambda text: id_problem(text) is None)


def examples(quick: int, thorough: int) -> Any:
    """Return the decorator that gives a test this many examples."""
    return settings(
        max_examples=thorough if _THOROUGH else quick,
        derandomize=not _THOROUGH,
        database=None,
        deadline=None,
        suppress_health_check=_SLOW_IS_FINE,
        print_blob=True,
    )


def values_of(field: FieldInfo) -> st.SearchStrategy[Any]:
    """Return values that a settings field takes; most numbers of settings are in 0..1 or from 1 on."""
    return _of_kind(field.annotation)


def _of_kind(kind: Any) -> st.SearchStrategy[Any]:
    if get_origin(kind) is Literal:
        return st.sampled_from(get_args(kind))
    if get_origin(kind) is tuple:
        return st.lists(_of_kind(get_args(kind)[0]), max_size=4).map(tuple)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return st.sampled_from(list(kind))
    known: dict[Any, st.SearchStrategy[Any]] = {
        float: st.floats(0.001, 0.999),
        int: st.integers(1, 16),
        str: TEXTS,
        Path: NAMES.map(Path),
        bool: st.booleans(),
        type(None): st.none(),
    }
    if kind in known:
        return known[kind]
    return st.one_of([_of_kind(part) for part in get_args(kind)]) if get_args(kind) else st.nothing()
