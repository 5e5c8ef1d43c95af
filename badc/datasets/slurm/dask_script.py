"""One job over several nodes: a Dask scheduler, workers on every node, and the run that joins them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from badc.datasets.slurm.rendering import WrittenScript, free_path, write_script
from badc.datasets.slurm.settings import SlurmSettings
from badc.errors import ExitCode, RequestError


def write_dask_script(
    settings: SlurmSettings,
    run_words: Sequence[str],
    folder: Path,
    cpu_workers: int = 0,
    grace_period_s: float = 30.0,
) -> WrittenScript:
    """Write a job that starts workers on `slurm_nodes` nodes and runs one command on them.

    Each node gets one worker per GPU if `slurm_gres` requests GPUs, and `cpu_workers` more; without GPUs at least one.
    The job ends with the command's exit code, and stops what it started. A file of that name is kept, and the script
    gets a number. `run_words` is the command, such as `badc
    infer orchestrate … --apply`, without `--scheduler`; it runs in `folder`, absolute. For its `grace_period_s` see
    `notice_s`.

    Raises
    ------
    RequestError
        When `slurm_dask` is not given, the setup file cannot be used, or a folder cannot be written.
    """
    if settings.slurm_dask is None:
        raise RequestError("--slurm-dask: no file is given for the job")
    if tuple(run_words[:1]) != ("badc",) or "--scheduler" in run_words:
        raise ValueError(f"not a badc command that can be given a scheduler: {run_words}")
    with_gpus = "gpu" in (settings.slurm_gres or "")
    values = {
        "folder": folder,
        "run_words": tuple(run_words),
        "with_gpus": with_gpus,
        "cpu_workers": cpu_workers if with_gpus else max(cpu_workers, 1),
        "cluster_lost": ExitCode.CLUSTER_LOST,
    }
    return write_script(free_path(settings.slurm_dask), "dask.sh.j2", settings, values, 1, grace_period_s)
