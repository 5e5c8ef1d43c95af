"""Which detections to check by ear: a sample whose sampling fractions are known, or the strongest detections.

A detection is drawn from its stratum, which is a species and a band of the confidence. The bands get equal shares of
the clips, because where a species' confidence begins to mean something is what the check is to find out. Within a band,
the draw is systematic: in the order of stations, nights and recordings, every n-th detection, from a random start. So
each detection of a stratum is drawn with the same chance (drawn / detections), and stations and nights are represented
as they are in the table. `badc.reports.review.precision` weights by the inverse.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from badc.reports.review.settings import SampleSettings
from badc.reports.study.data import Sighting

if TYPE_CHECKING:
    import duckdb

BANDS = 10
NEAR_WIDTH = 0.05
_SIGHTING = (
    "label, label_name, confidence, recording_id, station, local_time, source_path, dataset_root, chunk_start_ms, "
    "chunk_end_ms, timestamp_ms, end_ms"
)
_OTHERS = "label_code, night, absolute_time_ms, absolute_end_ms, band"
_ORDER = "recording_id, absolute_time_ms, absolute_end_ms, confidence DESC, chunk_id"


@dataclass(frozen=True, slots=True)
class Stratum:
    """A species' detections of a band of the confidence `[low, high)`, which the last band includes."""

    low: float
    high: float
    detections: int  # in the table, after all options
    drawn: int


@dataclass(frozen=True, slots=True)
class Drawn:
    """A detection to check; `stratum` is None in a sample of the strongest ones, which has no sampling fraction."""

    clip: str  # its name in the review, such as `0001`
    sighting: Sighting
    label_code: str | None
    night: date | None
    start_ms: int  # from the start of the recording
    end_ms: int  # likewise
    stratum: Stratum | None


def draw(database: duckdb.DuckDBPyConnection, settings: SampleSettings) -> list[Drawn]:
    """Draw from the view `shareable`, by species; within one, in random order, so that the order says nothing.

    Detections without a confidence or without times cannot be drawn.
    """
    band = f"least(floor(confidence * {BANDS} + 1e-9), {BANDS - 1})::INTEGER"
    within = ""
    if settings.near is not None:
        band = "0"
        low, high = _near(settings.near)
        within = f"AND confidence BETWEEN {low!r} AND {high!r}"
    database.execute(
        f"""
        CREATE OR REPLACE TEMP VIEW candidates AS
        SELECT *, {band} AS band, coalesce(station, '') AS of_station, coalesce(night, DATE '1-01-01') AS of_night
        FROM shareable
        WHERE confidence IS NOT NULL AND absolute_time_ms IS NOT NULL AND timestamp_ms IS NOT NULL {within}
        """
    )
    if settings.strongest:
        return _numbered(_strongest(database, settings.per_species), settings, {})
    strata = _strata(database, settings)
    return _numbered(_systematic(database, strata, settings.seed), settings, strata)


def _near(threshold: float) -> tuple[float, float]:
    return max(0.0, threshold - NEAR_WIDTH), min(1.0, threshold + NEAR_WIDTH)


def _strata(database: duckdb.DuckDBPyConnection, settings: SampleSettings) -> dict[tuple[str, int], Stratum]:
    found: dict[str, dict[int, int]] = {}
    query = "SELECT label, band, count(*) FROM candidates GROUP BY ALL ORDER BY ALL"
    for label, band, n in database.execute(query).fetchall():
        found.setdefault(label, {})[band] = n
    strata = {}
    for label, sizes in found.items():
        for (band, size), drawn in zip(
            sizes.items(), allocate(list(sizes.values()), settings.per_species), strict=True
        ):
            low, high = (band / BANDS, (band + 1) / BANDS) if settings.near is None else _near(settings.near)
            strata[label, band] = Stratum(low, high, size, drawn)
    return strata


