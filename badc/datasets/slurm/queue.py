"""What Slurm and the logs of a job array say of its tasks."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from badc.errors import ExitCode

_TIMEOUT_S = 30
# What a log holds of one task: the script's first and last line, and what Slurm writes about a job that it ends.
_BEGIN = re.compile(r"^Task (\d+) on ", re.MULTILINE)
_END = re.compile(r"^badc: task \d+ \(.*\) ended with exit code (\d+); submit it again", re.MULTILINE)
_BY_SLURM = re.compile(r"^slurmstepd: error: (.*)$", re.MULTILINE)
_WORDS = {
    ExitCode.FAILED: "a recording failed",
    ExitCode.WRONG_REQUEST: "the request is wrong, or the node is",
    ExitCode.CHUNKS_NOT_COMPLETED: "not chunked completely",
    ExitCode.INTERRUPTED: "stopped before its end, such as by its time limit",
    126: "badc could not be started",
    127: "badc could not be started",
}
_TAIL_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class TaskLog:
    """What the newest log of a task says. `exit_code` is None of one that runs, ended well, or was killed."""

    path: Path
    exit_code: int | None
    why: str
    text: str  # its end


def logs_of(log_dir: Path, job_name: str) -> dict[int, TaskLog]:
    """Return the newest log of each task that has one, by the number of the task."""
    pattern = re.compile(re.escape(job_name) + r"_(\d+)_\d+\.log")
    found = sorted(
        (int(match[1]), path) for path in log_dir.glob("*.log") if (match := pattern.fullmatch(path.name)) is not None
    )
    logs = {}
    for _, path in found:
        if (read := _read(path)) is not None:
            task, logs_entry = read
            logs[task] = logs_entry
    return logs


def _read(path: Path) -> tuple[int, TaskLog] | None:
    with path.open("rb") as stream:
        head = stream.read(_TAIL_BYTES).decode(errors="replace")
        stream.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        tail = stream.read().decode(errors="replace")
    if (begun := _BEGIN.search(head)) is None:
        return None
    # A task that was requeued appends to its log; what counts is its last start.
    starts = [match.start() for match in _BEGIN.finditer(tail)]
    tail = tail[starts[-1] :] if starts else tail
    ended, by_slurm = _END.search(tail), _BY_SLURM.findall(tail)
    code = None if ended is None else int(ended[1])
    why = "" if code is None else _WORDS.get(code, f"exit code {code}")
    if by_slurm:
        why = f"Slurm: {by_slurm[-1].strip('* ')}"
    return int(begun[1]), TaskLog(path, code, why, tail)


def queued(script: Path) -> dict[int, str] | None:
    """Return the state of each task of a script that Slurm has in its queue, such as `PENDING`; None without Slurm.

    The number of an array's first task follows the script's name in the job's command.
    """
    if shutil.which("squeue") is None:
        return None
    command = ["squeue", "--me", "--noheader", "--array", "--format=%K|%T|%o"]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    states = {}
    for line in shown.splitlines():
        index, state, words = (*line.split("|", 2), "", "")[:3]
        rest = words.removeprefix(str(script))
        if rest != words and index.isdigit() and (rest.strip() or "0").isdigit():
            states[int(rest.strip() or "0") + int(index)] = state
    return states
