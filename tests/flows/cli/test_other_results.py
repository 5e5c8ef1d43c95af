"""Results of other settings, as a user meets them: refused with the ways out, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from badc.telemetry.summary import RunState


def files_of(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted((root / "artifacts" / "infer").rglob("*.json"))}


@pytest.fixture
def analysed(make_dataset, infer, fake):
    """A dataset with the results of a command."""
    root = make_dataset("A")
    folder = root / "artifacts" / "infer"
    outcome = infer(root / "manifests" / "A.csv", runner_cmd=fake("detector"), output_dir=folder, dataset_root=root)
    assert outcome.state is RunState.COMPLETED
    return root


def ended(process) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=180)
    return process.returncode, out, err


@pytest.mark.parametrize("command", [("infer", "orchestrate", "--apply"), ("pipeline", "run")])
@pytest.mark.parametrize("runner", [(), ("--stub-runner",), ("--stub-runner", "--replace-results")])
def test_a_dataset_with_results_is_not_run_again_with_another_runner(analysed, badc, command, runner):
    before = files_of(analysed)
    code, _, err = ended(badc(*command[:2], analysed, *command[2:], *runner, NO_COLOR="1"))
    assert code == 2, err
    assert "3 results there are of other settings than those asked for" in err
    assert "runner custom, asked for " + ("stub" if runner else "hawkears") in err
    assert "To continue as those there were made, give --runner-cmd " in err
    assert ("--replace-results" in err) == (not runner)
    assert "--output-dir" in err
    assert "Traceback" not in err
    assert files_of(analysed) == before


def test_a_plan_shows_results_of_other_settings_and_takes_hawkears_by_default(analysed, badc):
    code, out, err = ended(badc("infer", "orchestrate", analysed))
    assert code == 0
    assert "refuse" in out
    assert "3 results of other settings: runner custom, asked for hawkears" in out
    assert "badc: nothing was run, and --apply would refuse this plan: " in err
    assert "--output-dir, or replace them with --replace-results" in err
    assert "Runner: HawkEars" in err
    assert "as no other is named" in err


def test_without_hawkears_a_dataset_is_planned_but_not_run(make_dataset, badc, tmp_path):
    root = make_dataset("A")
    words = ("infer", "orchestrate", root, "--hawkears-python", tmp_path / "none", "--hawkears-arg=--min_score")
    words += ("--hawkears-arg", "0.5", "--hawkears-engine", "resident")
    code, out, err = ended(badc(*words))
    assert (code, "run" in out) == (0, True)
    assert "WARNING: --hawkears-python" in err
    code, _, err = ended(badc(*words, "--apply"))
    assert code == 2
    assert "make hawkears" in err
    assert "choose another runner: --runner-cmd, --runner-resident, --use-birdnet, --use-onnx, --stub-runner" in err
    assert not (root / "artifacts" / "infer").exists()


def test_the_stub_is_warned_of_also_where_the_command_is_only_printed(datalad_dataset, badc):
    code, out, err = ended(badc("infer", "run", datalad_dataset / "manifests" / "REC.csv", "--print-datalad-run"))
    assert code == 0
    assert "WARNING: The stub runner detects NOTHING" in err
    assert "--stub-runner" in out
