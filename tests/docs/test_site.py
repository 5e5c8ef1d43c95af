"""The documentation site: it builds without a warning, has every page, fits a phone, and can be searched."""

from __future__ import annotations

import functools
import http.server
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from tests.conftest import ROOT

_WEB = ("http", "https")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built by the lines of `make docs`."""
    folder = tmp_path_factory.mktemp("docs")
    for name in ("mkdocs.yml", "CONTRIBUTING.md"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "docs", folder / "docs")
    lines = (ROOT / "Makefile").read_text().partition("\ndocs: env\n")[2].partition("\n\n")[0].splitlines()
    script = "\n".join(line.strip().removeprefix("@") for line in lines)
    script = script.replace("$(PY)", sys.executable).replace("$(VENV)/bin", str(Path(sys.executable).parent))
    done = subprocess.run(["bash", "-ec", script], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "build" / "site"


def test_the_site_has_every_page_and_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert pages == {path.stem for path in site.glob("*.html")} - {"404"}
    assert "ToneRunner" in (site / "add-a-runner.html").read_text()
    assert list(_wrong_addresses(site)) == []
    not_inserted = [page.name for page in site.glob("*.html") if "8&lt;--" in _marks(page)]
    assert not not_inserted, "a snippet's mark is shown instead of the file"


def test_the_notebook_is_a_page_with_what_its_cells_give(site: Path) -> None:
    text = re.sub("<[^>]*>", "", (site / "notebook.html").read_text())
    assert "22 detections in 48 chunks" in text
    assert "from badc.reports import load_detections" in text


@pytest.mark.browser
@pytest.mark.long
def test_every_page_fits_a_phone(site: Path, browser: Any) -> None:
    # The theme's scripts have no part in the layout, and take most of the time.
    phone = browser.new_page(viewport={"width": 390, "height": 844}, is_mobile=True, java_script_enabled=False)
    wide, cut = [], []
    for page in sorted(site.glob("*.html")):
        phone.goto(page.as_uri())
        if phone.evaluate("document.scrollingElement.scrollWidth") > 390:
            wide.append(page.name)
        cut += [f"{page.name}: {text}" for text in phone.evaluate(_CUT_OFF)]
    assert (wide, cut) == ([], [])


@pytest.mark.browser
def test_search_finds(site: Path, browser: Any) -> None:
    from playwright.sync_api import expect

    handler = functools.partial(_Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.server_port}/index.html")
        page.get_by_role("button", name="Search").click()
        page.keyboard.type("unmarked")
        expect(page.get_by_role("option", name="Occupancy models")).to_be_visible(timeout=20_000)
        server.shutdown()


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


# What reaches beyond the screen, and no part of the page around it scrolls.
_CUT_OFF = """[...document.querySelectorAll('.md-content *')].filter(part => {
    if (part.getBoundingClientRect().right <= 391) return false
    for (let around = part.parentElement; around; around = around.parentElement)
        if (['auto', 'scroll'].includes(getComputedStyle(around).overflowX)) return false
    return true
}).map(part => part.textContent.slice(0, 50))"""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def _marks(page: Path) -> str:
    """Return what the page shows of marks of snippets: those that were understood are gone."""
    text = re.sub("<[^>]*>", "", page.read_text())
    return "\n".join(re.findall(r"--\s*8\s*(?:&lt;|<).*", text))


def test_every_page_is_in_the_navigation_once() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    named = re.findall(r": ([\w-]+\.md)$", navigation, re.MULTILINE)
    assert sorted(named) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))


class _Addresses(HTMLParser):
    """Collects what a page loads by itself, and what it links to."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.linked: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value}
        if "src" in given:
            self.loaded.append(given["src"])
        if tag == "link" and given.get("rel") != "canonical" and "href" in given:
            self.loaded.append(given["href"])
        if tag == "a" and "href" in given:
            self.linked.append(given["href"])


def _wrong_addresses(site: Path) -> Iterator[str]:
    """Yield what pages load from elsewhere, and files of the site that they name and that are not there."""
    for page in site.glob("*.html"):
        if page.stem == "404":
            continue  # its addresses are those of a server's root
        found = _Addresses()
        found.feed(page.read_text())
        yield from (f"{page.name} loads {address}" for address in found.loaded if urlsplit(address).scheme in _WEB)
        # By the theme's own script, from another site.
        if 'class="mermaid"' in page.read_text():
            yield f"{page.name} loads mermaid"
        for address in (*found.loaded, *found.linked):
            parts = urlsplit(address)
            if not parts.scheme and parts.path and not (site / unquote(parts.path)).exists():
                yield f"{page.name} names {address}"


@pytest.mark.parametrize("page", ["docs/architecture.md", "docs/development.md", "CONTRIBUTING.md"])
def test_the_files_that_a_page_of_the_code_names_are_there(page: str) -> None:
    named = set(re.findall(r"`((?:badc|flows|tasks|blocks|tests|deployments)/[\w/.-]+)`", (ROOT / page).read_text()))
    assert len(named) > 5
    placeholders = ("/NAME.py", "/GROUP.py")
    assert [name for name in sorted(named) if not (ROOT / name).exists() and not name.endswith(placeholders)] == []
