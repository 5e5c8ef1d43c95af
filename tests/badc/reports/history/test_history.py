"""Detection histories: 1, 0 and NA by station and visit, by the night, the date, the clock's hour and the sun's."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
from datetime import datetime
from pathlib import Path

import pytest

from badc.errors import RequestError
from badc.reports.history.history import write_history
from badc.reports.history.settings import HistorySettings
from badc.settings.model import settings_from
from tests.conftest import ROOT

EVENING = "A_20230509_213000"  # three hours are analysed, until after midnight
MORNING = "A_20230510_043000"  # of the same night, an hour
OTHER = "B_20230510_213000"  # of the next night, half an hour
SILENT = "C_20230509_220000"  # an hour, and nothing found
HOUR = 3_600_000


@pytest.fixture
def parquet(write_detections, write_coverage):
    path = write_detections(
        [
            (EVENING, 0, "Veery", 0.9),
            (EVENING, 2 * HOUR + 1_800_000, "Veery", 0.4),  # at midnight
            (MORNING, HOUR - 1000, "Owl: big/small", 0.8),  # at 05:29:59
            (OTHER, 0, "Veery", 0.5),
            ("UNKNOWN", 0, "Veery", 0.5),
            (OTHER, 24 * HOUR, "Veery", 0.5),  # there is no coverage
        ]
    )
    write_coverage(
        path,
        [
            (EVENING, 0, 3 * HOUR, "ok"),
            (EVENING, 3 * HOUR, 4 * HOUR, "missing"),
            (MORNING, 0, HOUR, "ok"),
            (OTHER, 0, HOUR // 2, "ok"),
            (SILENT, 0, HOUR, "no_detections"),
        ],
    )
    return path


def write(parquet, **more):
    return write_history(HistorySettings(parquet=parquet, output_dir=Path("h"), **more))


def table(name):
    with Path("h", name).open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream))


def test_a_night_is_a_visit_and_where_nobody_listened_is_na(parquet):
    made = write(parquet)
    assert table("histories/Veery.csv") == [
        ["station", "2023-05-09", "2023-05-10"],
        ["A", "1", "NA"],
        ["B", "NA", "1"],
        ["C", "0", "NA"],
    ]
    assert table("effort.csv") == [
        ["station", "2023-05-09", "2023-05-10"],
        ["A", "4", "0"],
        ["B", "0", "0.5"],
        ["C", "1", "0"],
    ]
    owl = table("species.csv")[2][-1]
    assert re.fullmatch(r"histories/Owl_ big_small_[0-9a-f]{12}\.csv", owl)
    assert table(owl)[1:] == [["A", "1", "NA"], ["B", "NA", "0"], ["C", "0", "NA"]]
    assert table("species.csv")[1] == ["Veery", "Veery", "3", "2", "2", "histories/Veery.csv"]
    assert table("stations.csv")[1] == ["A", "", "", "", "1", "4.0"]
    assert (made.stations, made.visits, made.station_visits, made.effort_h) == (3, 2, 3, 5.5)
    assert made.notes[-1] == (
        "left out: 1 detection without a known station and time, "
        "1 detection where and when the coverage has no analysed audio"
    )


def test_the_long_table_has_every_species_and_every_visit_with_effort(parquet):
    write(parquet)
    assert table("detections.csv") == [
        ["label", "label_name", "station", "visit", "detected", "detections", "effort_h"],
        ["Owl: big/small", "Owl: big/small", "A", "2023-05-09", "1", "1", "4.0"],
        ["Owl: big/small", "Owl: big/small", "B", "2023-05-10", "0", "0", "0.5"],
        ["Owl: big/small", "Owl: big/small", "C", "2023-05-09", "0", "0", "1.0"],
        ["Veery", "Veery", "A", "2023-05-09", "1", "2", "4.0"],
        ["Veery", "Veery", "B", "2023-05-10", "1", "1", "0.5"],
        ["Veery", "Veery", "C", "2023-05-09", "0", "0", "1.0"],
    ]


def test_dates_and_hours_are_visits_too(parquet):
    write(parquet, visit="DATE")
    assert table("histories/Veery.csv")[:2] == [["station", "2023-05-09", "2023-05-10"], ["A", "1", "1"]]
    write(parquet, visit="hour", labels=["veery"])
    veery = table("histories/Veery.csv")
    hours = [f"2023-05-{day}:00" for day in ("09T21", "09T22", "09T23", "10T00", "10T04", "10T05", "10T21", "10T22")]
    # After 22:00 on 10 May nobody listened.
    assert veery[0] == ["station", *hours[:-1]]
    assert veery[1] == ["A", "1", "0", "0", "1", "0", "0", "NA"]
    assert table("effort.csv")[1] == ["A", "0.5", "1", "1", "0.5", "0.5", "0.5", "0"]


def test_a_species_that_is_asked_for_and_never_sure_enough_has_a_history_of_zeros(parquet):
    made = write(parquet, labels=["veery"], min_confidence=0.95)
    assert [row[1:] for row in table("histories/Veery.csv")[1:]] == [["0", "NA"], ["NA", "0"], ["0", "NA"]]
    assert made.species.rows == (("Veery", "Veery", 0, 0, 0, "histories/Veery.csv"),)
    # No file of the earlier history is left to be taken for this one's; a file of another origin stays.
    Path("h/histories/mine.csv").touch()
    assert write(parquet, min_confidence=0.95).species.rows == ()
    assert [path.name for path in Path("h/histories").iterdir()] == ["mine.csv"]


SITES = "station,latitude,longitude,timezone\nA,55.1,-115.2,America/Edmonton\nB,55.1,-115.2,America/Edmonton\n"


def test_hours_count_from_the_nearest_sunrise_or_sunset(parquet):
    """By the sunrise equation, with a declination of 17.4° and 17.6° and an equation of time of 3.6 minutes."""
    from badc.reports.study.sun import sunrise_and_sunset

    place = (55.1, -115.2, "America/Edmonton")
    sunset = sunrise_and_sunset(*place, datetime(2023, 5, 9).date())["sunset"]
    sunrise = sunrise_and_sunset(*place, datetime(2023, 5, 10).date())["sunrise"]
    assert abs((sunset - datetime(2023, 5, 9, 21, 31)).total_seconds()) <= 180
    assert abs((sunrise - datetime(2023, 5, 10, 5, 42)).total_seconds()) <= 180
    Path("sites.csv").write_text(SITES)
    made = write(parquet, visit="hour", relative_to="sun", sites=Path("sites.csv"))
    before = (sunset - datetime(2023, 5, 9, 21, 30)).total_seconds() / 3600
    effort = dict(zip(table("effort.csv")[0], table("effort.csv")[1], strict=True))
    assert [name for name in effort if name != "station"][:5] == [
        "2023-05-09 sunset-01",
        "2023-05-09 sunset+00",
        "2023-05-09 sunset+01",
        "2023-05-09 sunset+02",
        "2023-05-10 sunrise-02",
    ]
    assert float(effort["2023-05-09 sunset-01"]) == pytest.approx(before, abs=1e-4)
    assert effort["2023-05-09 sunset+00"] == effort["2023-05-09 sunset+01"] == "1"
    assert float(effort["2023-05-09 sunset+02"]) == pytest.approx(1 - before, abs=1e-4)
    assert sum(float(hours) for name, hours in effort.items() if name != "station") == pytest.approx(4, abs=1e-4)
    veery = dict(zip(*table("histories/Veery.csv")[:2], strict=True))
    assert [name for name, cell in veery.items() if cell == "1"] == ["2023-05-09 sunset-01", "2023-05-09 sunset+02"]
    assert "left out, because their coordinates or time zones are not known: the stations 'C'" in made.notes


def test_a_night_without_darkness_has_no_sunset_and_no_visit(write_detections, write_coverage):
    recording = "A_20230621_230000"
    path = write_detections([(recording, 0, "Veery", 0.9)])
    write_coverage(path, [(recording, 0, HOUR, "ok")])
    Path("sites.csv").write_text("station,latitude,longitude,timezone\nA,78.2,15.6,Arctic/Longyearbyen\n")
    made = write(path, visit="hour", relative_to="sun", sites=Path("sites.csv"))
    assert (made.visits, made.notes[-1]) == (0, "left out: 1 detection without an hour of the sun")


def test_what_a_history_lacks_is_said(parquet, write_detections):
    with pytest.raises(RequestError, match=r"--relative-to sun: no station has coordinates and a time zone"):
        write(parquet, visit="hour", relative_to="sun")
    with pytest.raises(RequestError, match="counts hours: give --visit hour, too"):
        settings_from(HistorySettings, {"parquet": parquet, "relative_to": "sun"})
    alone = write_detections([(EVENING, 0, "Veery", 0.9)], "alone.parquet")
    with pytest.raises(RequestError, match=r"alone\.parquet: there is no table of coverage beside it"):
        write(alone)


def snippets():
    page = (ROOT / "docs" / "r.md").read_text()
    return re.findall(r"```r\n(.*?)```", page, flags=re.S)


@pytest.mark.skipif(shutil.which("Rscript") is None, reason="R is not installed (Debian: r-base-core)")
def test_r_reads_the_matrices_as_the_documentation_says(parquet):
    """With a stand-in for `unmarked`, where that is not installed, that checks the shapes as it does."""
    write_history(HistorySettings(parquet=parquet, output_dir=Path("june_history")))
    (code,) = [code for code in snippets() if "unmarkedFrameOccu" in code]
    stand_in = """
        if (!requireNamespace("unmarked", quietly = TRUE)) {
          library <- function(...) invisible()
          unmarkedFrameOccu <- function(y, siteCovs, obsCovs) {
            stopifnot(is.numeric(y), nrow(siteCovs) == nrow(y), is.numeric(obsCovs$effort))
            stopifnot(dim(obsCovs$effort) == dim(y))
            list(y = y)
          }
          occu <- function(formula, data) summary(c(data$y))
        }
    """
    tell = 'cat(rownames(y), colnames(y), c(y), sum(effort), "\\n")'
    done = subprocess.run(["Rscript", "-e", f"{stand_in}\n{code}\n{tell}"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split() == (
        ["A", "B", "C", "2023-05-09", "2023-05-10", "1", "NA", "0", "NA", "1", "NA", "5.5"]
    )
