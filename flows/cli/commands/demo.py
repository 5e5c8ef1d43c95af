"""`badc demo`: a small study of real bird song, from recordings to one page."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from badc.errors import BadcError, RequestError

_MARK = ".badc-demo"


def demo(
    folder: Annotated[
        Path, typer.Argument(help="Folder to make. In an earlier demo's folder, what is there stays.")
    ] = Path("demo"),
) -> None:
    """Make a small study of real bird song, find the birds in it with BirdNET, and make its page.

    Three stations, two nights and their dawns, ten recordings. The command that does it is printed: it does the same
    for a folder of your own.
    """
    from badc.recordings.demo_study import write_demo_study

    _make_way(folder)
    write_demo_study(folder)
    words = ["pipeline", "run", str(folder), "--use-birdnet"]
    print(f"$ {shlex.join(['badc', *words])}", flush=True)
    done = subprocess.run([sys.executable, "-m", "flows", *words])
    if done.returncode != 0:
        raise BadcError(f"the demo failed (exit code {done.returncode})")
    print(f"in any browser, or with: xdg-open {shlex.quote(str(folder / 'badc' / 'report.html'))}")


def _make_way(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        if not (folder / _MARK).exists():
            raise RequestError(f"{folder}: exists and is not a BADC demo; name another folder")
        if (folder / "audio").exists():
            raise RequestError(f"{folder}: is the demo of an earlier BADC; name another folder, or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK).touch()
