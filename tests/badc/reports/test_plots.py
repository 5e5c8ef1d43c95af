"""The numbers and the PNG files of the plots."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image

from badc.errors import RequestError
from badc.reports.plots import write_plots
from badc.reports.query.tables import find_coverage, open_tables
from badc.reports.settings import DEFAULT_KINDS, ChoiceSettings, PlotKind, PlotSettings
from badc.reports.study.data import Station, date_bins, time_bin_s
from badc.reports.study.queries import Counts
from badc.reports.study.scale import LIGHT_STEPS, scale_of, short
from badc.reports.study.sun import sun_band
from tests.conftest import ROOT
from tests.fakes.study import RECORDED_HOURS, write_study

HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up study of three stations and sixteen days."""
    return write_study(tmp_path_factory.mktemp("study"), stations=3, days=16)


@contextmanager
def counted(parquet: Path, min_confidence: float = 0.0, sites: Path | None = None) -> Iterator[Counts]:
    with open_tables(parquet, None, sites) as database:
        yield Counts(
            database,
            has_coverage=find_coverage(parquet) is not None,
            choice=ChoiceSettings(min_confidence=min_confidence),
        )


def test_species_are_counted_as_the_table_has_them(study):
    table = pq.read_table(study).filter(pc.field("confidence") >= 0.5)
    with counted(study, 0.5) as counts:
        species = counts.species()

    assert sum(one.detections for one in species) == table.num_rows
    assert [one.detections for one in species] == sorted((one.detections for one in species), reverse=True)
    for one in species:
        rows = table.filter(pc.field("label") == one.label)
        assert one.detections == rows.num_rows
        assert one.recordings == len(rows["recording_id"].unique())
        assert one.stations == len(rows["station"].unique())
        assert one.mean_confidence == pytest.approx(pc.mean(rows["confidence"]).as_py())
        assert one.highest_confidence == pc.max(rows["confidence"]).as_py()
        assert one.first == pc.min(rows["detected_at"]).as_py().date()
        assert one.last == pc.max(rows["detected_at"]).as_py().date()


def test_hours_have_rates_where_there_was_effort_and_none_elsewhere(study):
    table = pq.read_table(study)
    with counted(study) as counts:
        labels = [species.label for species in counts.species()]
        grid = counts.hours(labels)
        effort = counts.effort_by_hour()
        totals = counts.detections_by_hour()

    recordings = 3 * 16 - 7  # station 0 lacks a week
    hours = pc.hour(table["detected_at"]).to_numpy()
    for hour in range(24):
        missing = 1  # station 1's last day
        expected = (recordings - missing) * 10 / 60 if hour in RECORDED_HOURS else 0
        assert effort[hour] == pytest.approx(expected)
        assert totals[hour] == int((hours == hour).sum())
        for row, label in enumerate(labels):
            if hour not in RECORDED_HOURS:
                assert grid.value(row, hour) is None
                assert grid.absent(row, hour)
            else:
                n = int(((hours == hour) & (table["label"].to_numpy(zero_copy_only=False) == label)).sum())
                assert grid.counts[row][hour] == n
                assert grid.value(row, hour) == pytest.approx(n / expected)


def test_without_coverage_nothing_is_called_silence(study, tmp_path):
    alone = tmp_path / "d.parquet"
    alone.write_bytes(study.read_bytes())
    with counted(alone) as counts:
        grid = counts.hours([counts.species()[0].label])
        making = counts.making()
        stations = counts.stations()

    assert grid.effort_h is None
    assert not any(grid.absent(0, hour) for hour in range(24))
    assert making.analysed_h is None
    assert all(station.analysed_h is None for station in stations)


