"""A threshold for each species: read, applied in every report, and said on the page with what people checked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from badc.errors import RequestError
from badc.reports.bundle import make_bundle
from badc.reports.files.export import export
from badc.reports.query.thresholds import Threshold, read_thresholds
from badc.reports.rankings.rollup import roll_up
from badc.reports.rankings.summary import summarise
from badc.reports.settings import BundleSettings, ExportSettings, RollupSettings, SummarySettings

NAME = "A_20230501_050000"
FULL = (
    "label,min_confidence,checked,sampled_from,precision,low,high,kept_precision,kept_low,kept_high,note\n"
    "wren,0.6,48,1204,0.5,0.4,0.6,0.92,0.81,0.97,\n"
    "Owl,,12,30,1,0.76,1,,,,all right\n"
)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a CSV of thresholds."""

    def written(text: str) -> Path:
        path = tmp_path / "thresholds.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return written


@pytest.fixture
def table(write_detections: Callable[..., Path]) -> Path:
    """A table of three species, one detection of which has no confidence."""
    found = [("Wren", 0.59), ("Wren", 0.6), ("Wren", 0.9), ("Wren", None), ("Owl", 0.2), ("Owl", None), ("Jay", 0.3)]
    return write_detections([(NAME, n * 3000, label, score) for n, (label, score) in enumerate(found)])


def counted(table: Path, thresholds: Path, **given: object) -> tuple[dict[str, int], tuple[str, ...]]:
    made = summarise(SummarySettings(parquet=table, thresholds=thresholds, **given))
    return {row["label"]: row["detections"] for row in made.groups.as_dicts()}, made.notes


def test_a_species_has_its_own_threshold_and_the_others_the_common_one(table: Path, write: Callable[..., Path]) -> None:
    path = write("\ufeffLabel, min_confidence ,who\nWREN,0.6,Ann\nOwl,,\nEmu,0.5,\n\n")

    found, notes = counted(table, path)
    assert found == {"Wren": 2, "Owl": 2, "Jay": 1}
    assert f"{path}: 1 label that no detection has: Emu" in notes
    assert counted(table, path, min_confidence=0.25)[0] == {"Wren": 2, "Jay": 1}
    assert counted(table, path, min_confidence=0.95)[0] == {"Wren": 2}, "its own one is the lower"
    assert counted(table, path, labels=("wren",))[0] == {"Wren": 2}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("label;min_confidence\nWren;0.5\n", "separated by ';'; a CSV of thresholds uses commas"),
        ("species,min_confidence\nWren,0.5\n", ".csv: the column label is missing; it needs label,min"),
        ("label,min_confidence\nWren,high\nOwl,60\n,0.5\n", ":2: min_confidence 'high' is not a number\n"),
        ("label,min_confidence\nWren,60\n", ":2: min_confidence '60' is not between 0 and 1"),
        ("label,min_confidence\n,0.5\n", ":2: label is empty"),
        ("label,min_confidence\nWren,0.5\nwren,0.6\n", "'Wren' and 'wren' are the same species, Wren"),
    ],
)
def test_what_is_wrong_is_named(table: Path, write: Callable[..., Path], text: str, said: str) -> None:
    with pytest.raises(RequestError) as error:
        counted(table, write(text))
    assert said in str(error.value)


def test_what_people_checked_is_read(write: Callable[..., Path]) -> None:
    assert read_thresholds(write(FULL)) == [
        Threshold("wren", 0.6, 48, 1204, 0.92, 0.81, 0.97),
        Threshold("Owl", None, 12, 30, 1.0, 0.76, 1.0),
    ]


def test_all_reports_count_the_same_and_the_page_says_what_was_checked(
    table: Path, write: Callable[..., Path], tmp_path: Path
) -> None:
    path = write(FULL + "Jay,0.1,,,,,,,,,\nEmu,0.5,,,,,,,,,\n")
    export_made = export(ExportSettings(parquet=table, format="birdnet", thresholds=path))
    rollup = roll_up(RollupSettings(folder=tmp_path, thresholds=path))
    settings = BundleSettings(parquet=table, thresholds=path, no_plots=True, no_clips=True)
    bundle = make_bundle(settings)
    page = (tmp_path / "d_report.html").read_text()

    assert export_made.detections == rollup.detections == bundle.figures.detections == 5
    for notes in (export_made.notes, rollup.notes, bundle.notes):
        assert any("1 label that no detection has: Emu" in note for note in notes)
    assert json.loads((tmp_path / "d_parquet_report" / "summary.json").read_text())["thresholds"] == str(path)
    assert "No person has checked" not in page
    assert (
        "People checked 60 of 1,234 detections of 2 species, see the table of species; nobody checked the other 1."
        in page
    )
    assert "48 of 1,204, precision 0.92 (0.81 to 0.97)" in page
    assert "12 of 30, precision 1.00 (0.76 to 1.00)" in page
    assert "own threshold in thresholds.csv on, or of 1 species without one with any confidence" in page
    assert "The line is the threshold, of each species its own." in page
    assert "badc report summary --thresholds thresholds.csv" in page, "the command gives the same numbers"
    make_bundle(BundleSettings(parquet=table, no_plots=True, no_clips=True))
    assert "No person has checked these detections." in (tmp_path / "d_report.html").read_text()
