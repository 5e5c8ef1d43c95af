"""Record a run that is over, so that `datalad rerun` can repeat it, or save what one left that failed."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from badc.datalad.requests import ask
from badc.datalad.run import DataladRun

# How the message of a record begins, for `datalad rerun`.
SUBJECT = "[DATALAD RUNCMD] "


def record(run: DataladRun, exit_code: int = 0, unless_since: str | None = None) -> str | None:
    """Save the outputs of a run that has ended, with the record that `datalad run` would have made, in one commit.

    Only what changed in the run's outputs is saved, deletions included; other changes stay as they are. Recordings of
    one dataset wait for each other, across threads, processes, and machines with a common file system. Returns the
    commit, or None when the outputs are the same as already saved. With `unless_since`, a commit, one without files is
    made then, unless somebody has made this record since that commit.

    Raises
    ------
    DataladError
        When the record could not be made; the outputs are there, but not saved.
    """
    details = {
        "chain": [],
        "cmd": shlex.join(run.command_words),
        "exit": exit_code,
        "extra_inputs": [],
        "inputs": run.input_patterns,
        "outputs": run.output_patterns,
        "pwd": ".",
    }
    answer = ask(
        run.root,
        {
            "do": "record",
            "message": f"{SUBJECT}{run.message}",
            "record": details,
            "paths": list(run.outputs),
            "unless_since": unless_since,
        },
    )
    commit: str | None = answer["commit"]
    return commit


def save(root: Path, paths: Sequence[str], message: str) -> None:
    """Save files of a dataset, with paths relative to its absolute root, without a record; DataladError if it fails."""
    ask(root, {"do": "save", "message": message, "paths": list(paths)})
