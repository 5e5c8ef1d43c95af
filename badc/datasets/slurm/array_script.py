"""Job arrays: each task analyses one recording or several, and may be submitted again and again until all are done."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from badc.datasets.slurm.rendering import WrittenScript, free_path, write_script
from badc.datasets.slurm.settings import SlurmSettings
from badc.datasets.slurm.tasks import TaskRow, tasks_path
from badc.errors import ExitCode, RequestError
from badc.system.row_files import write_plan_csv


@dataclass(frozen=True, slots=True)
class WrittenArray(WrittenScript):
    """A job array that was written, with the table of its tasks and the script that submits all of it."""

    tasks_path: Path
    submit: Path
    arrays: int
    notes: Sequence[str]

    @property
    def submit_all(self) -> str:
        """The line that submits all arrays and the job that follows them."""
        return shlex.join(["bash", str(self.submit)])


def write_array(
    settings: SlurmSettings,
    rows: Sequence[TaskRow],
    words: Sequence[str],
    finish: Sequence[Sequence[str]],
    dataset_root: Path,
    grace_period_s: float = 30.0,
    notes: Sequence[str] = (),
) -> WrittenArray:
    """Write the job array of these tasks to `slurm_script`, what belongs to it beside it, and the folder of the logs.

    A task runs `words`, a `badc infer orchestrate … --apply` without its `--chunk-plan`, in `dataset_root`, absolute.
    When all have ended, a job runs the `finish` commands, badc's words without `badc`. Where more than
    `slurm_max_array` tasks are needed, the script is submitted several times. For `grace_period_s` see `notice_s`.
    `notes` is what a person should know of the array. A file of that name is kept, and the script gets a number.

    Raises
    ------
    RequestError
        When `slurm_script` is not given, the setup file cannot be used, or a folder cannot be written.
    """
    if settings.slurm_script is None:
        raise RequestError("--slurm-script: no file is given for the job array")
    if tuple(words[:3]) != ("badc", "infer", "orchestrate") or "--chunk-plan" in words:
        raise ValueError(f"not the words of a dataset's inference: {words}")
    path = free_path(settings.slurm_script)
    last = max(row.task for row in rows)
    size = settings.slurm_max_array
    parts = [(first, min(size, last + 1 - first)) for first in range(0, last + 1, size)]
    throttle = f"%{settings.slurm_array_throttle}" if settings.slurm_array_throttle else ""
    values = {
        "dataset_root": dataset_root,
        "tasks_path": tasks_path(path),
        "last": last,
        "array": f"0-{parts[0][1] - 1}{throttle}",
        "words": tuple(words),
        "needs_gpu": "gpu" in (settings.slurm_gres or "") and not settings.slurm_allow_cpu,
        "wrong_request": ExitCode.WRONG_REQUEST,
        "chunks_not_completed": ExitCode.CHUNKS_NOT_COMPLETED,
    }
    script = write_script(path, "array.sh.j2", settings, values, last + 1, grace_period_s)
    write_plan_csv(tasks_path(path), TaskRow, rows)
    after = path.with_suffix(".finish.sh")
    without_gpus = settings.model_copy(update={"slurm_gres": None})
    values = {"dataset_root": dataset_root, "commands": [tuple(line) for line in finish]}
    write_script(after, "finish.sh.j2", without_gpus, values, 1, grace_period_s)
    values = {"script": path, "finish": after, "parts": parts, "throttle": throttle}
    submit = write_script(path.with_suffix(".submit.sh"), "submit.sh.j2", settings, values, 1, grace_period_s)
    return WrittenArray(script.path, script.tasks, script.log_dir, tasks_path(path), submit.path, len(parts), notes)


def submit_lines(script: Path, tasks: Sequence[int], size: int) -> list[str]:
    """Return the `sbatch` lines that submit these tasks of a script, for arrays of `size` tasks."""
    lines = []
    for first in sorted({task // size * size for task in tasks}):
        indices = sorted(task - first for task in tasks if first <= task < first + size)
        further = [str(first)] if first else []
        lines.append(shlex.join(["sbatch", f"--array={_ranges(indices)}", str(script), *further]))
    return lines


def _ranges(indices: Sequence[int]) -> str:
    """Return sorted numbers as Slurm writes them, such as `0-3,7`."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and index == runs[-1][-1] + 1:
            runs[-1][1:] = [index]
        else:
            runs.append([index])
    return ",".join("-".join(map(str, run)) for run in runs)