def test_stations_and_dates(study):
    with counted(study, sites=study.parent / "sites.csv") as counts:
        stations = counts.stations()
        found = counts.dates([station.name for station in stations])
        making = counts.making()

    assert [station.name for station in stations] == ["BOR-001", "BOR-002", "BOR-003"]
    assert stations[0].study_area == "South"
    assert stations[1].latitude == pytest.approx(56.3)
    assert stations[0].analysed_h == pytest.approx(9 * 13 * 10 / 60)
    assert stations[0].recordings == 9 * 13
    assert stations[2].first == date(2023, 5, 14)
    assert stations[2].last == date(2023, 5, 29)
    assert found is not None
    bins, grid = found
    assert (bins.days, bins.number) == (1, 16)
    assert [grid.absent(0, column) for column in range(16)] == [7 <= column < 14 for column in range(16)]
    assert [grid.absent(1, column) for column in range(16)] == [column == 15 for column in range(16)]
    assert sum(map(sum, grid.counts)) == pq.read_metadata(study).num_rows
    assert making.chunks["missing"] == 13 * 10
    assert making.analysed_recordings == making.recordings - 13
    assert making.analysed_h == pytest.approx(sum(station.analysed_h for station in stations))


def test_a_histogram_also_has_what_is_below_the_threshold(write_detections):
    found = [
        ("A_20230501_050000", n * 3000, "x", confidence) for n, confidence in enumerate((0.1, 0.3, 0.31, 0.95, 1.0))
    ]
    parquet = write_detections([*found, ("A_20230501_050000", 30_000, "x", None)])
    with counted(parquet, 0.5) as counts:
        histogram = counts.histograms(["x"])[0]
        detections = counts.species()[0].detections

    assert detections == 2
    assert {number: n for number, n in enumerate(histogram.counts) if n} == {2: 1, 6: 2, 19: 2}


def test_the_strongest_detections_come_from_different_recordings(write_detections):
    parquet = write_detections(
        [
            ("A_20230501_050000", 0, "x", 0.9),
            ("A_20230501_050000", 60_000, "x", 0.95),
            ("B_20230501_050000", 0, "x", 0.5),
            ("C_20230501_050000", 0, "x", 0.6),
            ("C_20230501_050000", 0, "y", None),
            ("C_20230501_050000", 0, "z", 0.2),
        ]
    )
    with counted(parquet) as counts:
        sightings = counts.sightings(["z", "x", "y"], 2)

    assert [(s.label, s.recording_id[0], s.confidence) for s in sightings] == [
        ("z", "C", 0.2),
        ("x", "A", 0.95),
        ("x", "C", 0.6),
    ]
    assert (sightings[1].chunk_start_ms, sightings[1].timestamp_ms) == (60_000, 0)


def test_a_timeline_tells_silence_from_what_was_not_analysed(write_detections, write_coverage):
    name = "A_20230501_050000"
    parquet = write_detections([(name, 5000, "x", 0.4), (name, 7000, "x", 0.8), (name, 125_000, "y", 0.6)])
    write_coverage(parquet, [(name, n * 60_000, (n + 1) * 60_000, "missing" if n == 1 else "ok") for n in range(3)])
    with counted(parquet) as counts:
        timeline = counts.timeline(None, 10)

    assert timeline is not None
    assert (timeline.recording_id, timeline.bin_s, timeline.length_s) == (name, 2, 180)
    assert timeline.rows == ("x", "y")
    assert timeline.counts == (2, 1)
    assert timeline.highest[0][2:4] == (0.4, 0.8)
    assert timeline.highest[1][62] == 0.6
    assert timeline.analysed == (True,) * 30 + (False,) * 30 + (True,) * 30
    assert str(timeline.started) == "2023-05-01 05:00:00"


def test_an_unknown_recording_is_a_clear_error(study):
    with counted(study) as counts, pytest.raises(RequestError, match=r"^nothing: .*BOR-001_20230514"):
        counts.timeline("nothing", 10)


@pytest.mark.parametrize(
    ("first", "last", "days", "number"),
    [
        (date(2023, 5, 1), date(2023, 5, 1), 1, 1),
        (date(2023, 5, 1), date(2023, 7, 9), 1, 70),
        (date(2023, 5, 1), date(2023, 7, 10), 7, 11),
        (date(2013, 1, 1), date(2022, 12, 31), 91, 41),
        (date(1900, 1, 1), date(2022, 12, 31), 642, 70),
    ],
)
def test_dates_are_shown_in_spans_that_fit(first, last, days, number):
    bins = date_bins(first, last)
    assert (bins.days, bins.number) == (days, number)
    assert bins.column(first) == 0
    assert bins.column(last) == number - 1


