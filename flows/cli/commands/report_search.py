"""`badc report search`: windows that sound like a clip."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from badc.errors import numbered
from badc.inference.search_settings import SearchSettings
from flows.cli.console import counting, print_json, print_table
from flows.cli.options import options_of

if TYPE_CHECKING:
    from badc.reports.search.nearest import Hit


@options_of(SearchSettings)
def search(
    settings: SearchSettings,
    as_json: Annotated[bool, typer.Option("--json", help="Print the windows as JSON, one object for each.")] = False,
) -> int:
    """Find the windows of many recordings that sound most like a clip, and write a page to check them by ear.

    Compares embeddings, which a run with --embeddings has written: all of them, by cosine. The clip goes through the
    model that made them. Exit codes: 0; 1 some recordings could not be read for the page, or the runner failed; 2 the
    request is wrong.
    """
    from badc.inference.search import search_windows

    with counting("files searched") as files, counting("clips written") as clips:
        made = search_windows(settings, files, clips)
    for note in (*made.notes, *made.unread):
        print(f"badc: {note}", file=sys.stderr)
    rows = [_row(hit) for hit in made.found.hits]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, f"Like {made.query.name}")
    print(f"{numbered(made.found.compared, 'window')} compared", file=sys.stderr)
    if made.page is not None:
        print(made.page, file=sys.stderr if as_json else sys.stdout)
    return 1 if made.unread else 0


def _row(hit: Hit) -> dict[str, Any]:
    time = hit.local_time
    known = {"station": hit.station, "time": None if time is None else time.isoformat(timespec="seconds")}
    return {
        "similarity": round(hit.similarity, 4),
        "recording": hit.recording_id,
        "start_s": hit.start_ms / 1000,
        "end_s": None if hit.end_ms is None else hit.end_ms / 1000,
        **known,
    }
