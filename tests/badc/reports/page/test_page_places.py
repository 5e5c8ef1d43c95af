"""Species over stations, the map, and what the page says only with enough audio behind it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import duckdb
import pytest

from badc.reports.files.database import make_database
from badc.reports.page.charts import matrix_chart
from badc.reports.page.map import map_chart
from badc.reports.page.page import write_page
from badc.reports.query.tables import open_tables
from badc.reports.rankings.summary import summarise
from badc.reports.settings import ChoiceSettings, DatabaseSettings, SummarySettings
from badc.reports.study.data import Grid, Station
from badc.reports.study.figures import read_figures
from badc.reports.study.queries import Counts
from badc.reports.study.scale import scale_of
from tests.fakes.study import write_study

HOUR_MS = 3_600_000


def station(name: str, latitude: float, longitude: float, detections: int = 1, hours: float | None = 2.0) -> Station:
    return Station(name, None, latitude, longitude, None, detections, 1, 1, hours, None, None)


@pytest.fixture
def three_stations(write_detections, write_coverage):
    """A heard twice in two hours, B once in half an hour; C was not analysed."""
    a, b, c = "A_20230501_050000", "B_20230501_060000", "C_20230501_060000"
    table = write_detections([(a, 0, "Ovenbird", 0.9), (a, 9000, "Ovenbird", 0.5), (b, 0, "Veery", 0.7)])
    write_coverage(table, [(a, 0, 2 * HOUR_MS, "ok"), (b, 0, HOUR_MS // 2, "ok"), (c, 0, HOUR_MS, "missing")])
    return table


def page_text(table: Path, **options: object) -> str:
    (page,) = write_page(table, table.parent / "p.html", clips=False, plots=False, **options)
    return page.read_text(encoding="utf-8")


def test_species_over_stations_has_rates_silence_and_gaps(three_stations):
    with open_tables(three_stations) as database:
        grid = read_figures(Counts(database, has_coverage=True)).matrix

    assert grid == Grid(
        ("Ovenbird", "Veery"), ((2, 0, 0), (0, 1, 0)), ((2.0, 0.5, 0.0), (2.0, 0.5, 0.0)), ("A", "B", "C")
    )
    assert [[grid.value(row, column) for column in range(3)] for row in range(2)] == [
        [1.0, 0.0, None],
        [0.0, 2.0, None],
    ]
    chart = str(matrix_chart(grid, [2, 1], scale_of(grid.values())))
    wide = chart.split("</svg>")[0]
    assert wide.count('class="none"') == 2, "C is hatched in both rows"
    assert "Ovenbird, A: 1 per hour (2 in 2 h)" in wide
    page = page_text(three_stations)
    assert "Species by station as a table" in page
    assert "Species by station" not in page_text(write_study(three_stations.parent / "one", stations=1, days=2))


def test_the_command_beside_the_stations_gives_their_numbers(three_stations, monkeypatch):
    command = re.search(r"<code>(badc report summary [^<]*stations.csv)</code>", page_text(three_stations))
    words = shlex.split(command[1]) if command else []
    monkeypatch.chdir(three_stations.parent)
    given = dict(zip(words[3::2], words[4::2], strict=True))
    assert given == {"--parquet": "d.parquet", "--group-by": "station", "--output": "stations.csv"}
    assert words.count("--group-by") == 2

    made = summarise(SummarySettings(parquet=Path("d.parquet"), group_by=("label", "station"), output=Path("s.csv")))
    rows = {(row["label"], row["station"]): row["detections_per_hour"] for row in made.groups.as_dicts()}
    assert rows == {("Ovenbird", "A"): 1.0, ("Veery", "B"): 2.0}


def test_the_sql_beside_the_histograms_gives_their_numbers(write_detections, write_coverage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    a = "A_20230501_050000"
    found = [(a, 0, "Veery", 0.2), (a, 0, "Veery", 1.0), (a, 0, "Veery", None), (a, 0, "Ovenbird", 0.5)]
    table = write_detections([*found, (a, 0, "OVEN", 0.9)], occurrence=0.5, label_code="OVEN", label_name="Ovenbird")
    elsewhere = write_coverage(table, [(a, 0, HOUR_MS, "ok")]).rename("c.parquet")
    Path("t.csv").write_text("label,min_confidence\nVeery,0.5\n")
    make_database(DatabaseSettings(parquet=table, database="p.duckdb", min_confidence=0.9))  # of another report
    choice = ChoiceSettings(thresholds="t.csv", min_confidence=0.6, drop_unexpected=True)
    rows = [("OVEN", 0.5, 1), ("OVEN", 0.9, 1), ("Veery", 0.2, 1), ("Veery", 0.95, 1)]

    assert _asked_for_confidence(page_text(table)) == rows
    page = page_text(table, choice=choice, coverage=elsewhere)
    assert _asked_for_confidence(page) == rows, "those below the thresholds too"
    commands = re.findall(r"badc report summary [^<]*", page)
    assert len(commands) >= 2
    assert all("--coverage c.parquet" in command for command in commands)


def _asked_for_confidence(page: str) -> list[tuple[str, float, int]]:
    """Do what the page says beside the histograms."""
    found = re.search(r"<code>(SELECT label, least[^<]*?) -- in \S+, from badc report duckdb ([^<]*)</code>", page)
    assert found is not None
    words = shlex.split(found[2])
    given = dict(zip(*[iter(word for word in words if word != "--drop-unexpected")] * 2, strict=True))
    options = {name.removeprefix("--").replace("-", "_"): value for name, value in given.items()}
    made = make_database(DatabaseSettings(**options, drop_unexpected="--drop-unexpected" in words))
    with duckdb.connect(made.database, read_only=True) as database:
        return database.execute(found[1]).fetchall()


def test_no_superlative_on_less_audio_than_asked(three_stations):
    everything = page_text(three_stations, min_effort_h=0)
    usual = page_text(three_stations)
    none = page_text(three_stations, min_effort_h=3)

    assert "Most detections per analysed hour at B (2)." in everything
    assert "Most detections per analysed hour at A (1)." in usual, "B has half an hour"
    assert "No station with detections has 3 hours of analysed audio, so none is named as the busiest." in none
    assert "No hour of the day with detections has 3 hours of analysed audio" in none
    assert "Among them: Ovenbird (2), Veery (1)." in none
    assert "Most often: Ovenbird (2), Veery (1)." in usual


def test_a_title_of_ones_own_is_text(three_stations):
    assert "<h1>Marsh &lt;2023&gt;</h1>" in page_text(three_stations, title="Marsh <2023>")


def test_the_weakest_detection_that_counts_has_a_clip(three_stations):
    with open_tables(three_stations) as database:
        found = Counts(database, has_coverage=True).weakest(["Ovenbird", "Veery"])

    assert {(one.label, one.confidence, one.timestamp_ms) for one in found} == {
        ("Ovenbird", 0.5, 9000),
        ("Veery", 0.7, 0),
    }


def test_species_link_to_their_clips(tmp_path, birds_wav):
    study = write_study(tmp_path, stations=2, days=2, clip=birds_wav)
    page = write_page(study, tmp_path / "p.html", plots=False)[0].read_text(encoding="utf-8")

    links = re.findall(r'<a href="#(clip-\d+)" title="to its clip">([^<]+)</a>', page)
    assert len(links) >= 3
    for clip, label in links:
        assert re.search(rf'<div class="card" id="{clip}">\s*<h3>{label}', page), label


def test_the_map_keeps_distances_and_says_its_scale():
    # One degree of latitude is 111.2 km; at 60 degrees north, one of longitude is half of that.
    chart = str(map_chart([station("A", 60.5, 10), station("B", 59.5, 10), station("C", 59.5, 12)], scale_of([0.5])))
    wide = chart.split("</svg>")[0]
    dots = [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', wide)]

    (ax, ay), (bx, by), (cx, cy) = dots
    assert ax == bx
    assert by == cy
    assert by > ay, "north is up"
    assert by - ay == pytest.approx(cx - bx, abs=0.5), "111 km both"
    bar = re.search(r'<line x1="([\d.]+)" y1="[\d.]+" x2="([\d.]+)"[^>]*/><text[^>]*>([\d.]+) km', wide)
    assert bar is not None
    assert (float(bar[2]) - float(bar[1])) / float(bar[3]) == pytest.approx((by - ay) / 111.195, rel=0.01)
    assert "Map of 3 stations" in wide


def test_the_map_spans_the_date_line_and_hatches_stations_without_effort():
    chart = str(map_chart([station("W", -17, 179.9), station("E", -17, -179.9, hours=0.0)], scale_of([0.5])))
    wide = chart.split("</svg>")[0]
    (west, east) = [float(x) for x in re.findall(r'<circle cx="([\d.]+)"', wide)]

    assert west < east
    assert 'class="swatch none"><title>E: not recorded or not analysed' in wide
    assert "10 km" in wide or "5 km" in wide, "21 km apart, not 40,000"


def test_no_map_of_one_place():
    assert map_chart([station("A", 60, 10), station("B", 60, 10)], scale_of([1])) is None
    assert map_chart([Station("A", None, None, None, None, 1, 1, 1, 1.0, None, None)], scale_of([1])) is None


@pytest.mark.birdnet
def test_codes_have_their_common_and_scientific_names(write_detections):
    heth = write_detections([("A_20230501_050000", 0, "HETH", 0.9)], label_code="HETH", label_name="Hermit Thrush")
    birdnet = write_detections([("A_20230501_050000", 0, "Veery", 0.9)], "v.parquet", label_name="Catharus fuscescens")

    assert "HETH <i>Hermit Thrush, Catharus guttatus</i>" in page_text(heth)
    assert "Veery <i>Catharus fuscescens</i>" in page_text(birdnet)
