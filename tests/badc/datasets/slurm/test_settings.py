"""The settings of the Slurm scripts: what is refused, and how time limits are read."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

import badc.datasets.slurm
from badc.datasets.slurm.settings import SlurmSettings
from badc.errors import RequestError
from badc.settings.model import option_names, settings_from
from tests.conftest import ROOT

SCRIPT = {"slurm_script": "array.sh"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"slurm_mem": "4G"}, "--slurm-mem is for --slurm-script or --slurm-dask; neither is given"),
        ({"slurm_dask": "array.sh", **SCRIPT}, "--slurm-script and --slurm-dask name the same file"),
        ({"slurm_bundle_bucket_minutes": 5, **SCRIPT}, "--slurm-bundle-bucket-minutes is for --slurm-bundle, which"),
        ({"slurm_time": "6 hours", **SCRIPT}, "--slurm-time: '6 hours' is not a Slurm time limit"),
        ({"slurm_mem": "a lot", **SCRIPT}, "--slurm-mem: 'a lot' is not a Slurm memory size"),
        ({"slurm_job_name": "a/b", **SCRIPT}, "--slurm-job-name: the logs are named after the job"),
        ({"slurm_account": "a\n#SBATCH --x", **SCRIPT}, "--slurm-account: has to be one line"),
        ({"slurm_partition": " ", **SCRIPT}, "--slurm-partition: has to be one line"),
        ({"slurm_log_dir": "a\\b", **SCRIPT}, "--slurm-log-dir: no path with a backslash"),
        ({"slurm_extra": ("--qos=x",), **SCRIPT}, "--slurm-extra: '--qos=x' is not a line that starts with '#SBATCH '"),
        ({"slurm_array_throttle": 0, **SCRIPT}, "--slurm-array-throttle: "),
        ({"slurm_max_array": 0, **SCRIPT}, "--slurm-max-array: "),
        ({"slurm_cpus_per_task": 0, **SCRIPT}, "--slurm-cpus-per-task: "),
        ({"slurm_gres": "gpu=1", **SCRIPT}, "--slurm-gres: gpu=1: Slurm writes generic resources as gpu:1"),
        ({"slurm_gres": "gpu: 1", **SCRIPT}, "--slurm-gres: gpu: 1: Slurm writes"),
        ({"slurm_hours_per_task": 0, **SCRIPT}, "--slurm-hours-per-task: 0 is neither a number of hours"),
        ({"slurm_hours_per_task": "x", **SCRIPT}, "--slurm-hours-per-task: 'x' is neither a number of hours"),
    ],
)
def test_what_slurm_would_not_take_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        settings_from(SlurmSettings, values)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("0", None),
        ("90", 90 * 60),
        ("90:30", 90 * 60 + 30),
        ("06:00:00", 6 * 3600),
        ("2-12", 60 * 3600),
        ("2-12:30", 60 * 3600 + 1800),
        ("1-00:00:05", 86405),
    ],
)
def test_time_limits_are_read_as_slurm_reads_them(text: str | None, seconds: int | None) -> None:
    assert SlurmSettings(slurm_script=Path("array.sh"), slurm_time=text).time_limit_s == seconds


def test_what_the_first_users_called_sockeye_keeps_its_name() -> None:
    fields = SlurmSettings.model_fields
    names = {name for field in fields for name in option_names(field, fields[field])}
    # Not Slurm's logs, but telemetry: an option of `badc infer orchestrate`.
    assert "--sockeye-log-dir" not in names
    assert {
        *("--sockeye-script", "--sockeye-job-name", "--sockeye-account", "--sockeye-partition", "--sockeye-gres"),
        *("--sockeye-time", "--sockeye-cpus-per-task", "--sockeye-mem"),
        *("--sockeye-resume-completed", "--sockeye-bundle", "--sockeye-bundle-aggregate-dir"),
        "--sockeye-bundle-bucket-minutes",
    } < {on for on, _, _ in (name.partition("/") for name in names)}
    assert {name.replace("sockeye", "slurm") for name in names if "/" not in name} < {
        name.partition("/")[0] for name in names
    }


def test_the_templates_are_part_of_an_installed_package() -> None:
    package = Path(badc.datasets.slurm.__file__).parent
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    found = {path for pattern in declared["badc.datasets.slurm"] for path in package.glob(pattern)}
    assert found == set((package / "templates").iterdir())


@pytest.mark.parametrize("gres", ["gpu", "gpu:1", "gpu:a100:2", "gpu:1g.10gb:1", "gpu:1,tmpfs:50G", "mig:1"])
def test_generic_resources_are_written_as_sites_name_them(gres: str) -> None:
    assert SlurmSettings(slurm_script=Path("array.sh"), slurm_gres=gres).slurm_gres == gres
