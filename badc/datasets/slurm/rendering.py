"""Scripts from templates, in which every printed value is quoted for the shell unless it is a `ShellText`.

A value is a word of its own: inside quotes of the template, the quoting would not hold.
"""

from __future__ import annotations

import math
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from badc.datasets.slurm.settings import SlurmSettings
from badc.errors import RequestError
from badc.system import atomic
from badc.system.paths import absolute, require_writable

if TYPE_CHECKING:
    import jinja2

# The time that a run needs after its grace period to close its books and stop its workers and its Prefect server.
_CLOSING_TIME_S = 90


@dataclass(frozen=True, slots=True)
class WrittenScript:
    """A script that was written. Paths are absolute.

    `tasks` is 1 for a job that is not an array. `log_dir` exists: without it, Slurm fails a job without a word.
    """

    path: Path
    tasks: int
    log_dir: Path

    @property
    def submit_line(self) -> str:
        """The line that submits it, ready to paste into a shell."""
        return shlex.join(["sbatch", str(self.path)])


def free_path(path: Path) -> Path:
    """Return the path for a new script: with a number where a script is there, which logs and queued jobs may name."""
    script, number = absolute(path), 1
    while os.path.lexists(script):
        number += 1
        script = absolute(path.with_name(f"{path.stem}-{number}{path.suffix}"))
    return script


class ShellText(str):
    """Text that a template prints as it is, because it is shell code or already quoted."""


def write_script(
    path: Path, template: str, settings: SlurmSettings, values: Mapping[str, object], tasks: int, grace_period_s: float
) -> WrittenScript:
    """Write a script from a template in `templates`, executable, and make the folder of its logs.

    The template prints `values` besides what `settings` ask Slurm for. A run gives its running chunks `grace_period_s`
    to finish once it is told to stop.

    Raises
    ------
    RequestError
        When the file of `--slurm-setup` cannot be used, or a folder cannot be written.
    """
    script = absolute(path)
    log_dir = log_folder(settings, script)
    setup = _setup_lines(settings.slurm_setup)
    require_writable(script.parent, "folder of the Slurm script")
    require_writable(log_dir, "folder of the Slurm logs")
    text = render(
        template,
        {
            "slurm": settings,
            "script": script,
            # Slurm expands what follows a %.
            "log_stem": str(log_dir / settings.slurm_job_name).replace("%", "%%"),
            "log_dir": log_dir,
            "setup": None if setup is None else ShellText(setup),
            "extra": [ShellText(line) for line in settings.slurm_extra],
            "notice_s": notice_s(settings, grace_period_s),
            **values,
        },
    )
    log_dir.mkdir(parents=True, exist_ok=True)
    with atomic.replacing(script) as temporary:
        temporary.write_text(text, encoding="utf-8")
        mode = temporary.stat().st_mode
        temporary.chmod(mode | (mode & 0o444) >> 2)  # may be run by whoever may read it
    return WrittenScript(script, tasks, log_dir)


def log_folder(settings: SlurmSettings, script: Path) -> Path:
    """Return the folder of the logs of a script's jobs; the script's path is absolute."""
    return absolute(settings.slurm_log_dir) if settings.slurm_log_dir else script.parent / "logs"


def render(template: str, values: Mapping[str, object]) -> str:
    """Return a template filled in with these values, each quoted for the shell unless it is a `ShellText`."""
    return _environment().get_template(template).render(values)


def notice_s(settings: SlurmSettings, grace_period_s: float) -> int:
    """Return how long before its time limit a job is told to stop, in seconds: long enough to end in order."""
    wanted = math.ceil(grace_period_s) + _CLOSING_TIME_S
    limit = settings.time_limit_s
    return wanted if limit is None else min(wanted, limit // 2)


def _setup_lines(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RequestError(f"--slurm-setup {path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise RequestError(f"--slurm-setup {path}: not UTF-8 text") from None
    if found := re.search(r"^\s*#SBATCH.*", text, re.MULTILINE):
        raise RequestError(
            f"--slurm-setup {path}: Slurm passes over '{found[0].strip()}' after the first command; "
            "give such lines with --slurm-extra"
        )
    return text.strip("\n")


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    # Imported here, so that the command line starts fast.
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("badc.datasets.slurm"),
        undefined=jinja2.StrictUndefined,
        finalize=_quoted,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - that is for HTML; the shell's quoting is `finalize`
    )
    environment.filters["words"] = lambda words: ShellText(shlex.join(map(str, words)))
    return environment


def _quoted(value: object) -> str:
    if value is None:
        raise TypeError("a template prints a value that is not there")
    return value if isinstance(value, ShellText) else shlex.quote(str(value))
