"""`badc review compare`: detections beside what people heard, and beside those of another table."""

from __future__ import annotations

import sys

from badc.errors import listed, numbered
from badc.reports.compare.settings import CompareSettings
from flows.cli.console import counting, show_ranking
from flows.cli.options import options_of


@options_of(CompareSettings)
def compare(settings: CompareSettings) -> int:
    """Compare detections with what people heard (--truth), or with those of another run or classifier (--other).

    With a truth: precision, recall and F1 of each species, at --min-confidence and over thresholds, and the misses and
    false alarms with clips to listen to. With another table: how far both agree, and what only one of them has.
    Exit codes: 0; 1 a clip could not be made (the rest was); 2 the request is wrong.
    """
    from badc.reports.compare.comparison import compare as compare_tables

    with counting("clips") as show:
        made = compare_tables(settings, show)
    for note in made.notes:
        print(f"badc: {note}", file=sys.stderr)
    if made.scores is not None:
        show_ranking(made.scores, f"Beside what was heard, by {settings.by.value}")
    if made.agreement is not None:
        if made.scores is not None:
            print()
        show_ranking(made.agreement, "Agreement of the two tables")
    for path in made.written:
        print(path)
    if made.problems:
        print(f"badc: {numbered(len(made.problems), 'recording')} without clips", file=sys.stderr)
        print(listed(made.problems), file=sys.stderr)
    return 1 if made.problems else 0
