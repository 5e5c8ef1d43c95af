"""The lines that orchestrating prints: alone on stdout, with plans and scripts beside them, and nothing run."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from flows.cli.main import GROUPS, build


@pytest.fixture
def badc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return a function that runs a command in this process, outside of the dataset."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    app = build(list(GROUPS))
    return lambda *words: CliRunner().invoke(app, [*map(str, words)])


@pytest.fixture
def dataset(make_dataset: Callable[..., Path]) -> Path:
    """A dataset of which A and B are chunked, `bad` cannot be, and `new` never was."""
    root = make_dataset("A", "B")
    (root / ".datalad").mkdir()
    for name in ("new", "bad"):
        (root / "audio" / f"{name}.wav").write_bytes(b"no audio" if name == "bad" else b"")
    return root


def test_plans_and_scripts_are_written_and_what_is_left_out_is_said(badc, dataset, tmp_path):
    words = (
        "infer",
        "orchestrate",
        dataset,
        "--use-birdnet",
        "--pattern",
        "A",
        "--pattern",
        "[!b]*w",
        "--pattern",
        "bad",
    )
    done = badc(
        *words, "--print-datalad-run", "--plan-csv", "p.csv", "--plan-json", "p.json", "--slurm-script", "job.sh"
    )
    assert done.exit_code == 0, done.output
    (line,) = done.stdout.splitlines()
    command = shlex.split(line)
    assert command[:3] == ["datalad", "-C", str(dataset)]
    assert "--use-birdnet" in command
    with Path("p.csv").open() as stream:
        assert [row["recording_id"] for row in csv.DictReader(stream)] == ["A"]
    assert Path("p.json").exists()
    assert Path("job.sh").exists()
    assert "2 recordings left out:\nbad: not chunked: never chunked\nnew: not chunked: never chunked" in done.stderr
    assert not (dataset / "artifacts" / "infer").exists()


@pytest.mark.parametrize("options", [("--use-birdnet",), ("--stub-runner",), ("--runner-cmd", "detect")])
def test_a_printed_command_names_its_runner(badc, dataset, options):
    done = badc("infer", "orchestrate", dataset, *options, "--print-datalad-run")
    assert len(done.stdout.splitlines()) == 2
    assert all(options[0] in shlex.split(line) for line in done.stdout.splitlines())


@pytest.mark.parametrize("command", ["infer", "chunk"])
def test_apply_beside_it_is_refused(badc, dataset, command):
    done = badc(command, "orchestrate", dataset, "--print-datalad-run", "--apply")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "give one of them" in done.stderr


def test_chunking_prints_what_it_would_run_and_says_the_rest(badc, dataset):
    done = badc("chunk", "orchestrate", dataset, "--chunk-duration", 2, "--print-datalad-run", "--plan-csv", "p.csv")
    assert done.exit_code == 0, done.output
    assert all(line.startswith("datalad -C ") for line in done.stdout.splitlines())
    assert "A: keep: cut differently: chunks of 1 s, overlap 0 s" in done.stderr
    assert Path("p.csv").exists()


def test_an_array_of_short_recordings_is_told_that_tasks_can_have_several(badc, make_dataset):
    words = ("infer", "orchestrate", make_dataset("A", "B"), "--use-birdnet", "--slurm-script")
    done = badc(*words, "a.sh")
    assert done.exit_code == 0, done.output
    assert (
        "each of the 2 tasks starts BADC and loads the model for 3 chunks on average; --slurm-hours-per-task auto"
        in (done.stderr)
    )
    done = badc(*words, "b.sh", "--slurm-hours-per-task", "auto")
    assert "each of the" not in done.stderr
    assert "Submit 1 task, and a job" in done.stderr
    done = badc(*words, "b.sh", "--apply")
    assert (done.exit_code, "give one of them" in done.stderr) == (2, True)