def allocate(sizes: Sequence[int], wanted: int) -> list[int]:
    """Divide `wanted` evenly over strata of these sizes; what a small one cannot use goes to the others."""
    shares = [0] * len(sizes)
    left = wanted
    # The smallest first; of equals, the later one gets the odd clip.
    for done, place in enumerate(sorted(range(len(sizes)), key=lambda place: (sizes[place], place))):
        shares[place] = min(sizes[place], left // (len(sizes) - done))
        left -= shares[place]
    return shares


def _systematic(
    database: duckdb.DuckDBPyConnection, strata: dict[tuple[str, int], Stratum], seed: int
) -> list[tuple[Any, ...]]:
    """Return the rows at equal distances in each stratum, from a random start.

    Only the counts of stations and nights are put in order, and then the rows of those that are drawn from: sorting all
    detections of a large table would take minutes.
    """
    wanted = [
        {"label": label, "band": band, "detections": s.detections, "drawn": s.drawn, "begin": _start(seed, label, band)}
        for (label, band), s in strata.items()
        if s.drawn
    ]
    if not wanted:
        return []
    database.register("registered_strata", pa.Table.from_pylist(wanted))
    database.execute(
        """
        CREATE OR REPLACE TEMP TABLE picks AS
        WITH cells AS (SELECT label, band, of_station, of_night, count(*) AS n FROM candidates GROUP BY ALL),
        placed AS (
          SELECT *, sum(n) OVER (PARTITION BY label, band ORDER BY of_station, of_night) - n AS before FROM cells),
        positions AS (
          SELECT label, band, floor((unnest(range(drawn)) + begin) * detections / drawn)::BIGINT AS position
          FROM registered_strata)
        SELECT label, band, of_station, of_night, (position - before)::BIGINT AS place
        FROM placed JOIN positions USING (label, band) WHERE position >= before AND position < before + n
        """
    )
    database.unregister("registered_strata")
    found: list[tuple[Any, ...]] = database.execute(
        f"""
        WITH cells AS (SELECT DISTINCT label, band, of_station, of_night FROM picks),
        ordered AS (
          SELECT c.*, row_number() OVER (PARTITION BY label, band, of_station, of_night ORDER BY {_ORDER}) - 1 AS place
          FROM candidates c SEMI JOIN cells USING (label, band, of_station, of_night))
        SELECT {_SIGHTING}, {_OTHERS} FROM ordered SEMI JOIN picks USING (label, band, of_station, of_night, place)
        ORDER BY label, {_ORDER.replace(", chunk_id", "")}
        """
    ).fetchall()
    return found


def _start(seed: int, label: str, band: int) -> float:
    return random.Random(f"{seed}/{label}/{band}").random()


def _strongest(database: duckdb.DuckDBPyConnection, each: int) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = database.execute(
        f"""
        WITH cells AS (
          SELECT label, of_station, of_night, max(confidence) AS best FROM candidates GROUP BY ALL),
        -- Where stations and nights are many, only the best of each can come in, and the others need no sorting.
        enough AS (SELECT label FROM cells GROUP BY label HAVING count(*) >= ?),
        in_question AS (
          SELECT c.* FROM candidates c JOIN cells USING (label, of_station, of_night)
          WHERE confidence = best OR label NOT IN (SELECT label FROM enough)),
        ranked AS (
          SELECT *, row_number() OVER (
            PARTITION BY label, of_station, of_night ORDER BY confidence DESC, {_ORDER}) AS place
          FROM in_question)
        SELECT {_SIGHTING}, {_OTHERS} FROM ranked
        QUALIFY row_number() OVER (
          PARTITION BY label ORDER BY place, confidence DESC, of_station, of_night, {_ORDER}) <= ?
        ORDER BY label, {_ORDER.replace(", chunk_id", "")}
        """,
        [each, each],
    ).fetchall()
    return found


def _numbered(
    rows: Sequence[tuple[Any, ...]], settings: SampleSettings, strata: dict[tuple[str, int], Stratum]
) -> list[Drawn]:
    by_label: dict[str, list[tuple[Any, ...]]] = {}
    for row in rows:
        by_label.setdefault(str(row[0]), []).append(row)
    shuffled = []
    for label, group in by_label.items():
        random.Random(f"{settings.seed}/{label}").shuffle(group)
        shuffled += group
    width = max(4, len(str(len(shuffled))))
    drawn = []
    for number, row in enumerate(shuffled, start=1):
        sighting = Sighting(*row[:12])
        code, night, start_ms, end_ms, band = row[12:]
        end_ms = start_ms if end_ms is None else end_ms
        stratum = strata.get((sighting.label, band))
        drawn.append(Drawn(f"{number:0{width}}", sighting, code, night, start_ms, end_ms, stratum))
    return drawn
