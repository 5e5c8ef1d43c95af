"""What made a table's results: read from its metadata or its rows, and said first where it is a mixture."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from badc.chunks.manifest import Chunk
from badc.detections.aggregate import aggregate
from badc.detections.fingerprint import fingerprint_of
from badc.detections.settings import AggregateSettings
from badc.reports.files.database import make_database
from badc.reports.files.export import export
from badc.reports.page.page import write_page
from badc.reports.query.counts import choose
from badc.reports.query.notes import notes_on_tables
from badc.reports.query.runs import runs_of
from badc.reports.query.tables import open_tables
from badc.reports.rankings.rollup import roll_up
from badc.reports.settings import (
    ChoiceSettings,
    DatabaseSettings,
    ExportFormat,
    ExportSettings,
    PlotKind,
    RollupSettings,
)

BIRDNET = {
    "runner": "birdnet",
    "model_version": "BirdNET 2.4",
    "min_confidence": 0.25,
    "birdnet_overlap_s": 0.5,
    "species": ["Seiurus aurocapilla_Ovenbird"],
    "window_s": 3.0,
}
LOWER = BIRDNET | {"min_confidence": 0.1, "species": None}


@pytest.fixture
def mixed(
    tmp_path: Path, chunk: Callable[..., Chunk], detections_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Tables of two chunks at 0.25, one of them silent, and one at 0.1."""
    monkeypatch.chdir(tmp_path)
    detections_file(chunk("A_20230501_050000", 0, 1000), ("Ovenbird", 0.5, 0, 10), settings=BIRDNET)
    detections_file(chunk("A_20230501_050000", 1000, 2000), settings=BIRDNET)
    detections_file(chunk("B_20230501_050000", 0, 1000), ("Veery", 0.15, 0, 10), settings=LOWER)
    aggregate(AggregateSettings(detections_dir=Path("out"), output=Path("t/d.csv"), parquet=Path("t/d.parquet")))
    return tmp_path / "t" / "d.parquet"


def notes(parquet: Path) -> tuple[str, ...]:
    coverage = parquet.with_name(f"{parquet.stem}_coverage.parquet")
    with open_tables(parquet) as database:
        choose(database)
        found = notes_on_tables(database, parquet, coverage if coverage.exists() else None)
    return tuple(
        note for note in found if not note.startswith(("no station", "no time"))
    )  # those have tests of their own


def test_a_mixture_is_said_first_with_each_part(mixed: Path) -> None:
    first = notes(mixed)[0]
    assert first.startswith("these results were made with 2 different settings")
    assert "1. BirdNET 2.4, min_confidence 0.25" in first
    assert "(2 chunks, 1 detection)" in first
    assert "2. BirdNET 2.4, min_confidence 0.1" in first
    assert "(1 chunk, 1 detection)" in first


def test_an_export_of_a_mixture_says_so(mixed: Path) -> None:
    made = export(ExportSettings(parquet=mixed, format=ExportFormat.RAVEN, output_dir=Path("e")))
    assert made.notes[0].startswith("these results were made with 2 different settings")


def test_the_database_lists_the_runs_with_their_settings(mixed: Path) -> None:
    import duckdb

    make_database(DatabaseSettings(parquet=mixed, database=Path("d.duckdb")))
    with duckdb.connect("d.duckdb", read_only=True) as database:
        rows = database.execute("SELECT * FROM runs ORDER BY chunks DESC").fetchall()
        assert database.execute("SELECT count(*) FROM detections JOIN runs USING (fingerprint)").fetchall() == [(2,)]
    assert [(fingerprint, json.loads(settings), *sizes) for fingerprint, settings, *sizes in rows] == [
        (fingerprint_of(BIRDNET), BIRDNET, 2, 1),
        (fingerprint_of(LOWER), LOWER, 1, 1),
    ]


