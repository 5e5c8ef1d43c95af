"""`badc review compare`: precision and recall against what people heard, and agreement with another table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from badc.errors import numbered
from badc.reports.compare.agreement import MOST_HEARD_FIRST, agree, load_other, write_agreement
from badc.reports.compare.drawing import draw_confidences, draw_curves
from badc.reports.compare.matching import Labels, load_truth
from badc.reports.compare.mistakes import write_mistakes
from badc.reports.compare.scoring import score
from badc.reports.compare.settings import CompareSettings
from badc.reports.compare.truth import read_truth
from badc.reports.query.counts import Ranking, choose, ranked, write_csv
from badc.reports.query.expected import notes_on_expected
from badc.reports.query.runs import mixture, runs_of
from badc.reports.query.tables import find_coverage, open_tables
from badc.species.names import read_names
from badc.system.paths import require_writable

_SCORES = """
    SELECT label, detected, correct, false_alarms, heard, found, missed, round(precision, 4) AS precision,
      round(recall, 4) AS recall, round(f1, 4) AS f1, round(best_f1, 4) AS best_f1, best_threshold
    FROM scores
"""
_AGREEMENT = f"""
    SELECT * REPLACE (round(kappa, 4) AS kappa, round(positive_agreement, 4) AS positive_agreement)
    FROM agreement {MOST_HEARD_FIRST}
"""


@dataclass(slots=True)
class Comparison:
    """What a comparison found and wrote; `scores` and `agreement` are None where nothing was to be compared."""

    scores: Ranking | None = None
    agreement: Ranking | None = None
    notes: list[str] = field(default_factory=list)  # what was not matched, what the tables lack
    problems: list[str] = field(default_factory=list)  # clips that could not be made
    written: list[Path] = field(default_factory=list)


def compare(settings: CompareSettings, show: Callable[[int, int], None] = lambda done, total: None) -> Comparison:
    """Compare a table of detections with what people heard, with another table, or with both.

    `show` is told how many clips are done, of how many.

    Raises
    ------
    RequestError
        If a file cannot be read, or nothing in it can be compared.
    """
    made = Comparison()
    heard = read_truth(settings.truth, settings.recording, settings.label_column) if settings.truth else []
    names = read_names(settings.names_table)
    coverage = find_coverage(settings.parquet, settings.coverage)
    require_writable(settings.folder, "folder of the comparison")
    with open_tables(settings.parquet, coverage, settings.sites) as database:
        mixed = mixture(runs_of(database))
        made.notes += [mixed] if mixed is not None else []
        if coverage is None:
            made.notes.append(
                f"no table of coverage beside {settings.parquet}: only chunks with a detection count as analysed"
            )
        labels = Labels(database, names)
        wanted = [labels.find([word]) or word for word in settings.labels]
        made.notes += [*choose(database, settings, wanted), *notes_on_expected(database)]
        if settings.truth:
            loaded = load_truth(database, heard, labels, names, wanted)
            made.notes += loaded.notes
            _with_truth(database, settings, made, loaded.labels, show)
        if settings.other is not None:
            made.notes += load_other(database, settings, labels, wanted)
            _with_other(database, settings, made)
    return made


def _with_truth(
    database: duckdb.DuckDBPyConnection,
    settings: CompareSettings,
    made: Comparison,
    read: int,
    show: Callable[[int, int], None],
) -> None:
    score(database, settings.min_overlap_ms, settings.complete)
    counted, others = database.execute(
        "SELECT (SELECT count(*) FROM labels), (SELECT count(DISTINCT label) FROM chosen WHERE recording_id IN "
        "(SELECT recording_id FROM listened) AND label NOT IN (SELECT label FROM labels))"
    ).fetchall()[0]
    if left := read - counted:
        made.notes.append(
            f"{left:,} of {read:,} labels of the truth do not count: a copy, or in audio that was not analysed"
        )
    if others and not settings.complete:
        made.notes.append(
            f"{numbered(others, 'other label was', 'other labels were')} detected there; --complete says that the "
            "truth would name what was heard, and counts the rest as false alarms"
        )
    folder = settings.folder
    folder.mkdir(parents=True, exist_ok=True)
    order = "array_position(['window', 'chunk', 'minute', 'recording'], unit), label"
    for name, query in (
        ("species", f"SELECT * FROM scores ORDER BY {order}"),
        ("curves", f"SELECT * FROM curves ORDER BY {order}, threshold"),
    ):
        made.written.append(write_csv(database, query, folder / f"{name}.csv", settings.for_spreadsheets))
    picture = draw_curves(database, settings.by, folder / "precision_recall.png")
    made.written += [] if picture is None else [picture]
    mistakes = write_mistakes(database, settings, show)
    made.written += mistakes.written
    made.problems += mistakes.problems
    made.notes += mistakes.notes
    made.scores = ranked(database, f"{_SCORES} WHERE unit = '{settings.by.value}' ORDER BY heard DESC, label")


def _with_other(database: duckdb.DuckDBPyConnection, settings: CompareSettings, made: Comparison) -> None:
    agree(database, settings.min_overlap_ms)
    settings.folder.mkdir(parents=True, exist_ok=True)
    made.written += write_agreement(database, settings.folder, settings.for_spreadsheets)
    picture = draw_confidences(database, settings.folder / "confidences.png")
    made.written += [] if picture is None else [picture]
    made.agreement = ranked(database, _AGREEMENT)
