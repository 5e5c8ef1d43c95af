"""`badc report plot` from its options to its files, its exit code and what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from flows.cli.main import build
from tests.fakes.study import write_study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up study of two stations and three days, whose recordings are not there."""
    return write_study(tmp_path_factory.mktemp("study"), stations=2, days=3)


def plot(*words: object) -> Result:
    return CliRunner().invoke(build(["report"]), ["report", "plot", *map(str, words)])


def test_it_prints_the_files_that_it_drew(study, tmp_path):
    wanted = ("--kind", "hours,dates", "--labels", "common loon", "--top", 3)
    done = plot("--parquet", study, "--output-dir", tmp_path, *wanted)

    assert done.exit_code == 0
    assert done.stdout.split() == [f"{tmp_path}/study_hours.png", f"{tmp_path}/study_dates.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["study_dates.png", "study_hours.png"]


def test_what_cannot_be_drawn_is_said_and_the_rest_is_drawn(study, tmp_path):
    wanted = ("--kind", "spectrogram", "--kind", "dates", "--labels", "Common Loon")
    done = plot("--parquet", study, "--output-dir", tmp_path, *wanted)

    assert done.exit_code == 1
    assert done.stdout.split() == [f"{tmp_path}/study_dates.png"]
    assert done.stderr.startswith("badc: Common Loon: ")
    assert "no such audio file" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"--parquet": None},
            "--parquet: name the table of detections, or the dataset or folder of results that it is in",
        ),
        ({"--kind": "pie"}, "--kind: 'pie' is not one of hours, dates, timeline, confidence, spectrogram"),
        ({"--recording": "none"}, "none: the tables have no such recording"),
        ({"--parquet": "none.parquet"}, "none.parquet: no such table of detections"),
        ({"--top": 0}, "--top: "),
    ],
)
def test_a_wrong_request_is_refused(study, tmp_path, options, said):
    given = {"--parquet": study, "--output-dir": tmp_path} | options
    done = plot(*(word for option in given.items() if option[1] is not None for word in option))

    assert done.exit_code == 2
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []
