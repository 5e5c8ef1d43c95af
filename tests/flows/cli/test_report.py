"""`badc report …` as users meet it: what is printed and where, refusals, exit codes, a terminal."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pexpect
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from badc.chunks.manifest import Chunk, chunk_id_of
from badc.detections.aggregate import aggregate
from badc.detections.result import ChunkResult, Detection, ResultStatus, result_path, write_result
from badc.detections.settings import AggregateSettings
from badc.reports.query.counts import Ranking
from flows.cli.console import show_ranking
from flows.cli.main import build
from tests.conftest import ROOT

DAWN = "ST-1_20230509_055000"


@pytest.fixture
def parquet(tmp_path, monkeypatch):
    """Tables that `badc infer aggregate` made of three chunks, one of them silent."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    found = ([("Ovenbird", 0.5, 0), ("=bad\t\x1b[31mred\n", 0.25, 500)], [("Ovenbird", 1.0, 0)], [])
    for number, detections in enumerate(found):
        start = number * 600_000
        chunk = Chunk(DAWN, chunk_id_of(DAWN, start, start + 600_000), f"{DAWN}.wav", start, start + 600_000)
        rows = tuple(Detection(label, confidence, at, at + 3000) for label, confidence, at in detections)
        status = ResultStatus.OK if rows else ResultStatus.NO_DETECTIONS
        write_result(result_path(tmp_path / "out", chunk), ChunkResult(chunk, "birdnet", status, rows))
    aggregate(AggregateSettings(detections_dir=Path("out"), output=Path("x/t.csv"), parquet=Path("x/t.parquet")))
    return Path("x/t.parquet")


def report(*words: object):
    return CliRunner().invoke(build(["report"]), ["report", *map(str, words)])


def cells(text: str) -> list[list[str]]:
    return [line.split("\t") for line in text.splitlines()]


def test_a_summary_can_be_piped(parquet):
    done = report("summary", "--parquet", parquet)
    assert (done.exit_code, done.stderr) == (0, "")
    assert cells(done.stdout) == [
        [
            "label",
            "detections",
            "avg_confidence",
            "max_confidence",
            "recordings",
            "analysed_hours",
            "detections_per_hour",
            "unexpected",
            "events",
        ],
        ["Ovenbird", "2", "0.75", "1.0", "1", "0.5", "4.0", "", "2"],
        ["=bad  [31mred ", "1", "0.25", "0.25", "1", "0.5", "2.0", "", "1"],
    ]


@pytest.mark.parametrize(
    "words",
    [
        ("report", "summary", "--parquet", "x/t.parquet"),
        ("report", "quicklook", "--parquet", "x/t.parquet"),
        ("report", "parquet", "--parquet", "x/t.parquet"),
        ("report", "duckdb", "--parquet", "x/t.parquet", "--database", "d.duckdb"),
        ("report", "bundle", "--parquet", "x/t.parquet", "--no-html"),
        ("report", "aggregate-dir", "x"),
        ("report", "plot", "--parquet", "x/t.parquet", "--kind", "confidence"),
        ("report", "export", "--parquet", "x/t.parquet", "--format", "raven"),
        ("infer", "aggregate", "out", "--output", "x/t.csv"),
    ],
)
def test_a_mixture_of_settings_is_said_before_anything_else(parquet, tmp_path, words):
    chunk = Chunk(DAWN, chunk_id_of(DAWN, 1_800_000, 2_400_000), f"{DAWN}.wav", 1_800_000, 2_400_000)
    made_with = {"runner": "birdnet", "min_confidence": 0.9}
    write_result(
        result_path(tmp_path / "out", chunk),
        ChunkResult(chunk, "birdnet", ResultStatus.NO_DETECTIONS, settings=made_with),
    )
    other = Chunk(DAWN, chunk_id_of(DAWN, 0, 600_000), f"{DAWN}.wav", 0, 600_000)
    found = (Detection("Ovenbird", 0.5, 0, 3000),)
    write_result(
        result_path(tmp_path / "out", other),
        ChunkResult(other, "birdnet", ResultStatus.OK, found, settings=made_with | {"min_confidence": 0.1}),
    )
    aggregate(AggregateSettings(detections_dir=Path("out"), output=Path("x/t.csv"), parquet=parquet))

    said = StringIO()
    with redirect_stdout(said), redirect_stderr(said), pytest.raises(SystemExit) as end:  # in their order
        build([words[0]])(list(words))

    assert (end.value.code, said.getvalue().strip()[:46]) == (0, "badc: these results were made with 3 different")


def test_the_table_is_an_argument_an_option_or_in_a_folder(parquet):
    asked = [report("summary", *words).stdout for words in (("--parquet", parquet), (parquet,), ("x",))]
    assert asked[0].startswith("label\tdetections\t")
    assert asked[1:] == asked[:1] * 2
    twice = report("summary", parquet, "--parquet", parquet)
    assert (twice.exit_code, twice.stderr) == (2, "badc: --parquet: given twice, also in another way; give it once\n")
    none = report("summary")
    assert (none.exit_code, none.stderr.startswith("badc: --parquet: name the table of detections, or")) == (2, True)


def test_a_summary_as_json(parquet):
    rows = json.loads(report("summary", "x", "--json").stdout)
    assert [(row["label"].split()[0], row["detections"]) for row in rows] == [("Ovenbird", 2), ("=bad", 1)]
    assert rows[0]["analysed_hours"] == 0.5


def test_ids_take_two_lines_at_most_and_hours_are_read_at_a_glance(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    name = "GNWT-290-NORTH-RIDGE_20230509_094500_local"
    row = {"recording_id": name, "detections": 12345, "avg_confidence": 0.45, "analysed_hours": 4 / 60, "labels": 1234}
    row |= {"max_confidence": 0.99, "analysed_chunks": 1234, "detections_per_hour": 1234.5}
    show_ranking(Ranking(tuple(row), (tuple(row.values()),), 1), "Recordings")
    shown = capsys.readouterr().out
    assert "4 min" in shown
    lines = [line.split("│")[1].strip() for line in shown.splitlines() if line.startswith("│")]
    assert "".join(lines) == name
    assert len(lines) == 2


def test_the_page_alone(parquet):
    done = report("page", "x", "--no-plots", "--title", "Ridge", "--output-dir", "pages")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [str(Path("pages/t_report.html").absolute())]
    assert "<title>Ridge" in Path("pages/t_report.html").read_text()
    assert [path.name for path in Path("pages").iterdir()] == ["t_report.html"]


def test_groups_by_commas_or_repeated_and_a_note_of_what_is_not_shown(parquet):
    done = report("summary", "--parquet", parquet, "--group-by", "label,hour", "--limit", 1, "--output", "s.csv")
    assert cells(done.stdout)[1][:3] == ["=bad  [31mred ", "5", "1"]
    assert cells(done.stdout)[-1] == [str(Path("s.csv").absolute())]
    assert done.stderr == "badc: 2 more groups; --limit 0 prints all\n"
    again = report("summary", "--parquet", parquet, "--group-by", "label", "--group-by", "hour", "--limit", 0)
    assert [row[:2] for row in cells(again.stdout)[1:]] == [
        ["=bad  [31mred ", "5"],
        ["Ovenbird", "5"],
        ["Ovenbird", "6"],
    ]


def test_what_is_missing_is_told_on_stderr(parquet):
    Path("x/t_coverage.parquet").unlink()
    done = report("summary", "--parquet", parquet, "--labels", "ovenbrid")
    assert done.exit_code == 0
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "badc: no table of coverage beside x/t.parquet, so detections per analysed hour are not known",
        "badc: no detection is labelled 'ovenbrid'; did you mean 'Ovenbird'?",
        "badc: detections by label: none",
    ]


def test_a_quicklook_has_three_tables_and_a_sparkline(parquet):
    done = report("quicklook", "--parquet", parquet, "--top-labels", 1, "--output-dir", "q")
    assert (done.exit_code, done.stderr) == (0, "")
    tables = [cells(part) for part in done.stdout.split("\n\n")]
    assert [table[0][0] for table in tables[:3]] == ["label", "recording_id", "chunk_start_ms"]
    assert [len(table) for table in tables[:3]] == [2, 2, 4]
    assert tables[3][0] == ["detections along the recordings", "|█▄ |"]
    assert [row[0] for row in tables[3][1:]] == [
        str(Path("q", f"{name}.csv").absolute()) for name in ("labels", "recordings", "chunks")
    ]


def test_the_parquet_report_ends_with_a_summary(parquet):
    done = report("parquet", "--parquet", parquet, "--bucket-minutes", 10)
    assert done.exit_code == 0
    tables = [cells(part) for part in done.stdout.split("\n\n")]
    assert [row[:3] for row in tables[2]] == [
        ["bucket_index", "bucket_start_ms", "detections"],
        ["0", "0", "2"],
        ["1", "600000", "1"],
    ]
    figures = {row[0]: row[1] for row in tables[3]}
    assert figures["detections"] == "3"
    assert figures["chunks no_detections"] == "1"
    assert figures["analysed_hours"] == "0.5"


def test_the_database_is_named(parquet):
    done = report("duckdb", "--parquet", parquet, "--database", "made/x.duckdb", "--export-dir", "e")
    assert done.exit_code == 0
    assert "\n3 detections, 3 chunks\n" in done.stdout
    assert str(Path("made/x.duckdb").absolute()) in done.stdout
    assert Path("e/timeline.csv").is_file()


def test_a_bundle_names_its_files(parquet):
    done = report("bundle", "--parquet", parquet, "--output-dir", "b", "--run-prefix", "may", "--no-html")
    assert (done.exit_code, done.stderr) == (0, "")
    made = [Path(line) for line in done.stdout.splitlines() if line.startswith("/")]
    assert len(made) == 11
    assert all(path.is_file() for path in made)
    assert {path.relative_to(Path("b").absolute()).parts[0] for path in made} == {
        "may_quicklook",
        "may_parquet_report",
        "may.duckdb",
        "may_duckdb_exports",
    }


def test_the_leaderboards_of_a_folder(parquet):
    Path("x/copy.parquet").write_bytes(parquet.read_bytes())
    done = report("aggregate-dir", "x", "--limit", 1)
    assert (done.exit_code, done.stderr) == (0, "")
    tables = done.stdout.split("\n\n")
    assert [cells(table)[1][0] for table in tables[:3]] == ["Ovenbird", DAWN, "ST-1"]
    assert tables[3] == "3 detections in 1 table, 1 copy left out\n"


def test_a_table_that_cannot_be_read_makes_the_exit_code_1(parquet):
    Path("x/broken.parquet").write_text("no")
    done = report("aggregate-dir", "x")
    assert done.exit_code == 1
    assert "3 detections in 1 table\n" in done.stdout
    assert done.stderr.startswith(f"badc: {Path('x/broken.parquet').absolute()}: is not Parquet (")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["summary"], "--parquet: name the table of detections"),
        (["duckdb", "--parquet", "x/t.parquet"], "--database: this option is needed"),
        (["summary", "--parquet", "none.parquet"], "none.parquet: no such table of detections"),
        (["summary", "--parquet", "x/t.csv"], "x/t.csv: cannot be read as Parquet"),
        (["summary", "--parquet", "x/t_coverage.parquet"], "this is a table of coverage, name the table of detections"),
        (["summary", "--parquet", "x/t.parquet", "--coverage", "no"], "no: no such table of coverage"),
        (
            ["summary", "--parquet", "x/t.parquet", "--group-by", "species"],
            "--group-by: 'species' is not one of label, ",
        ),
        (["summary", "--parquet", "x/t.parquet", "--min-confidence", "2"], "--min-confidence: "),
        (["summary", "--parquet", "x/t.parquet", "--sites", "no.csv"], "no.csv: no such CSV of sites"),
        (["summary", "--parquet", "x/t.parquet", "--output", "x/t.csv/s.csv"], "x/t.csv"),
        (["quicklook", "--parquet", "x/t.parquet", "--top-labels", "0"], "--top-labels: "),
        (["parquet", "--parquet", "x/t.parquet", "--bucket-minutes", "0"], "--bucket-minutes: "),
        (["duckdb", "--parquet", "x/t.parquet", "--database", "x/t.csv"], "x/t.csv: is not a DuckDB database"),
        (["bundle", "--parquet", "x/t.parquet", "--run-prefix", "../x"], "--run-prefix: it must not contain '/'"),
        (["aggregate-dir", "none"], "none: no such folder"),
    ],
)
def test_a_wrong_request_is_refused(parquet, words, message):
    before = sorted(Path().rglob("*"))
    done = report(*words)
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    assert done.stderr.startswith("badc: ")
    assert message in done.stderr
    assert sorted(Path().rglob("*")) == before, "nothing is written"


