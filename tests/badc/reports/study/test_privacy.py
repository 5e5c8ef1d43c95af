"""Nobody is heard in the clips of a page or seen in a spectrogram."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from badc.reports.bundle import make_bundle
from badc.reports.page.page import write_page
from badc.reports.plots import write_plots
from badc.reports.settings import BundleSettings, PlotKind, PrivacySettings

NEAR, FAR = "A_20230501_050000", "B_20230501_050000"
FOUND = [(NEAR, 3000, "Wren", 0.9), (FAR, 3000, "Wren", 0.5), (NEAR, 9000, "Human vocal", 0.2)]
SAID = "left out of the clips, because people may be heard in them: within 5 s is a detection of Human vocal."


@pytest.fixture
def table(write_detections: Callable[..., Path], birds_wav: Path, tmp_path: Path) -> Path:
    """A wren beside somebody who talks, and one elsewhere."""
    (tmp_path / "audio").mkdir()
    for name in (NEAR, FAR):
        (tmp_path / "audio" / f"{name}.wav").symlink_to(birds_wav)
    return write_detections(FOUND, chunk_ms=10_000)


def test_the_page_has_the_best_clip_without_people(table: Path, tmp_path: Path) -> None:
    def clips(**given: Any) -> list[str]:
        page = write_page(table, tmp_path / "p.html", plots=False, **given)[0].read_text()
        assert (f"2 detections {SAID}" in page) == (not given)
        return re.findall(r'<audio[^>]*aria-label="Clip: ([^"]*)"', page)

    assert clips() == [f"Wren, confidence 0.50, {FAR} at 0:03"]
    assert [clip.partition(",")[0] for clip in clips(privacy=PrivacySettings(include_speech=True))] == [
        "Wren",
        "Wren",
        "Human vocal",
    ]


def test_spectrograms_and_pages_of_nothing_else_say_so(
    table: Path, tmp_path: Path, write_detections: Callable[..., Path]
) -> None:
    made = write_plots(table, tmp_path, [PlotKind.SPECTROGRAM])
    assert [path.name for path in made.written] == ["d_spectrogram_01.png"]
    assert made.notes == (f"2 detections {SAID}",)
    assert made.problems == []

    voices = write_detections([FOUND[2]], "voices.parquet")
    settings = BundleSettings(parquet=voices, no_plots=True, no_duckdb_report=True, private_labels=("Dgo",))
    bundle = make_bundle(settings)
    assert "no detection is labelled 'Dgo'" in bundle.notes
    assert f"1 detection {SAID}" in (tmp_path / "voices_report.html").read_text()
