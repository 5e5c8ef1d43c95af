"""The page as a file: what it says, what it leaves out, and that no label breaks out of it."""

from __future__ import annotations

import re
import shlex
from datetime import date, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest

from badc.errors import RequestError
from badc.reports.page.page import page_of, render, write_page
from badc.reports.page.sentences import dates_words, hours_words, short_dates
from badc.reports.page.svg import element
from badc.reports.query.runs import Run
from badc.reports.settings import EVERYTHING, ChoiceSettings
from badc.reports.study.data import DateBins, Findings, Grid, Histogram, Making, Species, Station, Timeline
from badc.reports.study.figures import MOST_HISTOGRAMS, MOST_HOUR_ROWS, MOST_STATION_ROWS, MOST_TIMELINE_ROWS, Figures
from badc.reports.study.words import clean
from tests.fakes.study import write_study

NAME = "A_20230501_050000"


class Outline(HTMLParser):
    """Collects a page's elements and its visible text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._hidden = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._hidden = tag == "style"

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.words.append(data)

    @property
    def text(self) -> str:
        """All text, its white space made even."""
        return " ".join(" ".join(self.words).split())


def read(path: Path) -> Outline:
    return Outline(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up study of three stations and sixteen days."""
    return write_study(tmp_path_factory.mktemp("study"), stations=3, days=16)


@pytest.fixture(scope="module")
def written(study: Path) -> list[Path]:
    """The page of that study, without clips, and its plots."""
    return write_page(study, study.parent / "study_report.html", sites=study.parent / "sites.csv", clips=False)


def test_the_page_answers_the_first_questions(written):
    page = read(written[0])

    assert [path.name for path in written] == [
        "study_report.html",
        "study_report_hours.png",
        "study_report_dates.png",
        "study_report_timeline.png",
        "study_report_confidence.png",
    ]
    assert all(path.is_file() for path in written)
    words = page.text
    assert "BirdNET detected 14 species in 86.7 hours of audio from 3 stations, 14 to 29 May 2023." in words
    assert "3 stations in 2 study areas." in words
    assert "520 recordings" in words
    assert "130 of 5,330 chunks have no result." in words
    assert "Not all audio was analysed." in words
    assert re.search(r"Daylight at 3 stations over these dates: sunrise 05:\d\d to 05:\d\d, sunset 2[12]:", words)
    assert "local time (America/Edmonton)" in words
    assert "BirdNET_GLOBAL_6K_V2.4_FP32" in words
    assert (
        "badc report summary --parquet study.parquet --sites sites.csv --group-by label --output species.csv" in words
    )
    assert not [tag for tag, _ in page.tags if tag in ("audio", "script", "link", "iframe", "img")]


def test_the_page_asks_nothing_of_the_network(written):
    page = written[0].read_text(encoding="utf-8")
    outline = Outline(page)

    policy = next(attrs["content"] for tag, attrs in outline.tags if attrs.get("http-equiv"))
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"
    for tag, attrs in outline.tags:
        for name in ("src", "href", "srcset", "data", "action"):
            assert (attrs.get(name) or "#").startswith(("#", "data:")), (tag, attrs)
    style = page.split("<style>")[1].split("</style>")[0]
    assert re.findall(r"url\(([^)]*)\)|@import", style) == ["#hatch"]


def test_hostile_labels_stay_text(write_detections, write_coverage, tmp_path):
    labels = [
        "<script>document.title='hacked'</script>",
        '"><img src=x onerror=alert(1)>',
        "</title></style></svg><b>",
        "two\nlines\tand a tab",
        "a\x00b\x1bc\x85d",
        "{{ 7 * 7 }}{% raw %}",
        "'quoted' & \"double\"",
        "x" * 400,
        "‮right to left",
        "data:text/html,<i>",
    ]
    found = [(NAME, n * 3000, label, 0.5) for n, label in enumerate(labels)]
    parquet = write_detections(found, name_of("<i>&amp; it's [1].parquet"))
    write_coverage(parquet, [(NAME, 0, 60_000, "ok")])
    outline = read(write_page(parquet, tmp_path / "p.html")[0])

    assert {tag for tag, _ in outline.tags}.isdisjoint({"script", "img", "b"})
    assert not [attrs for _, attrs in outline.tags if any(name.startswith("on") for name in attrs)]
    for label in labels:
        assert clean(label) in outline.text
    assert "a�b�c�d" in outline.text
    assert "49" not in outline.text.split("Species")[2].split("Time of day")[0], "no template in a label is run"
    assert "<i>&amp; it's [1]" in outline.text


