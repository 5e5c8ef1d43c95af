"""The errors that users meet. Each names the place and the way out; the command line renders them in one spot."""

from __future__ import annotations

from collections.abc import Sequence


class BadcError(Exception):
    """Something that a user can put right. Its text is shown as it is, without a traceback."""

    exit_code = 1


class RequestError(BadcError):
    """The request itself is wrong, so nothing was started (exit code 2)."""

    exit_code = 2


class BadRowsError(RequestError):
    """Several bad rows of one file, listed together so that they can be put right in one go.

    Parameters
    ----------
    messages
        One message per row, each with its place. Only the first `SHOWN` are printed.
    """

    SHOWN = 20

    def __init__(self, messages: Sequence[str], total: int | None = None) -> None:
        self.messages = list(messages)
        total = len(self.messages) if total is None else total
        lines = self.messages[: self.SHOWN]
        if total > len(lines):
            lines.append(f"… and {total - len(lines)} more")
        super().__init__("\n".join(lines))


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
