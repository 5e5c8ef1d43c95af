"""What commands print: tables (drawn on a terminal, tab-separated when piped), progress, warnings."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from badc.system.clock import hours_text
from badc.system.texts import one_line, printable

if TYPE_CHECKING:  # commands that only print a table need none of these
    from badc.detections.findings import SpeciesCount
    from badc.inference.progress import Progress
    from badc.reports.query.counts import Ranking
    from badc.runners.settings import RunnerSettings

_LINE_INTERVAL_S = 10.0
_SHOW_AFTER_S = 2.0
_LONG_ID = 16
_MOST_OF_AN_ID = 40
_MOST_SPECIES = 20


def print_table(rows: Sequence[dict[str, Any]], title: str | None = None) -> None:
    """Print rows with the same keys; numbers are right-aligned."""
    if not rows:
        return
    if not sys.stdout.isatty():
        print("\t".join(rows[0]))
        for row in rows:
            print("\t".join("" if value is None else str(value) for value in row.values()))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for name, value in rows[0].items():
        is_number = isinstance(value, int | float) or name == _HEADINGS["analysed_hours"]
        # Ids have no spaces at which to break; on two lines they can still be read.
        longest = max((len(word) for row in rows for word in str(row[name] or "").split()), default=0)
        table.add_column(
            name,
            justify="right" if is_number else "left",
            overflow="fold",
            min_width=min((longest + 1) // 2, _MOST_OF_AN_ID) if longest > _LONG_ID else None,
        )
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    Console(markup=False, highlight=False).print(table)


def print_json(content: Any) -> None:
    """Print something as JSON; dates, paths and choices as texts."""
    print(json.dumps(content, default=str, indent=2, ensure_ascii=False))


class RunProgress:
    """The progress of an inference run, as a context manager; its methods may be called from one thread only."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._next_line = time.monotonic() + _LINE_INTERVAL_S
        self._last_line = ""

    def __enter__(self) -> RunProgress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                BarColumn(bar_width=None),
                TextColumn("{task.description}"),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def closed_before(self, report: Callable[[Any], object]) -> Callable[[Any], None]:
        """Return a function that removes the bar, then reports an outcome, if there is one."""

        def by_force(outcome: Any) -> None:
            self.__exit__()
            if outcome is not None:
                report(outcome)

        return by_force

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        line = printable(line)
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def count(self, done: int, total: int) -> None:
        """Show how many recordings are chunked, in a run that begins with that step."""
        if self._bar is None and time.monotonic() >= self._next_line and done < total:
            self._next_line = time.monotonic() + _LINE_INTERVAL_S
            print(f"{done}/{total} recordings chunked", file=sys.stderr, flush=True)
        elif self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task("", total=total)
            self._bar.update(self._task, completed=done, total=total, description=f"{done}/{total} recordings chunked")

    def update(self, progress: Progress) -> None:
        """Show how far the run is."""
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task("", total=progress.total)
            completed = progress.done + progress.failed
            self._bar.update(self._task, completed=completed, total=progress.total, description=progress.describe())
            return
        if time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _LINE_INTERVAL_S
            line = progress.describe()
            if line != self._last_line:
                print(line, file=sys.stderr, flush=True)
            self._last_line = line


@contextmanager
def counting(what: str) -> Iterator[Any]:
    """Yield `show(done, total=None)`, which prints progress after two seconds; `what` is like `audio files checked`."""
    begin = time.monotonic()
    shown_at = 0.0
    terminal = sys.stderr.isatty()

    def show(done: int, total: int | None = None) -> None:
        nonlocal shown_at
        now = time.monotonic()
        if now - begin < _SHOW_AFTER_S or now - shown_at < (0.2 if terminal else _LINE_INTERVAL_S):
            return
        shown_at = now
        line = f"{done:,}{f' of {total:,}' if total else ''} {what}"
        print(f"\r{line}" if terminal else line, end="" if terminal else "\n", file=sys.stderr, flush=True)

    yield show
    if shown_at and terminal:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


