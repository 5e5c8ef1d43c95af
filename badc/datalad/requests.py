"""Send a request to DataLad in a process of its own (see `badc.datalad.child`)."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from badc.datalad.environment import DataladError, environment
from badc.system import leash

_SHOWN_CHARS = 2000


def ask(
    root: Path,
    request: dict[str, Any],
    *,
    on_progress: Callable[[int], None] = lambda done: None,
    may_be_killed: bool = False,
) -> dict[str, Any]:
    """Return DataLad's answer to a request of `badc.datalad.child`. Any number of threads may ask at the same time.

    `root` is absolute; `on_progress` gets the number of files done so far. With `may_be_killed` the process is killed
    at once when this one is interrupted or dies. Otherwise an interruption waits for it: half a commit is worse than a
    late end.

    Raises
    ------
    DataladError
        When it failed, with its message.
    """
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            # -P: files in the working directory must not be imported as modules.
            [sys.executable, "-P", "-m", "badc.datalad.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment(),
            cwd=root,
            start_new_session=True,  # the terminal's Ctrl-C is not for it
        )
        if may_be_killed:
            leash.hold(process)
        try:
            answer = _talk(process, {"root": str(root), **request}, on_progress)
            process.wait()
        except BaseException:
            if may_be_killed:
                leash.kill_group(process)
            else:
                process.wait()
            raise
        if may_be_killed:
            leash.let_off(process)
        if answer is None:
            raise DataladError(f"{root}: DataLad {leash.how_it_ended(process.returncode)}: {_end_of(errors)}")
    if "error" in answer:
        raise DataladError(f"{root}: {answer['error']}")
    return answer


def _talk(
    process: subprocess.Popen[bytes], request: dict[str, Any], on_progress: Callable[[int], None]
) -> dict[str, Any] | None:
    """Send the request and return the answer, the last line that came back; None when there is none."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):  # it died at once; its exit code and its messages say why
        process.stdin.write(json.dumps(request).encode())
        process.stdin.close()
    answer = None
    with process.stdout as lines:
        for line in lines:
            message = json.loads(line)
            if "done" in message:
                on_progress(message["done"])
            else:
                answer = message
    return answer


def _end_of(errors: IO[bytes]) -> str:
    errors.seek(0)
    return errors.read().decode(errors="replace").strip()[-_SHOWN_CHARS:] or "it said nothing"
