"""Unexpected detections: what the model and a person's list say, marked in every report, left out on request."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from badc.errors import RequestError
from badc.reports.files.database import make_database
from badc.reports.files.export import export
from badc.reports.files.frames import load_detections, open_bundle
from badc.reports.page.page import write_page
from badc.reports.rankings.quicklook import quicklook
from badc.reports.rankings.rollup import roll_up
from badc.reports.rankings.summary import summarise
from badc.reports.settings import (
    ChoiceSettings,
    DatabaseSettings,
    ExportSettings,
    QuicklookSettings,
    RollupSettings,
    SummarySettings,
)
from badc.species.expected import ExpectedSpecies, read_expected
from tests.badc.reports.page.test_page import read

NORTH, SOUTH = "N-1_20230601_050000", "S-1_20230601_050000"
# (recording, label, occurrence)
HEARD = [
    (NORTH, "Song Thrush", 0.0),
    (NORTH, "Blackburnian Warbler", 0.0206),
    (NORTH, "Tennessee Warbler", 0.6),
    (NORTH, "Coyote", None),
    (SOUTH, "Song Thrush", 0.5275),
    (SOUTH, "Tennessee Warbler", 0.0004),
    (SOUTH, "Coyote", None),
]
MARKED = "unexpected at their station and time of year: "


@pytest.fixture
def parquet(write_detections: Callable[..., Path], tmp_path: Path) -> Path:
    path = write_detections([(recording, 0, label, 0.9) for recording, label, _ in HEARD], "data/d.parquet")
    table = pq.read_table(path)
    areas = {NORTH: "North", SOUTH: "South"}
    columns = {
        "occurrence": pa.array([occurrence for *_, occurrence in HEARD], pa.float64()),
        "study_area": pa.array([areas[recording] for recording, *_ in HEARD]),
    }
    for name, column in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, column)
    pq.write_table(table, path)
    return path


def marked(path: Path, **choice: Any) -> tuple[dict[str, int | None], tuple[str, ...]]:
    """Return the unexpected detections of each label, and the notes on them."""
    made = summarise(SummarySettings(parquet=path, **choice))
    found = {row["label"]: row["unexpected"] for row in made.groups.as_dicts()}
    return found, tuple(note for note in made.notes if "at their station" in note)


def expected_csv(text: str) -> Path:
    path = Path("expected.csv")
    path.write_text(text, encoding="utf-8")
    return path


def test_what_the_model_hardly_expects_is_marked_and_counted(parquet: Path) -> None:
    assert marked(parquet) == (
        {"Coyote": None, "Song Thrush": 1, "Tennessee Warbler": 1, "Blackburnian Warbler": 1},
        (
            f"{MARKED}3 detections of 3 labels (Blackburnian Warbler, Song Thrush, Tennessee Warbler); "
            "--drop-unexpected leaves them out",
        ),
    )
    assert marked(parquet, min_occurrence=0.01)[0]["Blackburnian Warbler"] == 0
    assert marked(parquet, min_occurrence=0.0)[1] == ()


def test_what_is_unexpected_is_left_out_on_request_and_said(parquet: Path) -> None:
    assert marked(parquet, drop_unexpected=True, labels=("song thrush", "tennessee warbler")) == (
        {"Song Thrush": 0, "Tennessee Warbler": 0},
        (f"left out as {MARKED}2 detections of 2 labels (Song Thrush, Tennessee Warbler)",),
    )


def test_a_persons_list_outranks_the_model(parquet: Path) -> None:
    everywhere = expected_csv("label\nblackburnian warbler\n")
    assert marked(parquet, expected=everywhere)[0] == {
        "Coyote": None,
        "Song Thrush": 1,
        "Tennessee Warbler": 1,
        "Blackburnian Warbler": 0,
    }
    # South's list is complete; North has none, so there the model decides on the others.
    by_area = expected_csv("study_area,label\n,BLACKBURNIAN WARBLER\nSouth,Tennessee Warbler\n")
    assert marked(parquet, expected=by_area)[0] == {
        "Coyote": 1,
        "Song Thrush": 2,
        "Tennessee Warbler": 0,
        "Blackburnian Warbler": 0,
    }
    assert marked(parquet, expected=by_area, drop_unexpected=True)[0] == {
        "Coyote": None,
        "Tennessee Warbler": 0,
        "Blackburnian Warbler": 0,
    }


def test_a_list_needs_no_model(write_detections: Callable[..., Path]) -> None:
    path = write_detections([("A", 0, "Hermit Thrush", 0.5)], label_code="HETH", study_area="it's")
    assert marked(path, expected=expected_csv("label,study_area\nheth,it's\n"))[0] == {"Hermit Thrush": 0}
    path = write_detections([("A", 0, "Ovenbird", 0.5), ("A", 0, "Veery", 0.5)], study_area="it's")
    assert marked(path, expected=expected_csv("label,study_area\nOvenbird,it's\n"))[0] == {"Ovenbird": 0, "Veery": 1}


def test_all_reports_mark_and_leave_out(parquet: Path) -> None:
    looked = quicklook(QuicklookSettings(parquet=parquet, output_dir=Path("q")))
    with Path("q/labels.csv").open(encoding="utf-8") as stream:
        assert {row["label"]: row["unexpected"] for row in csv.DictReader(stream)}["Song Thrush"] == "1"
    rolled = roll_up(RollupSettings(folder=Path("data")))
    for made in (looked, rolled):
        assert {row["label"]: row["unexpected"] for row in made.labels.as_dicts()}["Song Thrush"] == 1
        assert any(note.startswith(MARKED) for note in made.notes)
    assert roll_up(RollupSettings(folder=Path("data"), drop_unexpected=True)).detections == 4
    dropped = make_database(DatabaseSettings(parquet=parquet, database=Path("x.duckdb"), drop_unexpected=True))
    assert dropped.detections == 4
    made_files = export(ExportSettings(parquet=parquet, format="birdnet", drop_unexpected=True))
    assert made_files.detections == 4
    assert any(note.startswith(f"left out as {MARKED}3 detections") for note in made_files.notes)
    make_database(DatabaseSettings(parquet=parquet, database=Path("x.duckdb")))
    with open_bundle("x.duckdb") as bundle:
        assert bundle.query("SELECT count(*) FROM detections WHERE unexpected").iloc[0, 0] == 3
    assert load_detections(parquet)["unexpected"].sum() == 3


def test_the_page_marks_species_and_says_how_many(parquet: Path) -> None:
    write_page(parquet, Path("page.html"), clips=False, plots=False)
    text = read(Path("page.html")).text
    assert re.search(r"Blackburnian Warbler( Setophaga fusca;)? unexpected here", text)
    assert re.search(r"Song Thrush( Turdus philomelos;)? 1 of 2 unexpected here", text)
    assert "1 is unexpected wherever and whenever detected: doubt these first." in text
    assert "Unexpected at their station and time of year: 3 detections of 3 labels" in text
    write_page(parquet, Path("page.html"), clips=False, plots=False, choice=ChoiceSettings(drop_unexpected=True))
    text = read(Path("page.html")).text
    assert "unexpected here" not in text
    assert "Left out as unexpected at their station and time of year: 3 detections of 3 labels" in text
    assert "--drop-unexpected" in text, "the commands beside the numbers give the same numbers"


def test_a_table_without_occurrence_says_how_to_get_it(write_detections: Callable[..., Path]) -> None:
    path = write_detections([(NORTH, 0, "Song Thrush", 0.9)])
    Path("sites.csv").write_text("station,latitude,longitude\nN-1,55,-115\n")
    assert summarise(SummarySettings(parquet=path)).groups.as_dicts()[0]["unexpected"] is None
    assert any(
        "`badc infer aggregate --sites`" in n for n in summarise(SummarySettings(parquet=path, sites="sites.csv")).notes
    )
    with pytest.raises(RequestError, match=r"--drop-unexpected: .*badc infer aggregate --sites"):
        summarise(SummarySettings(parquet=path, drop_unexpected=True))
    empty = write_detections([])
    assert summarise(SummarySettings(parquet=empty, drop_unexpected=True)).groups.rows == ()


def test_a_list_of_expected_species_is_read_as_people_write_it(tmp_path: Path) -> None:
    text = (
        "\ufeffNotes, Label ,STUDY_AREA\r\nx,Swainson\u2019s  Thrush,\r\n,SWTH,Nord\u00e9\r\n,OVEN,Norde\u0301\r\n\r\n"
    )
    path = tmp_path / "expected.csv"
    path.write_bytes(text.encode())
    assert read_expected(path) == ExpectedSpecies(
        frozenset({"swainson's thrush"}), {"Nord\u00e9": frozenset({"swth", "oven"})}
    )
    for content, said in (
        ("species\nOvenbird\n", r"expected\.csv: the column label is missing; it needs label and may have study_area"),
        ("label;study_area\nOvenbird;N\n", r"expected\.csv:1: the columns are separated by ';'"),
        ("label,study_area\n,N\nOvenbird,N\n,S\n", r"expected\.csv:2: label is empty\n.*expected\.csv:4: label"),
        ("label\n", r"expected\.csv: the CSV of expected species lists none"),
    ):
        path.write_text(content)
        with pytest.raises(RequestError, match=said):
            read_expected(path)
