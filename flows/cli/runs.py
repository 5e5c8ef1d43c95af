"""What the commands that start runs have in common: a warning before, and the end of the process after."""

from __future__ import annotations

import os
import sys

from badc.runners.settings import RunnerSettings


def warn_of_stub(settings: RunnerSettings) -> None:
    """Say on stderr that nothing will be detected, where no runner was chosen."""
    from badc.runners.stub import WARNING

    if settings.runs_stub:
        print(f"WARNING: {WARNING}", file=sys.stderr)


def end(code: int, told: bool) -> int:
    """Return the exit code of a run, or end the process where Prefect could not be told how the run ended."""
    if told:
        return code
    print("badc: Prefect does not answer any more, so its UI does not show how this run ended", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: Prefect would try for minutes to deliver the events that it still holds.
    os._exit(code)
