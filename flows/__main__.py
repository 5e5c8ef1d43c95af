"""The entry point of `badc …` and `python -m flows …`."""

from __future__ import annotations

import io
import os
import signal
import sys
from pathlib import Path

from badc.errors import ExitCode


def main() -> None:
    """Run the command line."""
    _use_utf_8()
    _require_home()
    from badc.system.leash import heeded_signals

    for number in heeded_signals():  # until the command line is imported
        signal.signal(number, lambda number, frame: os._exit(ExitCode.INTERRUPTED))
    from flows.cli.main import main

    main()


def _use_utf_8() -> None:
    """Start again in UTF-8 where Python is kept from it (`LC_ALL=C PYTHONUTF8=0`): names of files have all letters."""
    if sys.getfilesystemencoding() == "ascii" and not sys.flags.ignore_environment:
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    if isinstance(sys.stdout, io.TextIOWrapper):  # such as of Latin-1
        sys.stdout.reconfigure(errors="backslashreplace")


def _require_home() -> None:
    try:
        Path.home()
    except RuntimeError:
        print(
            f"badc: the system knows no home folder of user {os.getuid()}; set HOME to a folder that this user may "
            "write to",
            file=sys.stderr,
        )
        sys.exit(ExitCode.WRONG_REQUEST)


if __name__ == "__main__":
    main()
