"""Numbers as a line of bars, for consoles."""

from __future__ import annotations

import math
from collections.abc import Iterable

_BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Iterable[float | None], most: float | None = None) -> str:
    """Return a bar for each value, the highest one for `most` (by default the largest); a space for 0, a dot for None.

    Examples
    --------
    >>> sparkline([0, 1, 4, 8])
    ' ▁▄█'
    """
    known = list(values)
    top = max((value for value in known if value is not None), default=0) if most is None else most
    return "".join("·" if value is None else _bar(value / top) if value and top > 0 else " " for value in known)


def _bar(share: float) -> str:
    return _BARS[min(len(_BARS), math.ceil(share * len(_BARS))) - 1]