def test_a_recording_is_shown_in_spans_that_fit():
    for length_s in (1, 10, 96, 97, 600, 3600, 86_400, 40 * 86_400):
        bin_s = time_bin_s(length_s * 1000)
        assert 1 <= -(-length_s // bin_s) <= 96


def station(latitude: float, longitude: float, zone: str | None, first: date, last: date) -> Station:
    return Station("A", None, latitude, longitude, zone, 0, 0, 0, 1.0, first, last)


def test_sunrise_and_sunset_are_those_of_the_almanac():
    # Published almanacs give 05:07 and 21:21 (Pacific daylight time) for Vancouver on 21 June.
    day = date(2023, 6, 21)
    band = sun_band([station(49.26, -123.12, "America/Vancouver", day, day)])

    assert band is not None
    assert band.sunrise == pytest.approx((5 + 7 / 60,) * 2, abs=0.03)
    assert band.sunset == pytest.approx((21 + 21 / 60,) * 2, abs=0.03)
    assert [name for name, _, _ in band.pieces()] == ["night", "day", "night"]


def test_the_daylight_of_a_clock_in_utc_goes_round_midnight():
    day = date(2023, 6, 21)
    band = sun_band([station(49.26, -123.12, "UTC", day, day)])

    assert band is not None
    pieces = band.pieces()
    assert [name for name, _, _ in pieces] == ["day", "night", "day"]
    assert pieces[1][1:] == pytest.approx((4 + 21 / 60, 12 + 7 / 60), abs=0.03)


def test_where_the_sun_does_not_set_it_is_said():
    band = sun_band([station(69.65, 18.95, "Europe/Oslo", date(2023, 6, 1), date(2023, 6, 30))])
    assert band is not None
    assert band.pieces() == []
    assert "did not set" in band.words()
    winter = sun_band([station(69.65, 18.95, "Europe/Oslo", date(2023, 12, 1), date(2023, 12, 30))])
    assert winter is not None
    assert "did not rise" in winter.words()


def test_without_a_time_zone_there_is_no_daylight():
    assert sun_band([station(49.0, -123.0, None, date(2023, 6, 1), date(2023, 6, 1))]) is None
    assert sun_band([]) is None


@pytest.mark.parametrize(
    "values",
    [
        [300.0],
        [30.0, 35.0, 41.0],
        [0.01 * n for n in range(1, 300)],
        [10.0 ** (n / 20) for n in range(-60, 60)],
        [1e-9],
        [1, 2, 3],
        [5e11, 1.0],
    ],
)
def test_classes_are_ordered_and_named(values):
    scale = scale_of([0.0, *values])
    names = scale.names()

    assert list(scale.bounds) == sorted(set(scale.bounds))
    assert len(names) == len(scale.bounds) + 1 <= len(LIGHT_STEPS)
    colours = [scale.step(value) for value in sorted(values)]
    assert colours == sorted(colours)
    assert set(colours) <= set(range(len(LIGHT_STEPS)))
    if max(values) > 4 * min(values) and len(values) > 3:
        assert len(set(colours)) >= 4, "the classes tell the values apart"


def test_numbers_are_short():
    shown = [short(n) for n in (0, 1234567.8, 99.96, 56.71, 6.534, 3.0, 0.0421, 1e-7)]
    assert shown == ["0", "1,234,568", "100", "56.7", "6.53", "3", "0.042", "1.0e-07"]


# Machado, Oliveira, Fernandes (2009), full dichromacy, in linear RGB.
# Those of the page on a dark ground, where more is lighter.
DARK_STEPS = re.findall(r"--c\d: (#[0-9a-f]{6});", (ROOT / "badc/reports/page/templates/page.css").read_text())[-6:]
DICHROMATS = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
    "grey": [[0.2126, 0.7152, 0.0722]] * 3,
    "all colours": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
}


