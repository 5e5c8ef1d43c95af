"""`badc review …`: clips to check by ear, and what the checks say of the classifier."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from badc.errors import numbered
from badc.reports.review.settings import SampleSettings, VerdictSettings
from flows.cli.commands.review_compare import compare
from flows.cli.console import counting, print_table
from flows.cli.help import App
from flows.cli.options import options_of

if TYPE_CHECKING:
    from badc.reports.review.report import SpeciesRow

app = App()


@app.callback()
def review() -> None:
    """Clips to check by ear, and what the checks say of the classifier."""


@app.command()
@options_of(SampleSettings)
def sample(settings: SampleSettings) -> int:
    """Draw detections to check, and write their clips, spectrograms, and a page to check them with by ear.

    Of each species, detections are drawn evenly over the bands of the confidence, and within a band as stations and
    nights have them. Open review.html in a browser; it needs no network. What it saves, `badc review report` reads.
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


@app.command()
@options_of(VerdictSettings)
def report(settings: VerdictSettings) -> int:
    """Work out from verdicts how often each species is right, and from which confidence on.

    Writes thresholds.csv, which the option --thresholds of all reports takes, and precision.csv, by bands of the
    confidence. Where several people checked the same detections, it says how far they agree, and conflicts.csv lists
    where not.
    Exit codes: 0; 2 the request is wrong.
    """
    from badc.reports.review.report import report_on_verdicts

    made = report_on_verdicts(settings)
    for note in made.notes:
        print(f"badc: {note}", file=sys.stderr)
    print_table([_shown(row) for row in made.species], "Precision and thresholds")
    for one in made.agreements:
        kappa = "no kappa, both always said the same" if one.kappa is None else f"Cohen's kappa {one.kappa:.2f}"
        print(f"{one.first} and {one.second}: {one.agreed:,} of {one.both:,} alike, {kappa}")
    if made.conflicts:
        print(f"{numbered(len(made.conflicts), 'detection')} on which people disagree, in conflicts.csv")
    for path in made.written:
        print(path)
    return 0


app.command()(compare)


def _shown(row: SpeciesRow) -> dict[str, object]:
    """Return the columns for a person; thresholds.csv has all."""
    between = "" if row.precision is None else f"{row.precision:.2f} ({row.low:.2f} to {row.high:.2f})"
    return {
        "label": row.label,
        "checked": row.checked,
        "of": row.sampled_from,
        "unsure": row.unsure,
        "precision (95 %)": between,
        "from 90 %": row.threshold_90,
        "95 %": row.threshold_95,
        "99 %": row.threshold_99,
        "min_confidence": row.min_confidence,
        "note": row.note,
    }
