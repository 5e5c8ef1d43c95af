"""`badc report plot` from its options to its files, its exit code and what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from flows.cli.report_plot import plot
from tests.fakes.study import write_study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up study of two stations and three days, whose recordings are not there."""
    return write_study(tmp_path_factory.mktemp("study"), stations=2, days=3)


def run(**options: object) -> int:
    """Run the command in this process, and return its exit code."""
    unset = {"coverage": None, "sites": None, "min_confidence": 0.0, "kind": [], "labels": []}
    unset |= {"recording": None, "top": None, "output_dir": None, "audio_root": None}
    with pytest.raises(typer.Exit) as ended:
        plot(**unset | options)
    return ended.value.exit_code


def test_it_prints_the_files_that_it_drew(study, tmp_path, capsys):
    code = run(parquet=study, output_dir=tmp_path, kind=["hours,dates"], labels=["common loon"], top=3)

    assert code == 0
    assert capsys.readouterr().out.split() == [f"{tmp_path}/study_hours.png", f"{tmp_path}/study_dates.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["study_dates.png", "study_hours.png"]


def test_what_cannot_be_drawn_is_said_and_the_rest_is_drawn(study, tmp_path, capsys):
    code = run(parquet=study, output_dir=tmp_path, kind=["spectrogram", "dates"], labels=["Common Loon"])

    said = capsys.readouterr()
    assert code == 1
    assert said.out.split() == [f"{tmp_path}/study_dates.png"]
    assert said.err.startswith("badc: Common Loon: ")
    assert "no such audio file" in said.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"parquet": None}, "--parquet: this option is needed"),
        ({"kind": ["pie"]}, "--kind: 'pie' is none of hours, dates, timeline, confidence, spectrogram"),
        ({"recording": "none"}, "none: the tables have no such recording"),
        ({"parquet": Path("none.parquet")}, "none.parquet: no such table of detections"),
        ({"top": 0}, "--top: "),
    ],
)
def test_a_wrong_request_is_refused(study, tmp_path, capsys, options, said):
    code = run(**{"parquet": study, "output_dir": tmp_path} | options)

    assert code == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
