"""The errors that users meet. Each names the place and the way out; the command line renders them in one spot."""

from __future__ import annotations

from collections.abc import Sequence

MOST_LISTED = 20


class BadcError(Exception):
    """Something that a user can put right. Its text is shown as it is, without a traceback."""

    exit_code = 1


class RequestError(BadcError):
    """The request itself is wrong, so nothing was started (exit code 2)."""

    exit_code = 2


def listed(messages: Sequence[str], total: int | None = None) -> str:
    """Return messages as lines, so that they can be put right in one go; only the first `MOST_LISTED` of them.

    Parameters
    ----------
    messages
        One line each.
    total
        How many there are where not all were kept.
    """
    lines = list(messages[:MOST_LISTED])
    hidden = (len(messages) if total is None else total) - len(lines)
    return "\n".join([*lines, f"… and {hidden} more"] if hidden > 0 else lines)


class ChunkError(BadcError):
    """One attempt at one chunk failed; the text is its reason, as telemetry keeps it."""


class RunnerError(ChunkError):
    """A runner could not analyse a chunk.

    Parameters
    ----------
    message
        The reason, in a sentence.
    stdout, stderr
        What the runner's process printed; telemetry keeps the end of it.
    returncode
        The process's exit code, where there was a process and it ended.
    """

    def __init__(self, message: str, *, stdout: str = "", stderr: str = "", returncode: int | None = None) -> None:
        super().__init__(message)
        self.stdout = stdout
        self.stderr = stderr
        self.returncode = returncode


class RunnerTimeoutError(RunnerError):
    """A runner took longer over a chunk than `--chunk-timeout`, and was stopped."""
