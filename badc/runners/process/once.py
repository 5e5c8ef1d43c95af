"""One process per attempt: started on a leash, with its output kept in files, and its whole group killed at the end."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from badc.errors import RunnerError, RunnerTimeoutError
from badc.system import leash

_KEPT_OUTPUT_BYTES = 4096
_SHORTEST_SECRET = 4
# What the run itself is let in with at its Prefect server; its programs inherit it.
_OWN_SECRETS = ("PREFECT_API_AUTH_STRING", "PREFECT_API_KEY")


@dataclass(frozen=True)
class Finished:
    """How a process ended; its attributes are keyword arguments of RunnerError and RunnerOutput.

    Parameters
    ----------
    stdout, stderr
        The end of what it printed.
    returncode
        Its exit code, negative for a signal.
    """

    stdout: str
    stderr: str
    returncode: int


def run_process(
    words: Sequence[str],
    *,
    what: str,
    timeout_s: float | None,
    environment: dict[str, str],
    secrets: Sequence[tuple[str, str]] = (),
    working_dir: Path | None = None,
) -> Finished:
    """Run a program to its end.

    Parameters
    ----------
    words
        The program and its arguments; no shell is involved.
    what
        What to call it in messages, such as `the command`.
    timeout_s
        After so many seconds its process group is killed; None waits for ever.
    environment
        Variables added to this process's own.
    secrets
        Further variables, names and values, that do not show in what is kept of its output.
    working_dir
        Where it runs; by default here.

    Raises
    ------
    RunnerError
        When it cannot be started, or took too long (`RunnerTimeoutError`).
    """
    hidden = [*secrets, *((name, os.environ[name]) for name in _OWN_SECRETS if name in os.environ)]
    # Files, not pipes: a grandchild that keeps a pipe open would hold this up for ever.
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=os.environ | environment | dict(secrets),
                cwd=working_dir,
                start_new_session=True,
            )
        except OSError as error:
            raise RunnerError(f"{what} {words[0]!r} cannot be started: {error.strerror}") from None
        leash.hold(process)
        try:
            returncode = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            leash.kill_group(process)
            raise RunnerTimeoutError(
                f"{what} was stopped after --chunk-timeout {timeout_s:g} s",
                stdout=_end_of(stdout, hidden),
                stderr=_end_of(stderr, hidden),
            ) from None
        finally:
            # What the program left behind in its group goes with it, after a success too.
            leash.kill_group(process)
        return Finished(_end_of(stdout, hidden), _end_of(stderr, hidden), returncode)


def _end_of(stream: IO[bytes], secrets: Sequence[tuple[str, str]]) -> str:
    # Of a very short value nothing is gained, and much else would be replaced.
    hidden = {value.encode(): f"<{name}>".encode() for name, value in secrets if len(value) >= _SHORTEST_SECRET}
    # More is read than is kept, by the longest of them: a secret whose beginning is not read ends before what is kept.
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - _KEPT_OUTPUT_BYTES - max(map(len, hidden), default=0)))
    raw = stream.read()
    at = max(0, len(raw) - _KEPT_OUTPUT_BYTES)
    kept = b""
    # The longest first: one secret may hold another.
    pattern = b"|".join(re.escape(value) for value in sorted(hidden, key=len, reverse=True))
    for found in re.finditer(pattern, raw) if hidden else ():
        if found.end() > at:
            kept += raw[at : found.start()] + hidden[found[0]]
            at = found.end()
    return (kept + raw[at:]).decode(errors="replace")[-_KEPT_OUTPUT_BYTES:]
