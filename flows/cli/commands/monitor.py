"""`badc infer monitor`: a run's workers and last events, read from its telemetry log as it grows."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import TextIOWrapper
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from badc.errors import numbered
from badc.system.bars import sparkline
from badc.system.clock import duration_text, epoch_s
from badc.system.paths import newest_telemetry_log
from badc.telemetry.monitor import Monitor, ShownEvent
from badc.telemetry.worker_stats import TREND_BUCKET_S, TREND_BUCKETS, WorkerStats
from flows.cli.options import DatasetOfLog, LogOption

if TYPE_CHECKING:
    from rich.console import RenderableType

_FIRST_BUDGET_S = 1.0  # before the first screen
_ONCE_BUDGET_S = 2.0  # before the only one
_REFRESH_BUDGET_S = 0.015  # at each later one; drawing takes about as long
_RESIZE_LOOK_S = 0.25
_PIPED_WIDTH = 100
_MUCH_UNREAD_BYTES = 1 << 20
_LEAST_ID_WIDTH = 12
_LEAST_EVENTS = 5
# The signs of the screen, and what stands for each with --ascii.
_SIGNS = {**dict(zip("▁▂▃▄▅▆▇█", "_,:-=+*#", strict=True)), "░": ".", "·": ".", "─": "-", "ø": "~", "…": "~", "×": "x"}
_AS_ASCII = str.maketrans(_SIGNS)
_STYLES = {"failure": "red", "success": "green", "skipped": "yellow"}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; `leave_out` says how early it is dropped if the screen is too narrow (0: never)."""

    title: str
    name: str
    cells: list[list[str]]  # for each row its lines
    leave_out: int = 0
    is_text: bool = False
    is_id: bool = False  # takes the width that is left

    @property
    def width(self) -> int:
        """The characters it needs."""
        if self.is_id:
            return _LEAST_ID_WIDTH
        return max(len(line) for lines in [self.title.split("\n"), *self.cells] for line in lines)


def monitor(
    dataset: DatasetOfLog = None,
    log: LogOption = None,
    tail: Annotated[int, typer.Option(min=1, max=10_000, help="How many of the last events to show.")] = 20,
    follow: Annotated[
        bool, typer.Option("--follow/--once", help="On a terminal: refresh until Ctrl-C, or print once.")
    ] = False,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two refreshes.")] = 2.0,
    ascii_only: Annotated[
        bool, typer.Option("--ascii", help="Draw with ASCII characters. Default: where the output takes no others.")
    ] = False,
) -> int:
    """Show a run: progress, rate, time left, what each worker does, and the last events; with --follow, live.

    It only reads, so you can start and stop it as often as you like during the run. Without a terminal it prints once.
    For a log of hundreds of MB, printing once counts what it can in three seconds, and says how much that is. Exit
    codes: 0; 2 the log cannot be read.
    """
    watched = Monitor(log or newest_telemetry_log(dataset), tail)
    stream = _AsciiStream(sys.stdout) if ascii_only or not _takes_bars(sys.stdout) else sys.stdout
    try:
        if follow and sys.stdout.isatty() and os.environ.get("TERM") not in ("dumb", "unknown"):
            _follow(watched, interval, stream)
        else:
            _print_once(watched, stream)
    except KeyboardInterrupt:
        return 0
    return 0


