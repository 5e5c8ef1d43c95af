"""`badc infer monitor`: a run's workers and last events, read from its telemetry log while it is written."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from badc.monitor import Monitor, ShownEvent, TrendBucket, WorkerStats

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_FIRST_BUDGET_S = 1.0  # before the first screen
_REFRESH_BUDGET_S = 0.015  # at each later one; drawing takes about as long
_RESIZE_LOOK_S = 0.25
_PIPED_WIDTH = 100
_GAP = 1
_LEAST_ID_WIDTH = 14
_LEAST_EVENTS = 5
_BARS = "▁▂▃▄▅▆▇█"
_STYLES = {"failure": "red", "success": "green", "skipped": "yellow"}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: what it is called, how wide it is, and how early it is left out (0: never)."""

    title: str
    name: str
    cells: list[list[str]]  # for each row its lines
    leave_out: int = 0
    is_text: bool = False
    is_id: bool = False  # takes the width that is left

    @property
    def width(self) -> int:
        """Characters that it needs."""
        if self.is_id:
            return _LEAST_ID_WIDTH
        return max(len(line) for lines in [self.title.split("\n"), *self.cells] for line in lines)


def monitor(
    log: Annotated[Path, typer.Option(help="Telemetry log (JSONL) of a run; `badc infer run` prints its path.")] = Path(
        "data/telemetry/infer/log.jsonl"
    ),
    tail: Annotated[int, typer.Option(min=1, max=10_000, help="How many of the last events to show.")] = 20,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="On a terminal: refresh until Ctrl-C, or print once.")
    ] = True,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two refreshes.")] = 2.0,
) -> int:
    """Watch a run: progress, rate, time left, what each worker does, and the last events. Ctrl-C ends it.

    It only reads, so it can be started, stopped and started again while the run goes on. Without a terminal it prints
    once. Exit codes: 0; 2 the log cannot be read.
    """
    watched = Monitor(log, tail)
    try:
        if follow and sys.stdout.isatty():
            _follow(watched, interval)
        else:
            _print_once(watched)
    except KeyboardInterrupt:
        return 0
    return 0


def _print_once(watched: Monitor) -> None:
    from flows.cli.progress import counting

    with counting("bytes of the log read") as show:
        watched.refresh(0.0)
        while watched.reader.older_share < 1 or watched.reader.unread_bytes and watched.refresh_found_more:
            show(watched.reader.read_bytes, watched.reader.size_bytes)
            watched.refresh(0.5)
