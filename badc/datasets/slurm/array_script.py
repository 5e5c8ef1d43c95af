"""Job arrays: one task per manifest; an array can be submitted again and again until it is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from badc.datasets.slurm.rendering import WrittenScript, write_script
from badc.datasets.slurm.settings import SlurmSettings
from badc.errors import ExitCode, RequestError


@dataclass(frozen=True, slots=True)
class ArrayTask:
    """One task of an array. Its relative paths start at the dataset's root, where it runs.

    `infer_words` is its `badc infer run …`, without `--resume-summary`. They name `telemetry_log`, the same at every
    submission, so that a later one can resume from it. The file `chunk_status_path` must say `completed` before the
    task runs; None skips this check. `recording_output_dir` is `<output-dir>/<recording>`; the bundle is named after
    `recording_id`.
    """

    recording_id: str
    manifest: Path
    infer_words: tuple[str, ...]
    telemetry_log: Path
    chunk_status_path: Path | None
    recording_output_dir: Path

    def __post_init__(self) -> None:
        if self.infer_words[:1] != ("badc",) or "--resume-summary" in self.infer_words:
            raise ValueError(f"not the words of a first `badc infer run`: {self.infer_words}")


def write_array_scripts(
    settings: SlurmSettings,
    tasks: Sequence[ArrayTask],
    dataset_root: Path,
    grace_period_s: float = 30.0,
    layout: str | None = None,
    sites: Path | None = None,
) -> list[WrittenScript]:
    """Write the job array of these tasks to `slurm_script`, and make the folder of the logs.

    More than `slurm_max_array` tasks go to several scripts, `<stem>_1<suffix>`, `<stem>_2<suffix>` and so on; no tasks
    give no script. The tasks run in `dataset_root`, absolute. For `grace_period_s` of their runs see `notice_s`;
    `layout` is the dataset's rule of stations, and `sites` the CSV of them, for the tables and reports.

    Raises
    ------
    RequestError
        When `slurm_script` is not given, the setup file cannot be used, or a folder cannot be written.
    """
    target = settings.slurm_script
    if target is None:
        raise RequestError("--slurm-script: no file is given for the job array")
    size = settings.slurm_max_array
    parts = [tasks[start : start + size] for start in range(0, len(tasks), size)]
    paths = [target] if len(parts) == 1 else _numbered(target, len(parts))
    return [
        write_script(
            path,
            "array.sh.j2",
            settings,
            {
                "dataset_root": dataset_root,
                "tasks": part,
                "aggregate_dir": settings.slurm_tables,
                "layout": layout,
                "sites": sites,
                "chunks_not_completed": ExitCode.CHUNKS_NOT_COMPLETED,
            },
            len(part),
            grace_period_s,
        )
        for path, part in zip(paths, parts, strict=True)
    ]


def _numbered(path: Path, number: int) -> list[Path]:
    digits = len(str(number))
    return [path.with_name(f"{path.stem}_{n:0{digits}}{path.suffix}") for n in range(1, number + 1)]
