"""What the person who made tables is told of them: species, a mixture of settings, and what has no place or time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from badc.detections.fingerprint import described, mixed
from badc.detections.tables import TableStage, seeing, stage_database
from badc.errors import named_few, numbered
from badc.recordings.places import Layout

_SPECIES = """
SELECT coalesce(label_name, label), any_value(label_code), count(*), count(DISTINCT recording_id),
  count(DISTINCT station), round(avg(confidence), 3), round(max(confidence), 3)
FROM this GROUP BY 1 ORDER BY 3 DESC, 7 DESC, 1
"""


@dataclass(frozen=True, slots=True)
class SpeciesCount:
    """How often a species was detected, in how many recordings and stations, and how sure.

    `code` is the classifier's: HawkEars' four letters, BirdNET's scientific name.
    """

    species: str
    code: str | None
    detections: int
    recordings: int
    stations: int
    mean_confidence: float | None
    max_confidence: float | None


def count_species(detections: TableStage) -> list[SpeciesCount]:
    """Return the species of a table of detections, the most frequent first."""
    return [SpeciesCount(*row) for row in detections.query(_SPECIES)]


def species_in(table: Path) -> list[SpeciesCount]:
    """Return the species of a table that was made before; raises duckdb.Error if it is none."""
    with TemporaryDirectory() as scratch, stage_database(Path(scratch)) as database:
        return [SpeciesCount(*row) for row in seeing(database, {"this": table}).execute(_SPECIES).fetchall()]


def mixture(coverage: TableStage) -> Iterator[str]:
    """Yield a sentence that says that results of several settings are mixed, if they are."""
    counts = coverage.query(
        "SELECT fingerprint, count(*) FROM this WHERE fingerprint IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1"
    )
    parts = [
        (coverage.runs[made], f"{described(coverage.runs[made])} ({numbered(chunks, 'chunk')})")
        for made, chunks in counts
    ]
    if (sentence := mixed(parts)) is not None:
        yield sentence


def without_place_or_time(detections: TableStage, coverage: TableStage, layout: Layout) -> Iterator[str]:
    """Yield a sentence on what has no station, and one on what has no time: reports by station or hour lack it."""
    for what, chunk, detection, reason in (
        ("station", "station", "station", f"was looked for in {layout.describe()}; --layout says where it stands"),
        ("time", "recorded_at", "detected_at", "neither names nor headers say when the recordings began"),
    ):
        names = [
            row[0] for row in coverage.query(f"SELECT DISTINCT recording_id FROM this WHERE {chunk} IS NULL ORDER BY 1")
        ]
        number = detections.number(f"SELECT count(*) FROM this WHERE {detection} IS NULL")
        if names or number:
            named = f" ({named_few(names)})" if names else ""
            counts = f"{numbered(number, 'detection')} and {numbered(len(names), 'recording')}"
            yield f"no {what}: {counts}{named}; {reason}"