def test_the_page_says_what_each_run_kept(mixed: Path, tmp_path: Path) -> None:
    write_page(mixed, tmp_path / "p.html", clips=False)
    page = " ".join((tmp_path / "p.html").read_text().split())
    assert "whatever their confidence" not in page
    body = page.split("<body>")[1]
    mixture = body.index("These results were made with 2 different settings")
    assert mixture < body.index("BirdNET detected") < body.index("At a glance")
    assert (
        "BirdNET kept detections from a confidence of 0.25 on; BirdNET kept detections from a confidence of 0.1 on; "
        "this page counts all of them." in page
    )
    assert "<dd>none</dd>" not in page
    for words in (
        "BirdNET: detections from a confidence of 0.25 on, windows of 3 s that overlap by 0.5 s, a list of 1 species.",
        "BirdNET: detections from a confidence of 0.1 on, windows of 3 s that overlap by 0.5 s, all its species.",
        fingerprint_of(BIRDNET),
        "min_confidence 0.25",
    ):
        assert words in page


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (0.0, "BirdNET kept detections from a confidence of 0.25 on; this page counts all of them."),
        (0.2, "BirdNET kept detections from a confidence of 0.25 on; this page counts all of them."),
        (
            0.5,
            "BirdNET kept detections from a confidence of 0.25 on; this page counts those with a confidence of at "
            "least 0.5.",
        ),
    ],
)
def test_the_page_tells_the_runners_threshold_from_its_own(
    tmp_path: Path, chunk: Callable[..., Chunk], detections_file: Callable[..., Path], asked: float, said: str
) -> None:
    detections_file(chunk("A_20230501_050000", 0, 1000), ("Ovenbird", 0.5, 0, 10), settings=BIRDNET)
    table = tmp_path / "d.parquet"
    aggregate(AggregateSettings(detections_dir=tmp_path / "out", output=tmp_path / "d.csv", parquet=table))
    write_page(table, tmp_path / "p.html", clips=False, choice=ChoiceSettings(min_confidence=asked))
    assert f"<dt>Threshold</dt><dd>{said}</dd>" in (tmp_path / "p.html").read_text()


def test_plots_say_it_in_the_picture(mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from badc.reports import plots

    titles = []
    monkeypatch.setattr(plots, "save_figure", lambda figure, path: titles.append(figure.get_suptitle()))
    made = plots.write_plots(mixed, tmp_path, [PlotKind.HOURS, PlotKind.CONFIDENCE])
    assert len(titles) == 2
    assert made.problems == []
    for words in (*titles, str(made.notes)):
        assert "hese results were made with 2 different settings" in words
        assert "min_confidence 0.25" in " ".join(words.split())


def test_tables_from_before_there_were_fingerprints_are_told_apart_by_runner_and_version(
    write_detections: Callable[..., Path], write_coverage: Callable[..., Any], tmp_path: Path
) -> None:
    path = write_detections([("R", 0, "a", 0.5), ("S", 0, "a", 0.5)], model_version="v1")
    write_coverage(path, [("R", 0, 60_000, "ok"), ("S", 0, 60_000, "ok")])
    assert notes(path) == ()
    table = pq.read_table(path)
    versions = table.schema.get_field_index("model_version")
    pq.write_table(table.set_column(versions, "model_version", [["v1", "v2"]]), path)
    with open_tables(path) as database:
        assert [(run.fingerprint, dict(run.settings), run.detections) for run in runs_of(database)] == [
            (None, {"runner": "birdnet", "model_version": "v1"}, 1),
            (None, {"runner": "birdnet", "model_version": "v2"}, 1),
        ]
    assert "2 different settings" in notes(path)[0]


def test_silent_tables_of_different_stations_are_no_copies(
    write_detections: Callable[..., Path], write_coverage: Callable[..., Any], tmp_path: Path
) -> None:
    for name in "ABC":
        path = write_detections([], f"data/{name}.parquet")
        write_coverage(path, [(f"{name}_20230501_050000", 0, 60_000, "no_detections")])
    write_coverage(write_detections([], "data/copy of C.parquet"), [("C_20230501_050000", 0, 60_000, "no_detections")])
    write_detections([], "data/uncovered 1.parquet")
    write_detections([], "data/uncovered 2.parquet")
    made = roll_up(RollupSettings(folder=tmp_path / "data"))
    assert len(made.tables) == 5
    assert [path.name for path in made.copies] in (["C.parquet"], ["copy of C.parquet"])


def test_only_the_same_chunk_of_the_same_fingerprint_is_a_copy(
    chunk: Callable[..., Chunk], detections_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def table(name: str, *found: tuple[str, float, int, int], settings: dict[str, Any] | None) -> None:
        detections_file(chunk("A_20230501_050000", 0, 1000), *found, settings=settings)
        where = Path("data") / name
        aggregate(AggregateSettings(detections_dir=Path("out"), output=where / "d.csv", parquet=where / "d.parquet"))
        for path in where.iterdir():
            os.utime(path, (moments.pop(0),) * 2)

    moments = list(range(1_700_000_000, 1_700_000_100))
    table("first", ("Ovenbird", 0.5, 0, 10), settings=BIRDNET)
    table("again", ("Ovenbird", 0.6, 0, 10), settings=BIRDNET)
    made = roll_up(RollupSettings(folder=Path("data")))
    assert (made.detections, made.repeated) == (1, 1)
    assert not any("different settings" in note for note in made.notes)

    table("lower", ("Ovenbird", 0.6, 0, 10), ("Veery", 0.2, 0, 10), settings=LOWER)
    table("silent", settings=BIRDNET | {"min_confidence": 0.9})
    made = roll_up(RollupSettings(folder=Path("data")))
    assert (made.detections, made.repeated) == (3, 1)
    assert made.notes[0].startswith("these results were made with 3 different settings")
    assert "min_confidence 0.9" in made.notes[0]
