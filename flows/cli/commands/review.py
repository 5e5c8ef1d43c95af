"""`badc review …`: clips to check by ear, and what the checks say of the classifier."""

from __future__ import annotations

import sys

import typer

from badc.errors import numbered
from badc.reports.review.settings import SampleSettings
from flows.cli.commands.review_compare import compare
from flows.cli.console import counting, print_table
from flows.cli.options import options_of

app = typer.Typer()


@app.callback()
def review() -> None:
    """Clips to check by ear, and what the checks say of the classifier."""


@app.command()
@options_of(SampleSettings)
def sample(settings: SampleSettings) -> int:
    """Draw detections to check, and write their clips, spectrograms, and a page to check them with by ear.

    Of each species, detections are drawn evenly over the bands of the score, and within a band as stations and nights
    have them. Open review.html in a browser; it needs no network. What it saves, `badc review report` reads.
    Exit codes: 0; 1 some recordings could not be read (the others were); 2 the request is wrong.
    """
    from badc.reports.review.folder import make_sample

    with counting("clips written") as progress:
        made = make_sample(settings, progress)
    for note in (*made.notes, *made.unread):
        print(f"badc: {note}", file=sys.stderr)
    print_table([{"label": label, "clips": number} for label, number in made.drawn.items()], "Drawn")
    total = sum(made.drawn.values())
    unread = f"; {len(made.unread):,} of them could not be read" if made.unread else ""
    print(f"{numbered(total, 'detection')} of {numbered(len(made.drawn), 'species', 'species')}{unread}")
    print(made.page)
    return 1 if made.unread else 0


app.command()(compare)
