"""The documentation site: it builds without a warning, and has every page."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_site_builds_without_a_warning_and_has_every_page(tmp_path: Path) -> None:
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    words = [Path(sys.executable).with_name("zensical"), "build", "--strict", "--clean"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert pages == {path.stem for path in (tmp_path / "build" / "site").glob("*.html")} - {"404"}
    assert "ToneRunner" in (tmp_path / "build" / "site" / "add-a-runner.html").read_text()
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


def test_nothing_is_fetched_from_elsewhere_to_read_a_page() -> None:
    assert "font: false" in (ROOT / "mkdocs.yml").read_text()
