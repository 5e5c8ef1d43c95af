"""The documentation site: it builds without a warning, and has every page."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.conftest import ROOT

_WEB = ("http", "https")


def test_the_site_builds_without_a_warning_and_has_every_page(tmp_path: Path) -> None:
    for name in ("mkdocs.yml", "CONTRIBUTING.md"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    words = [Path(sys.executable).with_name("zensical"), "build", "--strict", "--clean"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert pages == {path.stem for path in (tmp_path / "build" / "site").glob("*.html")} - {"404"}
    assert "ToneRunner" in (tmp_path / "build" / "site" / "add-a-runner.html").read_text()
    assert list(_wrong_addresses(tmp_path / "build" / "site")) == []
    not_inserted = [
        page.name for page in (tmp_path / "build" / "site").glob("*.html") if "docs/examples/" in _marks(page)
    ]
    assert not not_inserted, "a snippet's mark is shown instead of the file"


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
