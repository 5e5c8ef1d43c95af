"""The page in a real browser: it opens, it fits, it can be used by keyboard, seen in the dark, printed and heard."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from badc.chunks.cutting import plan_chunks, write_virtual_manifest
from badc.detections.aggregate import aggregate
from badc.detections.settings import AggregateSettings
from badc.inference.plan import plan_inference
from badc.inference.settings import InferSettings
from badc.inference.worker import infer_chunks
from badc.reports.page.page import write_page
from badc.reports.settings import ChoiceSettings
from badc.runners.current import close_runner
from tests.fakes.study import write_study

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, birds_wav: Path) -> Path:
    """A page with all its parts, clips of real birds among them, and a label that is markup."""
    folder = tmp_path_factory.mktemp("report")
    labels = (
        ("Tennessee Warbler", "Leiothlypis peregrina"),
        ("<script>document.title='hacked'</script>", "x"),
        ("Blackburnian Warbler", "Setophaga fusca"),
        ("A-label-of-one-word-" * 12, "y"),
        *((f"Species {n}", f"Genus species{n}") for n in range(22)),
    )
    study = write_study(folder, labels=labels, stations=3, days=14, per_recording=4, clip=birds_wav)
    choice = ChoiceSettings(min_confidence=0.3)
    return write_page(study, folder / "p.html", sites=folder / "sites.csv", choice=choice)[0]


@pytest.fixture
def open_page(browser: Any, report: Path) -> Iterator[Callable[..., Any]]:
    """Return a function that opens the page, or another one, in a window of its own."""
    contexts = []

    def show(path: Path = report, width: int = 1280, height: int = 900, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.said, page.asked = [], []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(path.as_uri(), wait_until="load")
        return page

    yield show
    for context in contexts:
        context.close()


def unfold(page: Any) -> None:
    page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")


def test_it_opens_without_an_error_and_without_the_network(open_page, report):
    page = open_page()

    assert page.said == []
    assert [url for url in page.asked if not url.startswith("data:")] == [report.as_uri()]
    assert page.title() == "study: report of detections"


def test_headings_are_in_order_and_name_the_sections(open_page):
    page = open_page()
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1])")
    names = page.locator("h2").all_inner_texts()

    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert names == [
        "At a glance",
        "Species",
        "Time of day",
        "Species and stations",
        "Stations and dates",
        "One recording",
        "Confidence",
        "Listen",
        "How it was made",
    ]
    for role in ("banner", "navigation", "main", "contentinfo"):
        assert page.get_by_role(role).count() == 1
    assert page.get_by_role("region").count() == len(names)


def test_the_numbers_are_there_for_those_who_do_not_see_the_charts(open_page):
    page = open_page()

    assert page.get_by_role("img", name=re.compile("^Heat map: 26 species by hour of day")).count() == 1
    assert page.get_by_role("img", name=re.compile("^Heat map: 26 species at 3 stations")).count() == 1
    assert page.get_by_role("img", name=re.compile("^Heat map: 3 stations over dates")).count() == 1
    assert page.get_by_role("img", name=re.compile("^Map of 3 stations")).count() == 1
    assert page.get_by_role("img", name=re.compile("^Histogram of confidence")).count() == 24
    assert page.get_by_role("img", name=re.compile("^Spectrogram: Tennessee Warbler")).count() == 1
    for name in (
        "Species by hour as a table",
        "Species by station as a table",
        "Stations as a table",
        "Stations by date as a table",
        "The recording as a table",
        "Confidence as a table",
    ):
        summary = page.get_by_text(name, exact=True)
        table = summary.locator("xpath=../table")
        assert not table.is_visible()
        summary.focus()
        page.keyboard.press("Enter")
        assert table.is_visible()
        assert table.get_by_role("row").count() > 3
    stations = page.get_by_role("table").filter(has_text="Stations.")
    assert stations.get_by_role("rowheader", name="BOR-002").count() == 1


def test_every_control_is_reached_by_keyboard_and_shows_it(open_page):
    page = open_page()
    wanted = page.locator("a[href], summary, audio").count()
    reached = []
    for _ in range(wanted * 6):  # an audio element has several stops inside
        page.keyboard.press("Tab")
        found = page.evaluate(
            "(() => { const at = document.activeElement; if (at === document.body) return null;"
            "const all = [...document.querySelectorAll('a[href], summary, audio')];"
            "return [all.indexOf(at), getComputedStyle(at).outlineStyle]; })()"
        )
        if found is None:
            break
        reached.append(tuple(found))
        if len({number for number, _ in reached}) == wanted:
            break

    assert {number for number, _ in reached} == set(range(wanted))
    assert [number for number, _ in reached] == sorted(number for number, _ in reached), "in the order of the page"
    assert {outline for _, outline in reached} <= {"solid", "auto"}
    page.goto(page.url.split("#")[0])
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main", "the first stop skips to the report"


@pytest.mark.parametrize("width", [360, 768, 1001, 1280])
def test_nothing_is_wider_than_the_screen(open_page, width):
    page = open_page(width=width, height=740)
    unfold(page)
    inside, outside = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    beyond = page.evaluate(
        "[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > innerWidth + 0.5"
        " && !e.closest('svg, thead, .hidden') ).map(e => e.outerHTML.slice(0, 80))"
    )

    assert (inside, outside) == (width, width)
    assert beyond == []
    charts = page.locator("svg.wide, svg.narrow").evaluate_all("all => all.filter(e => e.checkVisibility()).length")
    assert charts == 5, "each chart in one of its two drawings"


def test_text_on_a_phone_is_large_enough_to_read(open_page):
    page = open_page(width=360, height=740, device_scale_factor=2)
    sizes = page.evaluate(
        "[...document.querySelectorAll('svg text')].filter(e => e.checkVisibility()).map(e => "
        "parseFloat(getComputedStyle(e).fontSize) * e.getScreenCTM().a)"
    )

    assert len(sizes) > 50
    assert min(sizes) >= 9


def test_dark_mode_changes_every_colour_that_carries_meaning(open_page):
    def colours(scheme: str) -> dict[str, str]:
        page = open_page(color_scheme=scheme)
        found: dict[str, str] = page.evaluate(
            "({ground: getComputedStyle(document.body).backgroundColor, ink: getComputedStyle(document.body).color,"
            "most: getComputedStyle(document.querySelector('.c5')).fill, zero:"
            "getComputedStyle(document.querySelector('.zero')).fill,"
            "sound: getComputedStyle(document.querySelector('.sound')).filter})"
        )
        return found

    light, dark = colours("light"), colours("dark")
    assert all(light[name] != dark[name] for name in light), (light, dark)
    assert lightness(light["ground"]) > 0.8 > 0.2 > lightness(dark["ground"])
    assert lightness(light["most"]) < lightness(light["zero"])
    assert lightness(dark["most"]) > lightness(dark["zero"])


def lightness(colour: str) -> float:
    """Return the mean of a colour's parts, from 0 to 1."""
    return sum(int(part) for part in re.findall(r"\d+", colour)[:3]) / 765


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        pytest.param(1280, "light", marks=pytest.mark.long),
        pytest.param(1280, "dark", marks=pytest.mark.long),
        (360, "light"),
    ],
)
def test_axe_finds_no_barrier(open_page, width, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed (extra: dev)")
    page = open_page(width=width, color_scheme=scheme)
    unfold(page)
    result = axe.Axe().run(page)

    assert result.violations_count == 0, result.generate_report()
    passed = {rule["id"] for rule in result.response["passes"]}
    assert {"color-contrast", "svg-img-alt", "heading-order", "list", "region"} <= passed, "these rules were applied"


def test_a_clip_has_a_length_and_plays(open_page):
    page = open_page()
    clips = page.locator("audio")
    assert clips.count() >= 2
    for n in range(clips.count()):
        length = clips.nth(n).evaluate(
            "a => new Promise(r => { if (a.readyState) r(a.duration); a.onloadedmetadata = () => r(a.duration);"
            "a.onerror = () => r('error ' + a.error.message) })"
        )
        assert length == pytest.approx(4.5, abs=0.7)
    at = clips.first.evaluate(
        "a => { a.muted = true; return a.play().then(() => new Promise(r => { a.ontimeupdate = () => "
        "{ if (a.currentTime > 0.2) r(a.currentTime) } })) }"
    )
    assert at > 0.2


def test_the_box_is_around_the_detection(open_page):
    page = open_page()
    box = page.locator("svg.spectrogram").first.locator(".box").bounding_box()
    frame = page.locator("svg.spectrogram").first.locator(".frame").bounding_box()

    assert (box["x"] - frame["x"]) / frame["width"] == pytest.approx(1 / 5, abs=0.02), "a second before it"
    assert box["width"] / frame["width"] == pytest.approx(3 / 5, abs=0.02)
    assert page.locator("svg.spectrogram image").first.evaluate(
        "e => { const i = new Image(); i.src = e.getAttribute('href'); return i.decode().then(() => i.naturalWidth) }"
    )


def test_it_prints_on_white_with_its_charts(open_page):
    page = open_page(color_scheme="dark")
    page.emulate_media(media="print")

    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.querySelector('.c5')).fill") == "rgb(32, 44, 91)"
    assert page.locator("svg.wide").first.is_visible()
    assert not page.locator("svg.narrow").first.is_visible()
    assert not page.locator("nav").is_visible()
    pages = page.pdf(format="A4").count(b"/Type /Page\n")
    assert 3 <= pages <= 14


