"""Counting the jobs of a summary that may be too large to load, while the run rewrites it."""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from badc.system.clock import epoch_s
from badc.telemetry.summary import RunState

_SUMMARY_INTERVAL_S = 30.0
_SUMMARY_BLOCK_BYTES = 1 << 18
_LONGEST_MATCH_BYTES = 128
# Quotes inside a JSON string are escaped, so this cannot match there.
_SUMMARY_VALUE = re.compile(rb'"(status|state|started_at|updated_at)"\s{0,8}:\s{0,8}"([^"\\]{1,64})"')


@dataclass(frozen=True, slots=True)
class SummaryCounts:
    """What a summary says of all chunks of its run; times in seconds since 1970."""

    total: int
    success: int
    failure: int
    state: RunState | None
    started_s: float | None
    updated_s: float | None


class SummaryReader:
    """Counts the jobs of a run's summary in slices: it may be gigabytes. It need not exist.

    A scan begins when the file has changed, at most every 30 s. The run replaces the file atomically, so the open one
    stays whole.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.counts: SummaryCounts | None = None
        self._seen_mtime_ns = 0
        self._next_look_s = 0.0
        self._stream: BinaryIO | None = None
        self._found: Counter[bytes] = Counter()
        self._facts: dict[str, str] = {}
        self._rest = b""

    def step(self, until_s: float) -> None:
        """Continue the scan until `time.monotonic()` reaches `until_s`; at least one block is read."""
        if self._stream is None and not self._begin():
            return
        while self._stream is not None:
            block = self._stream.read(_SUMMARY_BLOCK_BYTES)
            self._scan(block)
            if not block:
                self._end()
            if time.monotonic() >= until_s:
                return

    def _begin(self) -> bool:
        if time.monotonic() < self._next_look_s:
            return False
        try:
            mtime_ns = self._path.stat().st_mtime_ns
            if mtime_ns == self._seen_mtime_ns:
                return False
            self._stream = self._path.open("rb", buffering=0)
        except OSError:
            return False
        self._next_look_s = time.monotonic() + _SUMMARY_INTERVAL_S
        self._seen_mtime_ns, self._rest = mtime_ns, b""
        self._found.clear()
        self._facts.clear()
        return True

    def _scan(self, block: bytes) -> None:
        text = self._rest + block
        # A match that begins in the last bytes may be cut off, so they are scanned again with the next block.
        safe = len(text) - _LONGEST_MATCH_BYTES if block else len(text)
        done = 0
        for match in _SUMMARY_VALUE.finditer(text):
            if match.start() >= safe:
                break
            done = match.end()
            if match[1] == b"status":
                self._found[match[2]] += 1
            else:
                self._facts.setdefault(match[1].decode(), match[2].decode(errors="replace"))
        self._rest = text[max(done, safe, 0) :]

    def _end(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._stream = None
        if not self._found and not self._facts:
            return  # not a summary
        state = self._facts.get("state")
        self.counts = SummaryCounts(
            total=self._found.total(),
            success=self._found[b"success"],
            failure=self._found[b"failure"],
            state=RunState(state) if state in list(RunState) else None,
            started_s=epoch_s(self._facts.get("started_at")),
            updated_s=epoch_s(self._facts.get("updated_at")),
        )
