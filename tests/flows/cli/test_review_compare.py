"""`badc review compare` from its options to what it prints, its files and its exit code."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from flows.cli.main import build
from tests.fakes.study import write_study


def test_it_prints_the_scores_and_its_files_and_says_what_was_not_matched(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_study(tmp_path, stations=1, days=1)
    words = ["review", "compare", "study.parquet", "--truth", "heard.csv", "--by", "RECORDING", "--clips", "0"]
    Path("heard.csv").write_text("recording,start_s,end_s,label\nC,1,2,Ovenbird\n")
    refused = CliRunner().invoke(build(["review"]), words)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr.startswith("badc: no recording of the truth is in the tables (C)")

    recording = "BOR-001_20230514_050000"
    Path("heard.csv").write_text(f"recording,start_s,end_s,label\n{recording},1,2,Not a bird\n")
    done = CliRunner().invoke(build(["review"]), [*words, "--other", "study.parquet"])
    assert done.exit_code == 0, done.stderr
    assert "badc: no detection is labelled 'Not a bird': 1 label of it can only be missed\n" in done.stderr
    header, row, *_ = done.stdout.splitlines()
    assert header.split("\t")[:3] == ["label", "detected", "correct"]
    assert row.split("\t")[:7] == ["Not a bird", "0", "0", "0", "1", "0", "1"]
    named = [Path(line).name for line in done.stdout.splitlines() if line.endswith((".csv", ".png"))]
    assert sorted(named) == sorted(path.name for path in Path("study_compare").iterdir())
