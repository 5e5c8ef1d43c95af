"""The page of a review in a real browser, opened from the disk: it plays, and keeps, saves and loads verdicts."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from badc.reports.review.draw import Drawn
from badc.reports.review.folder import make_sample
from badc.reports.review.page import Picture, review_page
from badc.reports.review.settings import SampleSettings
from badc.reports.study.data import Sighting
from tests.fakes.study import write_study

pytestmark = pytest.mark.browser
LABELS = (("Tennessee Warbler", "Leiothlypis peregrina"), ("</script><b>Owl", "x"), ('Jay, "Canada"', "Perisoreus"))
# What goes to the loudspeaker is also measured; `level` is its loudness.
LISTEN = """
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (to, ...rest) {
  if (to instanceof AudioDestinationNode) {
    window.heard = to.context.createAnalyser();
    connect.call(this, window.heard);
  }
  return connect.call(this, to, ...rest);
};
window.level = () => {
  if (!window.heard) return 0;
  const samples = new Float32Array(2048);
  window.heard.getFloatTimeDomainData(samples);
  return Math.sqrt(samples.reduce((sum, value) => sum + value * value, 0) / samples.length);
};
window.loudest = async () => {
  let most = 0;
  for (let n = 0; n < 20; n++) { most = Math.max(most, level()); await new Promise(later => setTimeout(later, 25)); }
  return most;
};
"""


@pytest.fixture(scope="module")
def review(tmp_path_factory: pytest.TempPathFactory, birds_wav: Path) -> Path:
    """The page of a review of real birds, with labels that are markup or need quotes."""
    folder = tmp_path_factory.mktemp("review")
    study = write_study(folder, labels=LABELS, stations=1, days=3, per_recording=4, clip=birds_wav)
    return make_sample(SampleSettings(parquet=study, strongest=True, per_species=1)).page


@pytest.fixture
def open_review(browser: Any, review: Path) -> Iterator[Callable[..., Any]]:
    """Return a function that opens the page in a window of its own, or again in the same one."""
    contexts = []

    def show(again: Any = None, script: str = LISTEN, path: Path = review, **options: Any) -> Any:
        context = again.context if again else browser.new_context(accept_downloads=True, **options)
        if not again:
            contexts.append(context)
            context.add_init_script(script)
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


def count(page: Any) -> str:
    return page.locator("#count").inner_text()


def saved(page: Any) -> list[dict[str, str]]:
    """Save the verdicts, and return the rows of the file."""
    with page.expect_download() as download:
        page.locator("#save").click()
    assert download.value.suggested_filename == "verdicts.csv"
    with Path(download.value.path()).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_clip_is_heard_and_the_filter_takes_away_what_it_should(
    open_review: Callable[..., Any], review: Path
) -> None:
    page = open_review()
    page.wait_for_function("document.querySelector('#said').textContent.startsWith('Press Space')")
    assert page.evaluate("level()") == 0, "browsers are silent until somebody presses something"
    page.locator("#repeat").check()
    page.locator("#main").focus()
    page.keyboard.press("Space")
    page.wait_for_function("window.heard && level() > 0.001")
    open_loudness = page.evaluate("loudest()")
    page.locator("#low").fill("15000")
    page.wait_for_timeout(200)
    assert page.evaluate("loudest()") < open_loudness / 8, "the birds sing below 12 kHz"
    page.locator("#low").fill("0")
    page.locator("#gain").fill("-20")
    page.wait_for_timeout(200)
    assert page.evaluate("loudest()") == pytest.approx(open_loudness / 10, rel=0.7)

    assert page.said == []
    assert all(url.startswith((review.parent.as_uri(), "blob:")) for url in page.asked)
    assert page.locator("#spectrogram").evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
    frame, mark = (page.locator(name).bounding_box() for name in ("#picture", "#mark"))
    assert mark["width"] / frame["width"] == pytest.approx(3 / 6, abs=0.2)


def test_verdicts_are_kept_undone_saved_and_loaded(
    open_review: Callable[..., Any], review: Path, tmp_path: Path
) -> None:
    page = open_review()
    total = page.evaluate("REVIEW.clips.length")
    assert count(page) == f"0 of {total}"
    page.locator("#reviewer").fill("Ann, B.")
    page.locator("#main").focus()
    page.keyboard.press("y")
    page.keyboard.press("u")
    assert count(page) == f"0 of {total}"
    page.keyboard.press("y")
    page.keyboard.press("o")
    page.keyboard.type('Jay, "Canada"')
    page.keyboard.press("Enter")
    assert count(page) == f"2 of {total}"
    rows = saved(page)
    clips = page.evaluate("REVIEW.clips")
    assert [(row["clip"], row["verdict"], row["other_label"]) for row in rows] == [
        (clips[0]["id"], "y", ""),
        (clips[1]["id"], "n", 'Jay, "Canada"'),
    ]
    assert {row["reviewer"] for row in rows} == {"Ann, B."}
    for row, clip in zip(rows, clips, strict=False):
        given = (row["label"], row["recording_id"], int(row["start_ms"]), float(row["confidence"]))
        assert given == (clip["label"], clip["recording"], clip["start"], clip["score"])

    again = open_review(page)
    assert count(again) == f"2 of {total}", "kept by the browser"
    elsewhere = open_review()
    assert count(elsewhere) == f"0 of {total}"
    file = tmp_path / "verdicts.csv"
    file.write_bytes(
        b"\xef\xbb\xbf"
        + "".join(
            ",".join(f'"{value}"'.replace('Jay, "Canada"', 'Jay, ""Canada""') for value in line) + "\r\n"
            for line in [list(rows[0]), *(row.values() for row in rows)]
        ).encode()
    )
    elsewhere.locator("#load").set_input_files(file)
    elsewhere.wait_for_function("document.querySelector('#said').textContent.includes('loaded')")
    assert elsewhere.locator("#said").inner_text() == "2 of 2 verdicts loaded."
    assert saved(elsewhere) == rows
    elsewhere.locator("#which").select_option("unsure")
    assert elsewhere.locator("#said").inner_text() == "No clip is left here."


@pytest.mark.long
def test_a_browser_that_keeps_nothing_is_said(open_review: Callable[..., Any]) -> None:
    denied = "Object.defineProperty(window, 'localStorage', { get() { throw new Error('denied'); } });"
    page = open_review(script=denied)
    page.locator("#main").focus()
    page.keyboard.press("n")

    assert page.locator("#denied").is_visible()
    assert count(page).startswith("1 of")
    assert [row["verdict"] for row in saved(page)] == ["n"]
    assert not open_review().locator("#denied").is_visible()


def test_a_thousand_clips_open_at_once_and_load_as_they_come(
    open_review: Callable[..., Any], review: Path, tmp_path: Path
) -> None:
    base = json.loads(re.search(r"const REVIEW = (.*);\n", review.read_text())[1])
    picture = Picture("", "spectrograms/x.webp", 6.0, (1.5, 4.5), 12_000.0, 0.1)
    sighting = Sighting("", "", 0.5, "REC", "ST", None, None, None, 0, 60_000, 0, 3000)
    drawn = [
        Drawn(f"{n:04}", replace(sighting, label=f"Species {n // 50:02}"), None, None, n * 1000, n * 1000 + 3000, None)
        for n in range(1000)
    ]
    (tmp_path / "review.html").write_text(review_page("large", "0", drawn, [picture] * 1000, [], ""))
    (tmp_path / "spectrograms").mkdir()
    shutil.copy(review.parent / base["clips"][0]["picture"], tmp_path / "spectrograms" / "x.webp")
    sound = (review.parent / "sounds" / f"{base['clips'][0]['id']}.js").read_text()
    (tmp_path / "sounds").mkdir()
    for n in range(8):
        (tmp_path / "sounds" / f"{n:04}.js").write_text(sound.replace(base["clips"][0]["id"], f"{n:04}"))
    page = open_review(path=tmp_path / "review.html")

    assert count(page) == "0 of 1,000"
    assert page.locator("#species option").count() == 21
    page.wait_for_function("document.querySelector('#said').textContent.startsWith('Press Space')")
    loaded = [url for url in page.asked if url.endswith(".js")]
    assert [Path(url).name for url in loaded] == ["0000.js", "0001.js", "0002.js"], "the first clip and the next two"
    page.locator("#main").focus()
    for _ in range(5):
        page.keyboard.press("n")
    assert count(page) == "5 of 1,000"
    assert page.locator("#place").inner_text().startswith("Clip 0005")
    assert page.said == []


def test_labels_are_read_and_not_run_and_axe_finds_no_barrier(open_review: Callable[..., Any]) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed (extra: dev)")
    page = open_review(viewport={"width": 360, "height": 740})
    inside = page.evaluate("document.documentElement.scrollWidth")
    names = page.locator("#species option").all_inner_texts()
    result = axe.Axe().run(page)

    assert inside == 360
    assert set(names) == {"all", *(label for label, _ in LABELS if label in names)}
    assert page.locator("b", has_text="Owl").count() == 0
    assert result.violations_count == 0, result.generate_report()