@pytest.mark.parametrize("eyes", DICHROMATS)
@pytest.mark.parametrize("steps", [LIGHT_STEPS, DARK_STEPS], ids=["light", "dark"])
def test_the_colours_are_ordered_by_lightness_for_all_eyes(steps, eyes):
    linear = np.array([[int(step[at : at + 2], 16) / 255 for at in (1, 3, 5)] for step in steps])
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(DICHROMATS[eyes]).T, 0, 1)
    lightness = 116 * np.cbrt(seen @ (0.2126, 0.7152, 0.0722)) - 16  # CIE L*
    change = np.diff(lightness)

    assert (change < -8).all() or (change > 8).all(), lightness


def test_plots_are_png_files(study, tmp_path):
    made = write_plots(
        study,
        tmp_path / "plots",
        DEFAULT_KINDS,
        sites=study.parent / "sites.csv",
        choice=ChoiceSettings(min_confidence=0.4),
    )

    assert [path.name for path in made.written] == [f"study_{kind}.png" for kind in DEFAULT_KINDS]
    assert made.problems == []
    for path in made.written:
        with Image.open(path) as image:
            image.load()
            assert image.format == "PNG"
            assert image.width == 1500
            colours = {colour for _, colour in image.convert("RGB").getcolors(2**24)}
            expected = ["#08857f"] if "confidence" in path.name else LIGHT_STEPS
            assert colours & {tuple(bytes.fromhex(colour[1:])) for colour in expected}, path
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == sorted(path.name for path in made.written)


@pytest.mark.long
def test_plots_use_no_global_state_and_take_any_label(write_detections, write_coverage, tmp_path):
    labels = ["$x^2$ {", "<script>alert(1)</script>", "two\nlines", "é漢字", "a" * 300, "", " ", "\x07bell", "%s \\n"]
    name = "A_20230501_050000"
    parquet = write_detections([(name, n * 3000, label or "x", 0.5) for n, label in enumerate(labels)])
    write_coverage(parquet, [(name, 0, 60_000, "ok")])
    had_pyplot = "matplotlib.pyplot" in sys.modules
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        made = write_plots(parquet, tmp_path / "plots", DEFAULT_KINDS)

    assert len(made.written) == 4
    assert ("matplotlib.pyplot" in sys.modules) == had_pyplot


def test_a_spectrogram_is_drawn_or_its_absence_explained(
    write_detections: Callable[..., Path], birds_wav: Path, tmp_path: Path
) -> None:
    parquet = write_detections(
        [("A_20230501_050000", 3000, "Tennessee Warbler", 0.79), ("B_20230501_050000", 0, "Gone", 0.9)],
        chunk_ms=10_000,
    )
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "A_20230501_050000.wav").symlink_to(birds_wav)
    made = write_plots(parquet, tmp_path / "plots", [PlotKind.SPECTROGRAM])

    assert [path.name for path in made.written] == ["d_spectrogram_02.png"]
    with Image.open(made.written[0]) as image:
        assert image.width == 1500
    assert len(made.problems) == 1
    assert made.problems[0].startswith("Gone: ")
    assert "no such audio file" in made.problems[0]


def test_plots_of_chosen_labels_only(study, tmp_path):
    made = write_plots(study, tmp_path, [PlotKind.DATES], labels=["common loon", "Common Nighthak"])

    assert [path.name for path in made.written] == ["study_dates.png"]
    assert made.problems == ["no detection is labelled 'Common Nighthak'; did you mean 'Common Nighthawk'?"]


def test_a_table_without_detections_gives_no_plots(write_detections, tmp_path):
    made = write_plots(write_detections([]), tmp_path / "plots", DEFAULT_KINDS)

    assert made.written == []
    assert made.problems == ["there are no detections to draw"]


def test_settings_name_the_kinds():
    assert PlotSettings(parquet="x").kinds == DEFAULT_KINDS
    assert PlotSettings(parquet="x", kind=("hours,spectrogram",)).kinds == (PlotKind.HOURS, PlotKind.SPECTROGRAM)
    with pytest.raises(ValueError, match="'pie' is not one of hours, dates"):
        PlotSettings(parquet="x", kind=("pie",))