def name_of(name: str) -> str:
    """Return a file name that every file system takes, from one with a slash."""
    return name.replace("/", "")


def test_a_recording_that_is_gone_is_named_without_its_folders(write_detections, tmp_path):
    parquet = write_detections([(NAME, 0, "x", 0.5)], source_path="/home/me/secret/REC.wav")
    words = read(write_page(parquet, tmp_path / "p.html")[0]).text

    assert "1 detection could not be read from the recordings. The option --audio-root names" in words
    assert f"x, {NAME}: REC.wav: no such audio file" in words
    assert "secret" not in words


def test_clips_are_small_and_the_rest_is_said(write_detections, birds_wav, tmp_path):
    parquet = write_detections([(NAME, 3000, "Tennessee Warbler", 0.79)], chunk_ms=10_000)
    (tmp_path / "sound" / "audio").mkdir(parents=True)
    (tmp_path / "sound" / "audio" / f"{NAME}.wav").symlink_to(birds_wav)
    target = tmp_path / "p.html"
    with_clip = read(write_page(parquet, target, audio_root=tmp_path / "sound")[0])
    size = target.stat().st_size
    without = read(write_page(parquet, target, clips=False)[0])

    sounds = [attrs for tag, attrs in with_clip.tags if tag == "audio"]
    assert len(sounds) == 1
    assert sounds[0]["aria-label"] == f"Clip: Tennessee Warbler, confidence 0.79, {NAME} at 0:03"
    assert (sounds[0]["src"] or "").startswith("data:audio/mpeg;base64,")
    assert 40_000 < size - target.stat().st_size < 120_000
    assert not [tag for tag, _ in without.tags if tag in ("audio", "image")]
    assert "Listen" not in without.text


def test_nothing_detected_is_a_page_too(write_detections, write_coverage, tmp_path):
    parquet = write_detections([])
    write_coverage(parquet, [(NAME, 0, 3_600_000, "no_detections")])
    (tmp_path / "p_hours.png").touch()
    written = write_page(parquet, tmp_path / "p.html")
    words = read(written[0]).text

    assert "detected nothing in 1 hour of audio from 1 station, on 1 May 2023." in words
    assert "Stations and dates" in words
    assert [path.name for path in written] == ["p.html", "p_dates.png"]
    assert not (tmp_path / "p_hours.png").exists(), "it was that of an earlier report"


def test_the_plots_can_be_left_out(study, tmp_path):
    assert write_page(study, tmp_path / "p.html", clips=False, plots=False) == [tmp_path / "p.html"]
    assert [path.name for path in tmp_path.iterdir()] == ["p.html"]


def test_without_coverage_effort_is_called_unknown(write_detections, tmp_path):
    outline = read(write_page(write_detections([(NAME, 0, "x", 0.5)]), tmp_path / "p.html", clips=False)[0])

    assert "Not known: there is no coverage table" in outline.text
    assert "none detected, or not recorded" in outline.text
    assert not [attrs for tag, attrs in outline.tags if tag == "rect" and attrs.get("class") == "none"]


def test_recordings_without_times_and_detections_without_confidence_are_counted(write_detections, tmp_path):
    parquet = write_detections([("untimed", 0, "x", None), ("untimed", 3000, "y", 0.4)])
    words = read(write_page(parquet, tmp_path / "p.html", clips=False)[0]).text

    assert "2 detections without a known date and time are missing from the charts" in words
    assert "No time: 2 detections, 1 recording (untimed): counted, but under no hour and no date." in words
    assert "No station: 2 detections, 1 recording (untimed): counted, but under no station." in words
    assert "1 detection came without a confidence." in words
    assert "do not say when they were made" in words


