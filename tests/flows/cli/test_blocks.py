"""Blocks named on the command line: every field of theirs reaches the run, and no secret a record."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("blocks")]

TALKATIVE = """
import json, os, sys
print("token is", os.environ["BADC_LICENCE"], file=sys.stderr)
sys.exit(3)
"""


@pytest.fixture
def types(prefect_api: str) -> Any:
    from blocks import types
    from blocks.loading import register_block_types

    register_block_types()
    return types


@pytest.mark.long
def test_a_secret_is_masked_in_what_the_command_prints(
    types: Any, badc: Callable[..., Any], make_recording: Any, make_manifest: Any, tmp_path: Path
) -> None:
    (tmp_path / "talkative.py").write_text(TALKATIVE)
    command = f"{sys.executable} {tmp_path / 'talkative.py'}"
    types.CommandRunner(runner_cmd=command, environment={"BADC_LICENCE": "s3cret-value"}).save("talk", overwrite=True)
    manifest = make_manifest(make_recording(seconds=1))
    words = ["--runner-block", "talk", "--max-retries", 0, "--max-gpus", 0, "--telemetry-log", "run.jsonl"]
    process = badc("infer", "run", manifest, *words, "--save-config", "run.toml")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    assert "token is <BADC_LICENCE>" in (tmp_path / "run.jsonl").read_text()
    assert "--runner-env BADC_LICENCE" in err
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        assert b"s3cret-value" not in path.read_bytes(), path
    assert "s3cret-value" not in out + err
    # The command that goes on says what it lacks.
    resume = next(line for line in err.splitlines() if line.startswith("Resume with: "))
    process = badc("infer", "run", manifest, "--runner-cmd", command, "--runner-env", "BADC_LICENCE")
    _, err = process.communicate(timeout=60)
    assert "--runner-env BADC_LICENCE" in resume
    assert "or give the --runner-block that keeps it" in err
    assert process.returncode == 2


@pytest.mark.long
def test_lists_of_a_block_are_kept_unless_the_option_is_given(
    types: Any, badc: Callable[..., Any], make_dataset: Any, make_manifest: Any, make_recording: Any, tmp_path: Path
) -> None:
    types.HawkearsResidentRunner(hawkears_arg=["--min_score", "0.7"]).save("strict", overwrite=True)
    manifest = make_manifest(make_recording(seconds=1))
    for name, given in (("kept", []), ("given", ["--hawkears-arg=--region", "--hawkears-arg", "CA"])):
        words = ["--runner-block", "strict", *given, "--save-config", f"{name}.toml", "--hawkears-python", "nowhere"]
        badc("infer", "run", manifest, *words).communicate(timeout=60)
    written = [tomllib.loads((tmp_path / f"{name}.toml").read_text())["hawkears"] for name in ("kept", "given")]
    assert [each["extra_args"] for each in written] == [["--min_score", "0.7"], ["--region", "CA"]]

    types.SlurmProfile(slurm_extra=["#SBATCH --qos=long"]).save("long", overwrite=True)
    root = make_dataset("A")
    words = ["--slurm-profile", "long", "--slurm-script", "job.sh", "--runner-cmd", "true"]
    process = badc("infer", "orchestrate", root, *words)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "#SBATCH --qos=long\n" in (tmp_path / "job.sh").read_text()


@pytest.mark.long
def test_a_refusal_after_blocks_were_loaded_is_all_that_is_printed(
    types: Any, badc: Callable[..., Any], tmp_path: Path
) -> None:
    types.StubRunner().save("none", overwrite=True)
    process = badc("infer", "run", "nowhere.csv", "--runner-block", "none")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert err.splitlines() == [line for line in err.splitlines() if line.startswith("badc: nowhere.csv")]
