"""The windows of a chunk that a classifier looks at one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def windows_of(
    samples: np.ndarray[Any, Any], rate: int, window_s: float, hop_s: float
) -> list[tuple[float, np.ndarray[Any, Any]]]:
    """Return the windows of a chunk as (start in s, samples); a short last one is padded with silence.

    One of less than half a window is left out, unless the chunk itself is that short: BirdNET's own tools do so.
    """
    import numpy as np

    size = round(window_s * rate)
    found: list[tuple[float, np.ndarray[Any, Any]]] = []
    number = 0
    while True:
        start = round(number * hop_s * rate)
        piece = samples[start : start + size]
        # A chunk that is itself that short is analysed anyway: no other window covers it.
        if len(piece) < size / 2 and found:
            return found
        found.append((start / rate, piece if len(piece) == size else np.pad(piece, (0, size - len(piece)))))
        if start + size >= len(samples):
            return found
        number += 1
