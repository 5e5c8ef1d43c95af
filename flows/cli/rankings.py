"""What was found most, as tables on the console."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

from flows.cli.tables import print_table

if TYPE_CHECKING:
    from badc.reports.query.counts import Ranking

_HEADINGS = {
    "recording_id": "recording",
    "label_name": "name",
    "avg_confidence": "mean conf.",
    "max_confidence": "max conf.",
    "analysed_hours": "hours",
    "analysed_chunks": "chunks",
    "detections_per_hour": "per hour",
    "chunk_start_ms": "chunk from",
    "bucket_index": "step",
    "bucket_start_ms": "from",
}


def show_rankings(rankings: dict[str, Ranking]) -> None:
    """Print rankings by their titles, one after the other."""
    for number, (title, ranking) in enumerate(rankings.items()):
        if number:
            print()
        show_ranking(ranking, title)


def show_ranking(ranking: Ranking, title: str) -> None:
    """Print one ranking, or on stderr that there is nothing in it."""
    if not ranking.rows:
        print(f"badc: {title[0].lower()}{title[1:]}: none", file=sys.stderr)
        return
    more = f" (first {len(ranking.rows)} of {ranking.total})" if ranking.total > len(ranking.rows) else ""
    rows = [{name: shown_value(value) for name, value in row.items()} for row in ranking.as_dicts()]
    print_table(_for_a_screen(rows) if sys.stdout.isatty() else rows, f"{title}{more}")


def _for_a_screen(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows with short headings, without what only repeats the label or the recording's id.

    Programs that read the output, and the CSVs, get all columns by their own names.
    """
    repeated = {"station", "recorded_at"} if "recorded_at" in rows[0] else set()
    if all(row.get("label_name") in (None, row.get("label")) for row in rows):
        repeated.add("label_name")
    rows = [{name: value for name, value in row.items() if name not in repeated} for row in rows]
    return [
        {
            _HEADINGS.get(name, name): _clock(value) if name.endswith("_start_ms") else value
            for name, value in row.items()
        }
        for row in rows
    ]


def _clock(time_ms: int) -> str:
    seconds = time_ms // 1000
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def shown_value(value: Any) -> Any:
    """Return a value as it is printed."""
    if isinstance(value, float):
        return float(f"{value:.4g}") if abs(value) < 1000 else round(value, 1)
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, str):  # on one line, and without what a terminal would obey
        return "".join(letter if letter.isprintable() else " " for letter in value)
    return value
