"""`badc review sample` and `badc review report` as users meet them, from a table to thresholds in a report."""

from __future__ import annotations

import csv
from pathlib import Path

from typer.testing import CliRunner

from flows.cli.main import build
from tests.fakes.study import write_study


def badc(*words: str):
    return CliRunner().invoke(build([words[0]]), words)


def test_from_a_table_to_thresholds(tmp_path, monkeypatch, birds_wav):
    monkeypatch.chdir(tmp_path)
    labels = (("Wren", "Troglodytes"), ("Owl", "Bubo"), ("Jay", "Cyanocitta"))
    write_study(tmp_path, labels=labels, stations=1, days=2, per_recording=10, clip=birds_wav)
    done = badc("review", "sample", "study.parquet", "--per-species", "30", "--labels", "wren,Emu")
    assert done.exit_code == 1, "the recordings are not there"
    assert "badc: no detection is labelled 'Emu'" in done.stderr
    assert "no such audio file" in done.stderr
    header, row, said, page = done.stdout.splitlines()
    assert (header, row) == ("label\tclips", "Wren\t30")
    assert said.startswith("30 detections of 1 species; ")
    assert page == str(tmp_path / "study_review" / "review.html")
    again = badc("review", "sample", "study.parquet")
    assert (again.exit_code, again.stdout) == (2, "")
    assert "give --output-dir a new folder" in again.stderr

    rows = list(csv.DictReader(Path("study_review/sample.csv").read_text().splitlines()))
    answers = ["y" if float(row["confidence"]) + number % 4 / 10 > 0.65 else "n" for number, row in enumerate(rows)]
    lines = [f"{row['clip']},{answer}\n" for row, answer in zip(rows, answers, strict=True)]
    Path("study_review/verdicts.csv").write_text("clip,verdict\n" + "".join(lines))
    done = badc("review", "report", "study_review/verdicts.csv")
    assert (done.exit_code, done.stderr) == (0, "")
    header, row, *written = done.stdout.splitlines()
    assert row.split("\t")[:2] == ["Wren", "30"]
    threshold = float(row.split("\t")[header.split("\t").index("min_confidence")])
    assert [Path(path).name for path in written] == ["thresholds.csv", "precision.csv"]

    done = badc("report", "summary", "--parquet", "study.parquet", "--thresholds", "study_review/thresholds.csv")
    assert done.exit_code == 0
    above = badc(
        "report", "summary", "--parquet", "study.parquet", "--labels", "wren", "--min-confidence", str(threshold)
    )
    of_wren = [line for line in done.stdout.splitlines() if line.startswith("Wren")]
    assert of_wren[0].split("\t")[:2] == above.stdout.splitlines()[1].split("\t")[:2]
    wrong = badc("review", "report", "study_review/sample.csv")
    assert wrong.exit_code == 2
    assert "the column verdict is missing" in wrong.stderr
