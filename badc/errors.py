"""The errors that users meet. Each names the place and the way out; the command line renders them in one spot.

* BadcError
  x RequestError
    + NotInstalledError
    + InUseError
    + ContentElsewhereError (badc.system.annex)
  x ChunkError
    + RunnerError
      - RunnerTimeoutError
  x AudioError (badc.recordings.audio)
  x InvalidResultError (badc.detections.result)
  x NoGpuError (badc.system.gpus)
  x DataladError (badc.datalad.environment)
  x ChunkingInterruptedError (badc.datasets.chunking.recording)
  x ChunksFailedError (tasks.infer)
  x RunFailedError (flows.deployed.flows)
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

MOST_LISTED = 20
_MOST_NAMED = 5


class ExitCode(IntEnum):
    """How commands, and the scripts that BADC writes, end."""

    OK = 0
    FAILED = 1
    WRONG_REQUEST = 2
    CHUNKS_NOT_COMPLETED = 3
    CLUSTER_LOST = 4
    INTERRUPTED = 130


class BadcError(Exception):
    """Something that a user can put right. Its text is shown as it is, without a traceback."""

    exit_code = ExitCode.FAILED


class RequestError(BadcError):
    """The request itself is wrong, so nothing was started (exit code 2)."""

    exit_code = ExitCode.WRONG_REQUEST


class NotInstalledError(RequestError):
    """What the request needs is not installed; the text says how to install it."""


class InUseError(RequestError):
    """Another run that lives has what this one is to write; the text names it."""


def listed(messages: Sequence[str], total: int | None = None) -> str:
    """Return messages as lines, so that all can be put right in one go, but only the first `MOST_LISTED` of them.

    `total` is how many there are when not all were kept; the last line says how many are not shown.
    """
    lines = list(messages[:MOST_LISTED])
    hidden = (len(messages) if total is None else total) - len(lines)
    return "\n".join([*lines, f"… and {hidden} more"] if hidden > 0 else lines)


def in_a_line(text: str) -> str:
    """Return a message of several lines for a cell of a table: its first line, and what that announces with a colon."""
    lines = text.splitlines() or [""]
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]


def numbered(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun, such as `1 station` or `1,204 stations`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def named_few(names: Sequence[str]) -> str:
    """Return the first few names, and how many more there are."""
    more = f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


class ChunkError(BadcError):
    """One attempt at one chunk failed; the text is its reason, as telemetry keeps it."""


class RunnerError(ChunkError):
    """A runner could not analyse a chunk.

    `stdout` and `stderr` are what its process printed; telemetry keeps the end. `returncode` is None if no process
    ended.
    """

    def __init__(self, message: str, *, stdout: str = "", stderr: str = "", returncode: int | None = None) -> None:
        super().__init__(message)
        self.stdout = stdout
        self.stderr = stderr
        self.returncode = returncode


class RunnerTimeoutError(RunnerError):
    """A runner took longer over a chunk than `--chunk-timeout`, and was stopped."""
