"""`badc …`, which is also `python -m flows …`."""

from __future__ import annotations

import os
import signal


def main() -> None:
    """Run the command line of this process."""
    from flows.run.stopping import INTERRUPTED_EXIT_CODE, SIGNALS

    for number in SIGNALS:  # while the command line is imported
        signal.signal(number, lambda number, frame: os._exit(INTERRUPTED_EXIT_CODE))
    from flows.cli.main import main

    main()


if __name__ == "__main__":
    main()