def test_leaderboards_of_a_folder_without_tables_are_a_warning_unless_one_cannot_be_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()
    done = report("aggregate-dir", "out")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr.startswith("WARNING: out: no table of detections (*.parquet) in it; nothing written.")
    Path("out/x.parquet").write_bytes(b"x")
    done = report("aggregate-dir", "out")
    assert done.exit_code == 1
    assert "out/x.parquet: is not Parquet" in done.stderr


def test_columns_that_are_missing_are_named(parquet):
    pq.write_table(pa.table({"label": ["a"], "confidence": [0.5]}), "bad.parquet")
    done = report("quicklook", "--parquet", "bad.parquet")
    assert done.exit_code == 2
    assert done.stderr == (
        "badc: bad.parquet: the columns recording_id, chunk_id, chunk_start_ms, timestamp_ms are missing, so it is not "
        "a table of detections; `badc infer aggregate --parquet` writes one\n"
    )


def test_tables_are_drawn_on_a_terminal(parquet):
    screen = pexpect.spawn(
        sys.executable,
        ["-m", "flows", "report", "quicklook", "--parquet", str(parquet)],
        encoding="utf-8",
        dimensions=(60, 90),
        timeout=60,
        env=os.environ | {"TERM": "xterm-256color", "PYTHONPATH": str(ROOT)},
    )
    screen.expect(pexpect.EOF)
    screen.close()
    shown = re.sub(r"\x1b\[[0-9;]*m", "", screen.before)
    assert screen.exitstatus == 0
    assert re.search(r"│ Ovenbird +│ +2 │ +0\.75 │ +1\.0 │ +1 │ +4\.0 │", shown)
    assert re.search(r"│ 0:20:00 +│ +0 │ +│ +1 │", shown)
    assert all(title in shown for title in ("Labels", "Recordings", "By start of the chunk"))
    assert "|█▄ |" in shown