_HEADINGS = {
    "recording_id": "recording",
    "label_name": "name",
    "avg_confidence": "mean conf.",
    "max_confidence": "max conf.",
    "analysed_hours": "hours",
    "analysed_chunks": "chunks",
    "detections_per_hour": "per hour",
    "station_visits": "visits",
    "stations_analysed": "of analysed",
    "naive_occupancy": "occupancy",
    "chunk_start_ms": "chunk from",
    "bucket_index": "step",
    "bucket_start_ms": "from",
}


def show_rankings(rankings: dict[str, Ranking]) -> None:
    """Print rankings under their titles, one after the other."""
    for number, (title, ranking) in enumerate(rankings.items()):
        if number:
            print()
        show_ranking(ranking, title)


def show_ranking(ranking: Ranking, title: str) -> None:
    """Print one ranking, or on stderr that it is empty."""
    if not ranking.rows:
        print(f"badc: {title[0].lower()}{title[1:]}: none", file=sys.stderr)
        return
    more = f" (first {len(ranking.rows)} of {ranking.total})" if ranking.total > len(ranking.rows) else ""
    rows = [{name: shown_value(value) for name, value in row.items()} for row in ranking.as_dicts()]
    print_table(_for_a_screen(rows) if sys.stdout.isatty() else rows, f"{title}{more}")


def _for_a_screen(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows for a person: short headings, no column that says nothing; others get all under their own names."""
    repeated = {"station", "recorded_at"} if "recorded_at" in rows[0] else set()
    if all(row.get("label_name") in (None, row.get("label")) for row in rows):
        repeated.add("label_name")
    if all(row.get("unexpected") in (None, "") for row in rows):
        repeated.add("unexpected")
    rows = [{name: value for name, value in row.items() if name not in repeated} for row in rows]
    return [{_HEADINGS.get(name, name): _for_reading(name, value) for name, value in row.items()} for row in rows]


def _for_reading(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name.endswith("_start_ms"):
        return _clock(value)
    return hours_text(value) if name == "analysed_hours" else value


def _clock(time_ms: int) -> str:
    seconds = time_ms // 1000
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def show_species(species: Sequence[SpeciesCount]) -> None:
    """Print the species of a table, the most frequent first."""
    if not species:
        print("No species was detected")
        return
    rows = [
        {
            "species": found.species,
            "code": found.code,
            "detections": found.detections,
            "recordings": found.recordings,
            "stations": found.stations,
            "mean conf.": found.mean_confidence,
            "max conf.": found.max_confidence,
        }
        for found in species[:_MOST_SPECIES]
    ]
    if all(row["code"] in (None, row["species"]) for row in rows):
        rows = [{name: value for name, value in row.items() if name != "code"} for row in rows]
    print_table(rows, "Species")
    if len(species) > len(rows):
        print(f"… and {len(species) - len(rows)} more; `badc report summary --limit 0` prints all")


def shown_value(value: Any) -> Any:
    """Return a value as it is printed."""
    if isinstance(value, float):
        return float(f"{value:.4g}") if abs(value) < 1000 else round(value, 1)
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, str):  # on one line, without control characters
        return one_line(value)
    return value


def warn_of_stub(settings: RunnerSettings) -> None:
    """Warn on stderr, if no runner was chosen, that nothing will be detected."""
    if settings.runs_stub:
        from badc.runners.settings import stub_warning

        print(f"WARNING: {stub_warning()}", file=sys.stderr)


def tell_if_not_saved(dataset: Path | None) -> None:
    """Say on stderr what has to be saved in a dataset before printed `datalad run` lines run in it."""
    from badc.datalad.worktree import not_saved_note

    if dataset is not None and (note := not_saved_note(dataset)) is not None:
        print(f"badc: {note}", file=sys.stderr)


def end(code: int, told: bool) -> int:
    """Return a run's exit code, or end the process with it if Prefect could not be told how the run ended."""
    if told:
        return code
    print("badc: Prefect does not answer any more, so its UI does not show how this run ended", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: Prefect would try for minutes to deliver the events that it still holds.
    os._exit(code)