class _AsciiStream:
    """Writes to another stream, the signs of the screen as ASCII; names of chunks stay as they are."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(text.translate(_AS_ASCII))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _takes_bars(stream: TextIO) -> bool:
    try:
        "".join(_SIGNS).encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _print_once(watched: Monitor, stream: Any) -> None:
    from rich.console import Console

    watched.refresh(_ONCE_BUDGET_S)
    on_terminal = sys.stdout.isatty()
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a name of a chunk may not fit the terminal's encoding
    width = None if on_terminal else _PIPED_WIDTH
    console = Console(file=stream, width=width, force_terminal=on_terminal, highlight=False)
    console.print(_screen(watched, console.width, None, time.time()))


def _follow(watched: Monitor, interval_s: float, stream: Any) -> None:
    from rich.console import Console, ConsoleDimensions
    from rich.live import Live

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + number)  # leaves through `Live`, which gives the terminal back

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGHUP, end)
    # Rich would believe COLUMNS and LINES, which do not follow a change of size.
    size = os.get_terminal_size(sys.stdout.fileno())
    console = Console(file=stream, highlight=False, width=size.columns, height=size.lines)
    watched.refresh(_FIRST_BUDGET_S)
    with Live(console=console, screen=True, auto_refresh=False, redirect_stderr=False, redirect_stdout=False) as live:
        while True:
            size = os.get_terminal_size(sys.stdout.fileno())
            console.size = ConsoleDimensions(size.columns, size.lines)
            live.update(_screen(watched, size.columns, size.lines, time.time()), refresh=True)
            until_s = time.monotonic() + interval_s
            while (left_s := until_s - time.monotonic()) > 0:
                time.sleep(min(left_s, _RESIZE_LOOK_S))
                if os.get_terminal_size(sys.stdout.fileno()) != size:
                    break
            watched.refresh(_REFRESH_BUDGET_S)


def _screen(watched: Monitor, width: int, height: int | None, now_s: float) -> RenderableType:
    """Return the whole screen, cut to `height` lines (None: no limit), with a note on what is left out."""
    from rich.console import Group
    from rich.text import Text

    head = _head_lines(watched, now_s)
    workers, events = watched.state.workers, list(watched.state.events)
    labels = sorted(workers, key=_natural)
    left_out: list[str] = []
    has_trends = True
    if height is not None:
        # Besides rows: titles of two lines and of one, two rules, an empty line, and two lines of what is left out.
        room = max(2, height - len(head) - 8)
        for_workers = max(1, room - min(_LEAST_EVENTS, len(events)))
        has_trends = sum(_lines_of(workers[label]) for label in labels) <= for_workers
        if not has_trends:
            left_out += ["trends of VRAM and retries"]
            left_out += [f"{len(labels) - for_workers} of {len(labels)} workers"] if len(labels) > for_workers else []
            labels = labels[:for_workers]
        most = max(1, room - sum(_lines_of(workers[label]) if has_trends else 1 for label in labels))
        if len(events) > most:
            left_out.append(f"{len(events) - most} of the last {len(events)} events")
            events = events[-most:]
    rows = [(label, workers[label]) for label in labels]
    tables = [_table(_worker_columns(rows, watched, now_s, has_trends), width, left_out), Text("")]
    tables.append(_table(_event_columns(events), width, left_out))
    if left_out:
        size = f"{width} columns" if height is None else f"{width} x {height}"
        tables.append(Text(f"Left out at {size}: {', '.join(left_out)}", style="dim"))
    return Group(*(Text(line, no_wrap=True, overflow="ellipsis") for line in head), *tables)


def _head_lines(watched: Monitor, now_s: float) -> list[str]:
    """Return the lines about the whole run: its log, progress, pace, and anything unusual."""
    counts, pace, left_s = watched.summary.counts, watched.pace(now_s), watched.left_s(now_s)
    state = "no summary yet" if counts is None else "ended" if counts.state is None else counts.state.value
    if counts is None:
        progress = (
            f"{numbered(watched.done, 'chunk')} done; their total is not known without {watched.log.name}.summary.json"
        )
    else:
        share = watched.done / counts.total if counts.total else 1.0
        bar = "█" * int(20 * share) + "░" * (20 - int(20 * share))
        progress = (
            f"{bar} {watched.done:,} of {numbered(counts.total, 'chunk')} ({share:.1%}), {counts.failure:,} failed"
        )
    speed = "no chunk ended in the last hour"
    if pace is not None:
        speed = (
            f"{pace.chunks_per_min:,.1f} chunks/min, {pace.audio_h_per_h:,.1f} h of audio per hour "
            f"(last {_duration(pace.window_s)})"
        )
    left = "" if left_s is None else f", {_duration(left_s)} left"
    hours = watched.state.audio_ms / 3.6e6
    hosts = {stats.host for stats in watched.state.workers.values() if stats.host}
    lines = [
        f"{watched.log.name}: {state}, {hours:,.1f} h of audio" + (f", on {hosts.pop()}" if len(hosts) == 1 else ""),
        progress,
        speed + left,
    ]
    notes = _notes(watched, now_s)
    return [*lines, "! " + "; ".join(notes)] if notes else lines


def _notes(watched: Monitor, now_s: float) -> list[str]:
    reader, state = watched.reader, watched.state
    notes = [] if watched.is_over else _notes_on_workers(state.workers, now_s)
    if reader.older_share < 1:
        notes.append(f"counting older events … {reader.older_share:.0%}")
    if reader.unread_bytes > _MUCH_UNREAD_BYTES:
        notes.append(f"{reader.unread_bytes / 1e6:,.0f} MB of new events not read yet")
    if watched.is_missing:
        notes.append("the log is gone; waiting for it")
    if watched.rotations:
        notes.append(f"rotated {watched.rotations} ×")
    if watched.truncations:
        notes.append("truncated; counted anew")
    if state.unreadable_lines:
        notes.append(numbered(state.unreadable_lines, "line is no event", "lines are no events"))
    return notes


def _notes_on_workers(workers: Mapping[str, WorkerStats], now_s: float) -> list[str]:
    labels = sorted(workers, key=_natural)
    notes = []
    for label in labels:
        stats = workers[label]
        if (trouble := stats.trouble(now_s)) is not None:
            notes.append(f"{label}{f' on {stats.host}' if stats.host else ''} {trouble}")
    silent = [x for x in labels if workers[x].trouble(now_s) is None and workers[x].is_silent(now_s)]
    return [*notes, "silent: " + ", ".join(silent)] if silent else notes


def _worker_columns(
    rows: Sequence[tuple[str, WorkerStats]], watched: Monitor, now_s: float, has_trends: bool
) -> list[Column]:
    end_s, is_over = watched.trends_end_s(now_s), watched.is_over

    def column(title: str, name: str, cell: Callable[[WorkerStats], str], leave_out: int = 0) -> Column:
        return Column(title, name, [[cell(stats)] for _, stats in rows], leave_out)

    trends = [_trend_lines(stats, end_s) if has_trends else _trend_lines(stats, end_s)[:1] for _, stats in rows]
    title = f"trends\n{TREND_BUCKETS * TREND_BUCKET_S // 60} min"
    return [
        Column("\nworker", "worker", [[label] for label, _ in rows], is_text=True),
        *(
            []
            if len({stats.host for _, stats in rows}) < 2
            else [column("\nhost", "host", lambda stats: stats.host, 8)]
        ),
        column("\nevents", "events", lambda stats: _count(stats.events), leave_out=1),
        column("\nok", "ok", lambda stats: _count(stats.successes)),
        column("\nfail", "fail", lambda stats: _count(stats.failures)),
        column("retry\natt.", "retry att.", lambda stats: _count(stats.retry_attempts), leave_out=4),
        column("fail.\natt.", "failed att.", lambda stats: _count(stats.failed_attempts), leave_out=3),
        column("mean\ns", "mean s", lambda stats: _decimal(stats.mean_runtime_s), leave_out=2),
        column("util %\nmin/ø/max", "util %", _utilization, leave_out=7),
        column("VRAM\nGiB", "VRAM", _vram, leave_out=5),
        Column(title, "trends", trends, leave_out=6, is_text=True),
        Column("\nlast chunk", "last chunk", [[stats.last_chunk_id] for _, stats in rows], is_text=True, is_id=True),
        column("last\nevent", "last event", lambda stats: _age(stats, now_s, is_over)),
    ]


def _event_columns(events: Sequence[ShownEvent]) -> list[Column]:
    def column(title: str, cell: Callable[[ShownEvent], str], leave_out: int = 0, is_text: bool = False) -> Column:
        name = title.lower()
        return Column(title, f"{name} of events", [[cell(event)] for event in events], leave_out, is_text)

    return [
        column("UTC", lambda event: _clock(event.at), is_text=True),
        column("status", lambda event: event.status, is_text=True),
        Column("chunk", "chunk", [[event.chunk_id] for event in events], is_text=True, is_id=True),
        column("worker", lambda event: event.worker, is_text=True),
        column("runtime s", lambda event: _decimal(event.runtime_s), leave_out=3),
        column("attempt", lambda event: "" if event.attempt is None else str(event.attempt), leave_out=2),
        column("util %", lambda event: _decimal(event.utilization_mean, 0), leave_out=1),
        column("peak MiB", lambda event: _decimal(event.vram_peak_mib, 0), leave_out=1),
    ]


def _table(columns: list[Column], width: int, left_out: list[str]) -> RenderableType:
    """Return a Rich table of the columns that fit; the names of the others are added to `left_out`."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    kept = _that_fit(columns, width, left_out)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0, pad_edge=False)
    spare = width - sum(column.width for column in kept) - len(kept) + 1
    widths = [column.width + (max(0, spare) if column.is_id else 0) for column in kept]
    for column, wide in zip(kept, widths, strict=True):
        title = Text(column.title, style="bold")
        # Colour marks a status or a silent worker; the words say the same without it.
        table.add_column(title, justify="left" if column.is_text else "right", no_wrap=True, width=wide)
    for number in range(len(columns[0].cells)):
        height = max(len(column.cells[number]) for column in kept)
        cells = []
        for column, wide in zip(kept, widths, strict=True):
            lines = column.cells[number]
            text = "\n".join(_folded(lines[0], wide, height) if column.is_id else lines)
            cells.append(Text(text, style=_STYLES.get(text, "red" if text.endswith(" !") else "")))
        table.add_row(*cells)
    return table


