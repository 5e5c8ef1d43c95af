"""`badc data …`: what git keeps of a dataset, and plain DataLad for what these commands of other programs do."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from badc.errors import ExitCode
from flows.cli.help import App
from flows.cli.options import with_boundary

app = App()
# Whatever options a script gives: it shall see what to do instead, not which option is unknown.
_ANY_WORDS = {"ignore_unknown_options": True, "allow_extra_args": True}
_WITH_A_VALUE = ("--url", "--path", "--method")


@app.command()
@with_boundary
def attributes(
    dataset: Annotated[Path, typer.Argument(help="The dataset, a folder with .git.")] = Path(),
) -> None:
    """Keep a dataset's small files in git, so that clones have them: manifests, chunk statuses, summaries, telemetry.

    Adds to .gitattributes the lines that it lacks, and prints them; what it says already stays. Logs and summaries of
    more than 1 MB go to git-annex as before.
    """
    from badc.datasets.attributes import FILE, add_attributes
    from badc.system.paths import absolute

    root = absolute(dataset)
    lines = add_attributes(root)
    for line in lines:
        print(line)
    if not lines:
        print(f"{root / FILE} says already where such files are kept", file=sys.stderr)
        return
    words = ["datalad", "-C", str(root), "save", "-m", "Small files stay in git", FILE]
    print(f"Added to {root / FILE}; what is saved from now on follows them. Save them with:", file=sys.stderr)
    print(f"  {shlex.join(words)}", file=sys.stderr)


def connect(context: typer.Context) -> int:
    """Say how to get a dataset: BADC keeps no list of datasets. Exit code 2."""
    folder = _named(context.args)
    return _instead(
        "connect",
        {
            f"datalad clone URL {folder}": "gets it, without the content of large files",
            f"datalad -C {folder} get manifests": "gets a folder's content; runs get the audio that they need",
            f"datalad -C {folder} update --how merge": "brings one that you have up to date",
        },
    )


def disconnect(context: typer.Context) -> int:
    """Say how to drop a dataset's content, or all of it; nothing is removed. Exit code 2."""
    folder = _named(context.args)
    return _instead(
        "disconnect",
        {
            f"datalad -C {folder} drop .": "drops the content that another place has too",
            f"datalad drop --what all --recursive --dataset {folder}": "removes all of the dataset",
        },
    )


def status(context: typer.Context) -> int:
    """Say how to look at a dataset. Exit code 2."""
    folder = _named(context.args)
    return _instead(
        "status",
        {
            f"datalad -C {folder} status --annex all": "what is changed, and how much content is here",
            f"datalad -C {folder} siblings": "where else it is",
            f"badc infer orchestrate {folder}": "which recordings are analysed",
        },
    )


def _named(words: Sequence[str]) -> str:
    """Return the dataset that a script's words name, quoted for the shell."""
    before = ("", *words)
    names = [
        word
        for word, last in zip(words, before, strict=False)
        if not word.startswith("-") and last not in _WITH_A_VALUE
    ]
    return shlex.quote(names[0]) if names else "DATASET"


def _instead(command: str, lines: Mapping[str, str]) -> int:
    print(f"badc: `badc data {command}` does nothing; plain DataLad does this (docs/datalad.md):", file=sys.stderr)
    width = max(map(len, lines))
    for line, what in lines.items():
        print(f"  {line:{width}}  {what}", file=sys.stderr)
    return ExitCode.WRONG_REQUEST


for _command in (connect, disconnect, status):
    app.command(context_settings=_ANY_WORDS)(with_boundary(_command))
