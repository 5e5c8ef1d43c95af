"""A table of a stranger, whose every text would do something elsewhere: in SQL, a page, a spreadsheet, a path."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from badc.reports.bundle import make_bundle
from badc.reports.files.export import export
from badc.reports.history.history import write_history
from badc.reports.history.settings import HistorySettings
from badc.reports.review.folder import make_sample
from badc.reports.review.settings import SampleSettings
from badc.reports.settings import BundleSettings, ExportSettings
from badc.reports.study.words import clean

RUNS = "<script>document.title='hacked'</script><img src=x onerror=\"document.title='hacked'\">"
TEXTS = (
    "'; COPY (SELECT 1) TO 'pwned.csv'; --",
    '"; DROP TABLE detections; --',
    "=cmd|'/C calc'!A0",
    "../../pwned",
    "/tmp/pwned",
    "$(touch pwned)",
    RUNS,
    "</script></title></svg><b>",
)
NAME = "t'; DROP TABLE told; --"


@pytest.fixture
def table(tmp_path: Path, birds_wav: Path) -> Path:
    """Detections and coverage with such texts in each column, and columns with such names."""
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copyfile(birds_wav, folder / "heard.wav")
    same = {text: ["x"] * len(TEXTS) for text in (TEXTS[0], TEXTS[1], "select", "it's")}
    same |= {"recording_id": [f"{text}_20230509_094500" for text in TEXTS], "station": list(TEXTS)}
    same |= {"chunk_id": list(TEXTS), "runner": list(TEXTS), "model_version": list(TEXTS)}
    found = {"chunk_start_ms": [0] * len(TEXTS), "timestamp_ms": [0] * len(TEXTS), "end_ms": [3000] * len(TEXTS)}
    found |= {"label": list(TEXTS), "label_name": list(TEXTS), "confidence": [0.9] * len(TEXTS)}
    found |= {"source_path": [str(folder / "heard.wav")] * len(TEXTS)}
    pq.write_table(pa.table(same | found), folder / f"{NAME}.parquet")
    covered = {"start_ms": [0] * len(TEXTS), "end_ms": [10_000] * len(TEXTS), "status": ["ok"] * len(TEXTS)}
    pq.write_table(pa.table(same | covered | {"notes": list(TEXTS)}), folder / f"{NAME}_coverage.parquet")
    return folder / f"{NAME}.parquet"


def _cells(path: Path, column: str) -> set[str]:
    with path.open(encoding="utf-8", newline="") as stream:
        return {row[column] for row in csv.DictReader(stream)}


def _written(folder: Path) -> set[Path]:
    return {Path(base, name) for base, _, names in os.walk(folder) for name in names}


def test_texts_come_out_as_they_went_in_and_no_file_leaves_its_folder(table: Path, tmp_path: Path) -> None:
    before = _written(tmp_path)
    out = tmp_path / "out" / "tables"
    make_bundle(BundleSettings(parquet=table, output_dir=out, no_html=True, no_plots=True))
    for form in ("raven", "audacity"):
        export(ExportSettings(parquet=table, format=form, output_dir=out / form))
    write_history(HistorySettings(parquet=table, output_dir=out / "history"))
    written = _written(tmp_path) - before
    assert {path for path in written if not path.is_relative_to(out)} == set()
    assert len(list((out / "raven").iterdir())) == len(list((out / "audacity").iterdir())) == len(TEXTS)
    assert len(list((out / "history" / "histories").iterdir())) == len(TEXTS)
    for path in (f"{NAME}_quicklook/labels.csv", f"{NAME}_parquet_report/labels.csv", "history/detections.csv"):
        assert _cells(out / path, "label") == set(TEXTS)
    with duckdb.connect(str(out / f"{NAME}.duckdb"), read_only=True) as database:
        for column in ("label", "station", "runner"):
            assert {value for (value,) in database.execute(f"SELECT {column} FROM detections").fetchall()} == set(TEXTS)
    assert not list(Path.cwd().glob("pwned*"))


@pytest.mark.long  # labels, the likeliest of these, are in faster tests of each page
@pytest.mark.browser
def test_pages_show_them_and_run_nothing(table: Path, tmp_path: Path, browser: Any) -> None:
    make_bundle(BundleSettings(parquet=table, output_dir=tmp_path, title=RUNS, no_plots=True, include_speech=True))
    review = make_sample(
        SampleSettings(parquet=table, output_dir=tmp_path / "<img src=x onerror=1>", include_speech=True)
    ).page
    for page_file in (tmp_path / f"{NAME}_report.html", review):
        page = browser.new_page()
        said: list[str] = []
        asked: list[str] = []
        page.on("console", lambda message, said=said: said.append(message.text))
        page.on("pageerror", lambda error, said=said: said.append(str(error)))
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        page.goto(page_file.as_uri(), wait_until="load")
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(200)
        assert page.title() != "hacked"
        assert page.locator("img[src=x]").count() == 0
        assert [url for url in asked if not url.startswith(("data:", page_file.parent.as_uri()))] == []
        assert said == []
        assert clean(RUNS) in page.locator("body").inner_text() or page_file == review
        page.close()
