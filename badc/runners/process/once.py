"""One process per attempt: started on a leash, its output kept in files, its whole group killed at the end."""

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
# The run's own credentials for its Prefect server, which its programs inherit.
_OWN_SECRETS = ("PREFECT_API_AUTH_STRING", "PREFECT_API_KEY")


@dataclass(frozen=True)
class Finished:
    """How a process ended; its attributes are keyword arguments of RunnerError and RunnerOutput.

    `stdout` and `stderr` are the end of what it printed; `returncode` is negative for a signal.
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
    """Run a program to its end, without a shell.

    `what` names it in messages, such as `the command`. After `timeout_s` its process group is killed; None waits for
    ever. `environment` and `secrets` are added to this process's variables; the values of `secrets` are hidden in what
    is kept of its output.

    Raises
    ------
    RunnerError
        When it cannot be started, or took too long (`RunnerTimeoutError`).
    """
    hidden = [*secrets, *((name, os.environ[name]) for name in _OWN_SECRETS if name in os.environ)]
    # Files, not pipes: a grandchild that keeps a pipe open would block this for ever.
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
            # Kill what the program left behind in its group, after a success too.
            leash.kill_group(process)
        return Finished(_end_of(stdout, hidden), _end_of(stderr, hidden), returncode)


def _end_of(stream: IO[bytes], secrets: Sequence[tuple[str, str]]) -> str:
    # Hiding a very short value gains nothing, and would replace much else.
    hidden = {value.encode(): f"<{name}>".encode() for name, value in secrets if len(value) >= _SHORTEST_SECRET}
    # Read more than is kept, by the longest secret: one whose beginning is not read then ends before the kept part.
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - _KEPT_OUTPUT_BYTES - max(map(len, hidden), default=0)))
    raw = stream.read()
    at = max(0, len(raw) - _KEPT_OUTPUT_BYTES)
    kept = b""
    # Longest first: one secret may contain another.
    pattern = b"|".join(re.escape(value) for value in sorted(hidden, key=len, reverse=True))
    for found in re.finditer(pattern, raw) if hidden else ():
        if found.end() > at:
            kept += raw[at : found.start()] + hidden[found[0]]
            at = found.end()
    return (kept + raw[at:]).decode(errors="replace")[-_KEPT_OUTPUT_BYTES:]