def test_recordings_without_chunks_are_said_and_are_no_chunks(write_detections, write_coverage, tmp_path):
    parquet = write_detections([(NAME, 0, "x", 0.5)])
    write_coverage(parquet, [(NAME, 0, 3_600_000, "ok"), *((name, 0, 0, "not_chunked") for name in ("bad", "new"))])
    words = read(write_page(parquet, tmp_path / "p.html", clips=False)[0]).text

    assert "Not analysed: 2 recordings without chunks: bad (no reason is known), new (no" in words
    assert "Every one of 1 chunk has a result." in words
    assert "1 analysed of 3" in words


def test_what_was_noted_of_the_audio_is_said_first(write_detections, write_coverage, tmp_path):
    parquet = write_detections([(NAME, 0, "x", 0.5)])
    cancel = "the channels cancel each other"
    notes = [f"salvaged: 36.5 s of 60 s can be read; {cancel}", f"salvaged: 2 s of 60 s can be read; {cancel}", cancel]
    chunks = [(NAME, 60_000 * n, 60_000 * (n + 1), "no_detections", note) for n, note in enumerate((None, *notes))]
    write_coverage(parquet, chunks)
    words = " ".join(read(write_page(parquet, tmp_path / "p.html", clips=False)[0]).text.split())

    cancelling = f"The channels cancel each other (3 chunks of {NAME})."
    assert f"{cancelling} Salvaged: 2 s of 60 s can be read, or the like (2 chunks of {NAME})." in " ".join(
        words.split()
    )


def test_a_threshold_is_said_and_marked(study, tmp_path):
    outline = read(write_page(study, tmp_path / "p.html", clips=False, choice=ChoiceSettings(min_confidence=0.6))[0])

    assert "Only detections with a confidence of at least 0.6 are counted." in outline.text
    assert "The line is the threshold of 0.6." in outline.text
    assert "--min-confidence 0.6" in outline.text
    classes = [attrs.get("class") for tag, attrs in outline.tags if tag in ("line", "rect")]
    assert classes.count("threshold") == 14
    assert "bar below" in classes


def test_hours_without_effort_are_hatched_and_silence_is_not(written):
    outline = read(written[0])
    start = next(
        n for n, (tag, a) in enumerate(outline.tags) if tag == "svg" and "hour of day" in a.get("aria-label", "")
    )
    chart = []
    for tag, attrs in outline.tags[start + 1 :]:
        if tag == "svg":
            break
        chart.append((tag, attrs))
    hatched = [attrs for tag, attrs in chart if attrs.get("class") == "none"]
    silent = [attrs for tag, attrs in chart if attrs.get("class") == "zero"]

    assert len(silent) == 14
    assert len(hatched) == 14 * 2, "0 to 3 and 11 to 19"
    cell = 670 / 24
    assert float(hatched[0]["width"] or 0) == pytest.approx(3 * cell, abs=0.1)
    assert float(hatched[1]["x"] or 0) == pytest.approx(220 + 11 * cell, abs=0.1)


def test_a_large_study_stays_small_and_says_what_is_left_out(tmp_path):
    target = tmp_path / "big_report.html"
    (tmp_path / "big_duckdb_exports").mkdir()
    (tmp_path / "big_duckdb_exports" / "label_summary.csv").touch()
    page = render(page_of(largest(species=700, stations=300), None, Path("big.parquet"), target))
    words = Outline(page).text

    assert len(page.encode()) < 5_000_000
    assert "The 40 most often detected species; 660 more are in the table." in words
    assert "200 more species, the rarest, are left out of this page." in words
    assert "The 60 stations with the most detections; 240 more are in the table of stations." in words
    assert "Stations; 100 more are left out here." in words
    assert "The 24 most often detected species; 676 more are not shown." in words
    assert "or big_duckdb_exports/label_summary.csv beside this page." in words


