"""Options that have two names."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from badc.datasets.inference.settings import BundleOptions
from badc.datasets.slurm.settings import SlurmSettings
from badc.settings.model import Settings
from flows.cli.options import options_of


@pytest.fixture
def call():
    """Return a function that runs a command with these options, and returns its settings or its errors."""
    app = typer.Typer()
    seen: list[Settings] = []

    @app.command()
    @options_of(SlurmSettings)
    def command(settings: SlurmSettings) -> None:
        seen.append(settings)

    def run(*words: str) -> Settings | str:
        done = CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})
        return seen.pop() if seen else done.stderr or done.stdout

    return run


def test_both_names_of_an_option_fill_the_same_field(call):
    words = ["script", "a.sh", "mem", "4G", "cpus-per-task", "2", "bundle-bucket-minutes", "5"]
    filled = []
    for prefix in ("slurm", "sockeye"):
        given = [f"--{prefix}-{word}" if number % 2 == 0 else word for number, word in enumerate(words)]
        filled.append(call(*given, f"--{prefix}-bundle", f"--{prefix}-resume-completed"))
    assert filled[0] == filled[1]
    assert filled[0].slurm_mem == "4G"
    assert filled[0].slurm_bundle


def test_the_printed_options_give_the_same_settings(call):
    settings = call("--sockeye-script", "a.sh", "--sockeye-mem", "4G", "--slurm-extra", "#SBATCH --qos=x")
    assert call(*settings.to_arguments()) == settings


def test_a_refusal_and_the_help_tell_both_names(call):
    assert call("--sockeye-mem", "4G").startswith("badc: --slurm-mem is for --slurm-script")
    assert "--slurm-mem,--sockeye-mem" in call("--help").replace(", ", ",")


def test_a_former_name_still_works_and_is_not_shown():
    seen: list[Settings] = []
    app = typer.Typer()

    @app.command()
    @options_of(BundleOptions)
    def command(settings: BundleOptions) -> None:
        seen.append(settings)

    for words in (["--sites", "s.csv"], ["--bundle-sites", "s.csv"]):
        assert CliRunner().invoke(app, words).exit_code == 0
    assert seen == [BundleOptions(sites=Path("s.csv")), BundleOptions.model_validate({"bundle_sites": "s.csv"})]
    assert "--bundle-sites" not in CliRunner().invoke(app, ["--help"]).stdout
    assert CliRunner().invoke(app, ["--sites", "s.csv", "--bundle-sites", "s.csv"]).exit_code == 2
