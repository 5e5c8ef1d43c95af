"""What counts is the same in `badc report summary`, `badc review sample` and `badc review compare`."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from badc.reports.compare import comparison
from badc.reports.compare.settings import CompareSettings
from badc.reports.query.counts import choose
from badc.reports.query.tables import open_tables
from badc.reports.rankings.summary import summarise
from badc.reports.review.draw import draw
from badc.reports.review.settings import SampleSettings
from badc.reports.settings import SummarySettings
from badc.reports.study.privacy import keep_private
from badc.settings.model import settings_from

NORTH, SOUTH = "N-1_20230601_050000", "S-1_20230601_050000"
# (recording, label, confidence, occurrence)
HEARD = [
    (NORTH, "Veery", 0.9, 0.5),
    (NORTH, "Veery", 0.6, 0.5),
    (NORTH, "Song Thrush", 0.9, 0.0),
    (NORTH, "Ovenbird", 0.45, 0.2),
    (SOUTH, "Veery", 0.9, 0.001),
    (SOUTH, "Song Thrush", 0.3, 0.6),
    (SOUTH, "Ovenbird", 0.5, 0.2),
]


@pytest.fixture
def table(write_detections: Callable[..., Path], write_coverage: Callable[..., Path]) -> Path:
    path = write_detections([(name, n * 5000, label, score) for n, (name, label, score, _) in enumerate(HEARD)])
    found = pq.read_table(path)
    occurrence = pa.array([row[3] for row in HEARD], pa.float64())
    pq.write_table(found.set_column(found.schema.get_field_index("occurrence"), "occurrence", occurrence), path)
    write_coverage(path, [(NORTH, 0, 60_000, "ok"), (SOUTH, 0, 60_000, "ok")])
    Path("truth.csv").write_text(f"recording,start_s,end_s,label\n{NORTH},0,3,Veery\n{SOUTH},50,51,Song Thrush\n")
    Path("thresholds.csv").write_text("label,min_confidence\nveery,0.7\n")
    Path("sites.csv").write_text("station,latitude,longitude,study_area\nN-1,55,-115,North\nS-1,54,-115,South\n")
    Path("expected.csv").write_text("label,study_area\nVeery,South\n")
    return path


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (
            {"thresholds": "thresholds.csv", "min_confidence": 0.4, "drop_unexpected": True},
            {"Veery": 1, "Ovenbird": 2},
        ),
        (
            {
                "sites": "sites.csv",
                "expected": "expected.csv",
                "drop_unexpected": True,
                "labels": ("veery", "Ovenbird"),
            },
            {"Veery": 3, "Ovenbird": 1},
        ),
    ],
)
def test_the_same_options_choose_the_same_detections(
    table: Path, choice: dict[str, Any], expected: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for draws in ("draw_curves", "draw_confidences"):  # takes longer than all else
        monkeypatch.setattr(comparison, draws, lambda *_: None)
    given = {"parquet": table, **choice}
    summary = summarise(settings_from(SummarySettings, given))
    assert {row["label"]: row["detections"] for row in summary.groups.as_dicts()} == expected

    more = {"truth": ("truth.csv",), "other": table, "complete": True, "clips": 0, "output_dir": "out"}
    made = comparison.compare(settings_from(CompareSettings, given | more))
    assert made.scores is not None
    assert {row["label"]: row["detected"] for row in made.scores.as_dicts() if row["detected"]} == expected
    assert made.agreement is not None
    agreed = made.agreement.as_dicts()
    for column in ("detections_first", "detections_second", "matched_first", "matched_second"):
        assert {row["label"]: row[column] for row in agreed} == expected
    with Path("out/curves.csv").open(encoding="utf-8") as stream:
        curves = [row for row in csv.DictReader(stream) if (row["unit"], row["threshold"]) == ("window", "0.0")]
    lowest = {row["label"]: int(row["detected"]) for row in curves}
    # At a threshold of 0, whatever else leaves out detections still does.
    at_any_confidence = summarise(settings_from(SummarySettings, given | {"thresholds": None, "min_confidence": 0}))
    assert Counter(lowest) == Counter({r["label"]: r["detections"] for r in at_any_confidence.groups.as_dicts()})
    assert any(note.startswith("left out as unexpected") for note in made.notes)

    sample = settings_from(SampleSettings, given | {"output_dir": "review"})
    with open_tables(table, sites=sample.sites) as database:
        choose(database, sample, sample.labels)
        keep_private(database, sample, sample.pad_ms)
        drawn = draw(database, sample)
    assert Counter(one.sighting.label for one in drawn) == expected