def _that_fit(columns: list[Column], width: int, left_out: list[str]) -> list[Column]:
    kept = list(columns)
    while sum(column.width + 1 for column in kept) - 1 > width:
        candidates = [column for column in kept if column.leave_out]
        if not candidates:
            break  # narrower than what is always shown: Rich crops it
        first = min(candidates, key=lambda column: column.leave_out)
        kept.remove(first)
        left_out.append(f"column {first.name}")
    return kept


def _lines_of(stats: WorkerStats) -> int:
    return 3 if stats.utilization_count or stats.vram_peak_mib is not None else 1


def _trend_lines(stats: WorkerStats, end_s: float) -> list[str]:
    """Return sparklines of utilization, VRAM and retries; a worker without a GPU has only the last one."""
    buckets = stats.recent(end_s)
    retries = [None if bucket is None else float(bucket.retries) for bucket in buckets]
    retry_line = "retry " + sparkline(retries, max((value or 0.0 for value in retries), default=0.0))
    if _lines_of(stats) == 1:
        return [retry_line]
    loads = [None if bucket is None else bucket.utilization_mean for bucket in buckets]
    memory = [None if bucket is None else bucket.vram_mib for bucket in buckets]
    most_mib = stats.vram_total_mib or stats.vram_peak_mib or 0.0
    return ["util  " + sparkline(loads, 100.0), "VRAM  " + sparkline(memory, most_mib), retry_line]