def largest(species: int, stations: int) -> Figures:
    """Return figures in which every cell of every chart is full, and names are long."""
    labels = [
        f"Species {n:03} with a name that goes on and on, as those of subspecies and their sounds do"
        for n in range(species)
    ]
    day = date(2023, 1, 1)
    found = Findings(
        [Species(name, f"Genus species {name}", 123_456, stations, 9999, 0.77, 0.99, day, day) for name in labels],
        [
            Station(f"STATION-{n:03}", "Area of study", 50.0, -120.0, "America/Vancouver", 99, 9, 9, 99.0, day, day)
            for n in range(stations)
        ],
        Making(
            (Run("f", {"runner": "birdnet", "model_version": "2.4"}, 10**7, 1),),
            {"ok": 10**7},
            10**5,
            10**5,
            123_456.7,
            0.0,
            0,
            0,
        ),
        (day, day + timedelta(days=69)),
        (10**6,) * 24,
        (5000.0,) * 24,
        EVERYTHING,
    )
    return Figures(
        found,
        Grid(tuple(labels[:MOST_HOUR_ROWS]), ((123_456,) * 24,) * MOST_HOUR_ROWS, ((5000.0,) * 24,) * MOST_HOUR_ROWS),
        (
            DateBins(day, 1, 70),
            Grid(
                tuple(station.name or "" for station in found.stations[:MOST_STATION_ROWS]),
                (tuple(range(12_345, 12_415)),) * MOST_STATION_ROWS,
                ((23.45,) * 70,) * MOST_STATION_ROWS,
            ),
        ),
        Timeline(
            "REC",
            None,
            None,
            60,
            96 * 60.0,
            tuple(labels[:MOST_TIMELINE_ROWS]),
            ((0.77,) * 96,) * MOST_TIMELINE_ROWS,
            (99,) * MOST_TIMELINE_ROWS,
            (True,) * 96,
            3,
        ),
        [Histogram(label, (1234,) * 20) for label in labels[:MOST_HISTOGRAMS]],
    )


def test_the_printed_command_makes_the_csv_that_the_page_names(study, written, tmp_path, monkeypatch):
    from badc.reports.rankings.summary import summarise
    from badc.reports.settings import SummarySettings

    words = read(written[0]).text
    command = re.search(r"badc report summary .*?species\.csv", words)
    assert command is not None
    options = shlex.split(command[0])[3:]
    given = {name[2:].replace("-", "_"): value for name, value in zip(options[::2], options[1::2], strict=True)}
    monkeypatch.chdir(study.parent)
    summarise(SummarySettings(**given | {"group_by": (given["group_by"],), "output": tmp_path / "species.csv"}))

    assert len((tmp_path / "species.csv").read_text().splitlines()) == 15


def test_a_folder_as_target_is_a_clear_error(write_detections, tmp_path):
    with pytest.raises(RequestError, match="is a folder; name the file to write"):
        write_page(write_detections([]), tmp_path)


def test_dates_and_lengths_in_words():
    first = date(2023, 5, 1)
    assert dates_words(first, first) == "1 May 2023"
    assert dates_words(first, date(2023, 5, 9)) == "1 to 9 May 2023"
    assert dates_words(first, date(2023, 6, 9)) == "1 May to 9 June 2023"
    assert dates_words(first, date(2024, 6, 9)) == "1 May 2023 to 9 June 2024"
    assert short_dates(first, date(2023, 6, 9)) == "1 May to 9 Jun 2023"
    assert short_dates(first, date(2024, 5, 9)) == "1 May 2023 to 9 May 2024"
    assert short_dates(None, None) == "–"
    shown = [hours_words(h) for h in (1, 123.456, 0.5, 10 / 3600, 1 / 60)]
    assert shown == ["1 hour", "123 hours", "30 minutes", "10 seconds", "1 minute"]


def test_an_element_escapes_what_it_is_given():
    made = element("text", "<&>", element("b", "x"), class_="a\"'<", stroke_width=1.25, title=None)
    assert made == '<text class="a&#34;&#39;&lt;" stroke-width="1.2">&lt;&amp;&gt;<b>x</b></text>'