def test_a_console_without_bars_gets_no_sparkline(parquet):
    done = subprocess.run(
        [sys.executable, "-m", "flows", "report", "quicklook", "--parquet", parquet],
        env=os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "along the recordings" not in done.stdout
    assert "Ovenbird" in done.stdout


def test_a_disk_that_is_full_leaves_no_part_of_a_file(parquet):
    """No file may grow beyond a few bytes, as on a full disk."""
    words = ["report", "summary", "--parquet", str(parquet), "--output", "made/s.csv"]
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64)); "
        f"sys.argv = ['badc', *{words!r}]; from flows.cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("badc: ")
    assert "Traceback" not in done.stderr
    assert list(Path("made").iterdir()) == []


def test_upper_and_lower_case_of_a_choice_are_the_same(parquet):
    assert cells(report("summary", "--parquet", parquet, "--group-by", "Station").stdout)[0][0] == "station"
    assert report("export", "--parquet", parquet, "--format", "RAVEN").stdout.startswith("3 detections in 1 file")
    wrong = report("summary", "--parquet", parquet, "--group-by", "Stations")
    assert (wrong.exit_code, "'Stations' is not one of label," in wrong.stderr) == (2, True)


def test_histories_and_phenology_are_written_beside_the_table(parquet):
    done = report("history", parquet, "--visit", "DATE")
    assert (done.exit_code, done.stderr) == (0, "")
    assert cells(done.stdout)[1] == ["Ovenbird", "", "2", "1", "1", "histories/Ovenbird.csv"]
    assert done.stdout.splitlines()[-2:] == [
        "1 station × 1 visit: 1 with analysed audio, 0.5 h in all",
        str(Path("x/t_history").absolute()),
    ]
    found = report("phenology", parquet)
    assert cells(found.stdout)[1] == ["Ovenbird", "", "2023-05-09", "2023-05-09", "1", "1", "1.0", "1", "2"]
    assert sorted(path.name for path in Path("x/t_phenology").iterdir()) == (
        ["accumulation.csv", "accumulation.png", "phenology.csv", "species.csv"]
    )
    wrong = report("history", parquet, "--relative-to", "sun")
    assert (wrong.exit_code, wrong.stderr) == (2, "badc: --relative-to sun counts hours: give --visit hour, too\n")