def test_a_label_that_is_markup_is_read_and_not_run(open_page):
    page = open_page()

    assert page.title() != "hacked"
    assert page.locator("script").count() == 0
    row = page.get_by_role("rowheader", name="<script>document.title='hacked'</script>").first
    assert row.is_visible()


@pytest.mark.birdnet
def test_a_real_run_can_be_read_and_heard(open_page, birds_wav, tmp_path):
    pytest.importorskip("ai_edge_litert", reason="the extra birdnet is not installed")
    audio = tmp_path / "DEMO-01_20230509_094500.wav"
    shutil.copyfile(birds_wav, audio)
    manifest = tmp_path / "m.csv"
    write_virtual_manifest(plan_chunks(audio, 10.0), manifest, hash_chunks=False)
    settings = {"manifest": manifest, "use_birdnet": True, "output_dir": tmp_path / "out", "max_gpus": 0}
    plan = plan_inference(InferSettings(**settings))
    try:
        infer_chunks(plan.todo, plan.order, lambda attempt: None)
    finally:
        close_runner()
    parquet = tmp_path / "birds.parquet"
    aggregate(
        AggregateSettings(
            detections_dir=tmp_path / "out", output=tmp_path / "birds.csv", parquet=parquet, manifest=(manifest,)
        )
    )
    page = open_page(write_page(parquet, tmp_path / "birds_report.html")[0])

    assert page.said == []
    assert page.locator(".lede").inner_text().startswith("BirdNET detected 3 species in 10")
    cards = page.locator(".card")
    assert cards.locator("h3").all_inner_texts() == [
        "Bay-breasted Warbler",
        "Blackburnian Warbler",
        "Tennessee Warbler",
    ]
    caption = cards.nth(2).locator("figcaption").inner_text()
    assert caption == "Confidence 0.79 · DEMO-01 · 9 May 2023, 09:45:03 · DEMO-01_20230509_094500 at 0:03"
    assert cards.nth(2).locator("audio").evaluate(
        "a => new Promise(r => { if (a.readyState) r(a.duration); a.onloadedmetadata = () => r(a.duration) })"
    ) == pytest.approx(5, abs=0.2)
