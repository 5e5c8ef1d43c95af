"""The entry point of `badc …` and `python -m flows …`."""

from __future__ import annotations

import os
import signal

from badc.errors import ExitCode


def main() -> None:
    """Run the command line."""
    from badc.system.leash import heeded_signals

    for number in heeded_signals():  # until the command line is imported
        signal.signal(number, lambda number, frame: os._exit(ExitCode.INTERRUPTED))
    from flows.cli.main import main

    main()


if __name__ == "__main__":
    main()
