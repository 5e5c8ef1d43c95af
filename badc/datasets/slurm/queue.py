"""What Slurm and the logs of a job array say of its tasks."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from badc.errors import ExitCode

_TIMEOUT_S = 30
BY_SLURM = "Slurm: "  # begins the reason of a task that Slurm ended
# What a log holds of one task: the script's first lines and its last one, before which its last error may stand, and
# what Slurm writes about a job that it ends.
_BEGIN = re.compile(r"^Script: (.*)\nTask (\d+) on ", re.MULTILINE)
_END = re.compile(
    r"^(?:badc: (?P<error>.*)\n)?badc: task \d+ \(.*\) ended with exit code (?P<code>\d+); submit it again",
    re.MULTILINE,
)
_BY_SLURM = re.compile(r"^slurmstepd: error: (.*)$", re.MULTILINE)
_WORDS = {
    ExitCode.FAILED: "a recording failed",
    ExitCode.WRONG_REQUEST: "the request is wrong, or the node is",
    ExitCode.CHUNKS_NOT_COMPLETED: "not chunked completely",
    ExitCode.INTERRUPTED: "stopped before its end, such as by its time limit",
    126: "badc could not be started",
    127: "badc could not be started",
    137: "killed, as where memory ran out",
}
# How Slurm's accounts say that a job ended, where its log may end without a word (man sacct, JOB STATE CODES).
_STATES = {
    "BOOT_FAIL": "its node did not start",
    "CANCELLED": "it was cancelled",
    "DEADLINE": "its deadline passed",
    "NODE_FAIL": "its node failed",
    "OUT_OF_MEMORY": "it ran out of memory; --slurm-mem asks for more",
    "PREEMPTED": "another job took its place",
    "TIMEOUT": "its time limit was over; --slurm-time asks for more",
}
_TAIL_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class TaskLog:
    """What the newest log of a task says. `exit_code` is None of one that runs, ended well, or was killed.

    `job` is how Slurm calls the task, such as `1234_5`.
    """

    path: Path
    job: str
    exit_code: int | None
    why: str
    text: str  # its end


def logs_of(script: Path, log_dir: Path, job_name: str) -> dict[int, TaskLog]:
    """Return the newest log of each task of a script that has one, by the number of the task.

    Those of other scripts may be in the same folder.
    """
    pattern = re.compile(re.escape(job_name) + r"_((\d+)_\d+)\.log")
    found = sorted(
        (int(match[2]), path, match[1])
        for path in log_dir.glob("*.log")
        if (match := pattern.fullmatch(path.name)) is not None
    )
    logs = {}
    for _, path, job in found:
        if (read := _read(path, job, script.resolve())) is not None:
            task, logs_entry = read
            logs[task] = logs_entry
    return logs


def _read(path: Path, job: str, script: Path) -> tuple[int, TaskLog] | None:
    with path.open("rb") as stream:
        head = stream.read(_TAIL_BYTES).decode(errors="replace")
        stream.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        tail = stream.read().decode(errors="replace")
    begun = _BEGIN.search(head)
    if begun is None or Path(begun[1]).resolve() != script:
        return None
    # A task that was requeued appends to its log; what counts is its last start.
    starts = [match.start() for match in _BEGIN.finditer(tail)]
    tail = tail[starts[-1] :] if starts else tail
    ended, by_slurm = _END.search(tail), _BY_SLURM.findall(tail)
    code = None if ended is None else int(ended["code"])
    why = "" if code is None else _WORDS.get(code, f"exit code {code}")
    if ended is not None and ended["error"]:
        why += f": {ended['error']}"
    if by_slurm:
        why = f"{BY_SLURM}{by_slurm[-1].strip('* ')}"
    return int(begun[2]), TaskLog(path, job, code, why, tail)


def queued(script: Path) -> dict[int, str] | None:
    """Return the state of each task of a script that Slurm has in its queue, such as `PENDING`; None without Slurm.

    The number of an array's first task follows the script's name in the job's command.
    """
    shown = _asked(["squeue", "--me", "--noheader", "--array", "--format=%K|%T|%o"])
    if shown is None:
        return None
    # Resolved, as a scratch folder is often a link, which the working directory is without.
    wanted = script.resolve()
    is_wanted = lru_cache(maxsize=None)(lambda path: Path(path).resolve() == wanted)
    states = {}
    for line in shown.splitlines():
        index, state, words = (*line.rstrip().split("|", 2), "", "")[:3]
        for path, first in ((words, "0"), words.rpartition(" ")[::2]):
            if index.isdigit() and first.isdigit() and is_wanted(path):
                states[int(first) + int(index)] = state
    return states


def ends_in_accounts(jobs: Iterable[str]) -> dict[str, str]:
    """Return how tasks ended, in words, where Slurm keeps accounts and it was not of their own accord.

    `jobs` are those of `TaskLog`; accounts have each job's last start only.
    """
    wanted = set(jobs)
    arrays = sorted({job.partition("_")[0] for job in wanted}, key=int)
    if not arrays:
        return {}
    shown = _asked(
        ["sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={','.join(arrays)}", "--format=JobID,State"]
    )
    ends = {}
    for line in (shown or "").splitlines():
        job, _, state = line.partition("|")
        words = _STATES.get(state.partition(" ")[0])  # such as CANCELLED by 1000
        if words is not None and job in wanted:
            ends[job] = f"{BY_SLURM}{words}"
    return ends


def _asked(command: Sequence[str]) -> str | None:
    """Return what a program of Slurm prints; None where it is not, or does not answer."""
    if shutil.which(command[0]) is None:
        return None
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
