"""The embeddings of a chunk: for each window of the model, the vector that says what it sounds like."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from badc.errors import RunnerError

if TYPE_CHECKING:
    import numpy as np

_TOO_LATE_MS = 10**15  # as of a detection


@dataclass(frozen=True, slots=True)
class Embeddings:
    """The embeddings of a chunk's windows.

    `start_ms` are the windows' starts from the start of the chunk, and `values` the vectors: float32 `(windows, size)`.
    """

    start_ms: tuple[int, ...]
    values: np.ndarray[Any, np.dtype[np.float32]]


def embeddings_message(start_ms: list[int], values: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Return embeddings as a host's answer has them (see `parse_embeddings`)."""
    return {"start_ms": start_ms, "float32": base64.b64encode(values.astype("<f4").tobytes()).decode()}


def parse_embeddings(value: object) -> Embeddings:
    """Read embeddings from an answer in JSON.

    It is `{"start_ms": [0, 3000], "float32": "…"}`, base64 of little-endian float32, row after row, or has the rows as
    lists in `values`.

    Raises
    ------
    RunnerError
        When it is something else.
    """
    import numpy as np

    starts = value.get("start_ms") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(starts, list) or len({"float32", "values"} & value.keys()) != 1:
        raise RunnerError("'embeddings' is not an object with start_ms, and either float32 or values")
    if not all(type(start) is int and 0 <= start < _TOO_LATE_MS for start in starts):
        raise RunnerError("embeddings.start_ms has something else than whole numbers of ms from 0 on")
    try:
        if "float32" in value:
            rows = np.frombuffer(base64.b64decode(value["float32"], validate=True), "<f4")
            rows = rows.reshape(len(starts), -1) if starts else rows.reshape(0, 0)
        else:
            with np.errstate(over="ignore"):
                rows = np.array(value["values"], np.float32).reshape(len(starts), -1 if starts else 0)
    except (binascii.Error, ValueError, TypeError) as error:
        raise RunnerError(f"embeddings: not {len(starts)} rows of one length ({error})") from None
    if starts and not rows.shape[1]:
        raise RunnerError("embeddings: its rows are empty")
    if not np.isfinite(rows).all():
        raise RunnerError("embeddings: a value is not finite (NaN, infinite, or beyond 32 bits); leave out that window")
    return Embeddings(tuple(starts), rows.astype(np.float32, copy=False))
