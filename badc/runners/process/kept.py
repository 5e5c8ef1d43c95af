"""What is kept of the output of a runner's process: its end, without secrets."""

from __future__ import annotations

import re
from collections.abc import Sequence

_KEPT_BYTES = 4096
_SHORTEST_SECRET = 4
_SAID_CHARS = 200


class Keeper:
    """Keeps the end of output, with `<NAME>` in place of the value of each of `secrets`."""

    def __init__(self, secrets: Sequence[tuple[str, str]] = ()) -> None:
        # Hiding a very short value gains nothing, and would replace much else.
        self._hidden = {
            value.encode(): f"<{name}>".encode() for name, value in secrets if len(value) >= _SHORTEST_SECRET
        }
        # Longest first: one secret may contain another.
        self._pattern = b"|".join(re.escape(value) for value in sorted(self._hidden, key=len, reverse=True))
        # More than is kept, by the longest secret: one whose beginning is not read then ends before the kept part.
        self.needed_bytes = _KEPT_BYTES + max(map(len, self._hidden), default=0)

    def end_of(self, raw: bytes) -> str:
        """Return what is kept of output of which at least the last `needed_bytes` are given."""
        at = max(0, len(raw) - _KEPT_BYTES)
        kept = b""
        for found in re.finditer(self._pattern, raw) if self._hidden else ():
            if found.end() > at:
                kept += raw[at : found.start()] + self._hidden[found[0]]
                at = found.end()
        return (kept + raw[at:]).decode(errors="replace")[-_KEPT_BYTES:]

    def start_of(self, raw: bytes) -> str:
        """Return the beginning of output; a secret that is cut off at its end is not in it."""
        return self.end_of(raw[:_KEPT_BYTES])[:_SAID_CHARS]


def with_last_line(how_it_ended: str, stderr: str) -> str:
    """Return how a process ended, and the last line that it wrote about that."""
    said = stderr.strip().rpartition("\n")[2].strip()[:_SAID_CHARS]
    return f"{how_it_ended}: {said}" if said else how_it_ended
