"""One process per attempt: started on a leash, its output kept in files, its whole group killed at the end."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from badc.errors import RunnerError, RunnerTimeoutError
from badc.runners.process.kept import Keeper
from badc.system import leash
from badc.system.environment import inherited


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
    ever. `environment` and `secrets` are added to the `inherited` variables; the values of `secrets` are hidden in what
    is kept of its output.

    Raises
    ------
    RunnerError
        When it cannot be started, or took too long (`RunnerTimeoutError`).
    """
    keeper = Keeper(secrets)
    # Files, not pipes: a grandchild that keeps a pipe open would block this for ever.
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        mark = leash.new_mark()
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=inherited() | environment | dict(secrets) | {leash.MARK: mark},
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
            leash.kill_marked(mark)
            raise RunnerTimeoutError(
                f"{what} was stopped after --chunk-timeout {timeout_s:g} s",
                stdout=_end_of(stdout, keeper),
                stderr=_end_of(stderr, keeper),
            ) from None
        finally:
            # Kill what the program left behind in its group, after a success too.
            leash.kill_group(process)
        return Finished(_end_of(stdout, keeper), _end_of(stderr, keeper), returncode)


def _end_of(stream: IO[bytes], keeper: Keeper) -> str:
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - keeper.needed_bytes))
    return keeper.end_of(stream.read())