def _utilization(stats: WorkerStats) -> str:
    if stats.utilization_mean is None:
        return "-"
    return f"{stats.utilization_min:.0f}/{stats.utilization_mean:.0f}/{stats.utilization_max:.0f}"


def _vram(stats: WorkerStats) -> str:
    if stats.vram_peak_mib is None:
        return "-"
    total = "" if stats.vram_total_mib is None else f"/{stats.vram_total_mib / 1024:.0f}"
    return f"{stats.vram_peak_mib / 1024:.1f}{total}"


def _age(stats: WorkerStats, now_s: float, is_over: bool) -> str:
    age_s = stats.age_s(now_s)
    if age_s is None:
        return "-"
    return _duration(age_s) + (" !" if not is_over and stats.is_silent(now_s) else "")


def _clock(at: str) -> str:
    at_s = epoch_s(at)
    return "-" if at_s is None else datetime.fromtimestamp(at_s, UTC).strftime("%H:%M:%S")


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    days, hours = divmod(round(seconds) // 3600, 24)
    return f"{days} d {hours} h" if days else duration_text(seconds)


def _count(number: int) -> str:
    if number < 10_000:
        return str(number)
    return f"{number / 1e3:.4g}k" if number < 999_950 else f"{number / 1e6:.2f}M"


def _decimal(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _folded(text: str, width: int, height: int) -> list[str]:
    """Return a text in lines, cut at its start if too long: the end of a chunk id tells chunks apart."""
    most = width * height
    kept = text if len(text) <= most else "…" + text[len(text) - most + 1 :]
    return [kept[start : start + width] for start in range(0, len(kept), width)]


def _natural(label: str) -> tuple[str, int]:
    kind, _, number = label.rpartition("-")
    return (kind, int(number)) if number.isdecimal() else (label, -1)
