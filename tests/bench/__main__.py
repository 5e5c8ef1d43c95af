"""Run every benchmark and write docs/benchmarks.md: `make bench`, or `python -m tests.bench NAME …` to print some."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench import (
    aggregation,
    birdnet,
    embeddings,
    gpus,
    hawkears,
    occurrence,
    orchestration,
    planning,
    real_gpu,
    reports,
    review,
    scale,
    short_recordings,
    start_up,
    streaming,
    study,
    task_runners,
)
from tests.conftest import ROOT

BENCHMARKS = {
    "study": study,
    "tasks": task_runners,
    "birdnet": birdnet,
    "hawkears": hawkears,
    "orchestrate": orchestration,
    "planning": planning,
    "short": short_recordings,
    "streaming": streaming,
    "aggregate": aggregation,
    "occurrence": occurrence,
    "reports": reports,
    "review": review,
    "embeddings": embeddings,
    "gpus": gpus,
    "real-gpu": real_gpu,
    "start": start_up,
}
# Takes hours; docs/scaling.md has it.
ON_REQUEST = {"scale": scale}
PAGE = ROOT / "docs" / "benchmarks.md"


def main(names: list[str]) -> None:
    """Measure, and print or write what was measured."""
    if names:
        for name in names:
            print(_measured(name))
        return
    # Each in a process of its own: the server of one is still busy with its events when the next begins.
    parts = [_or_as_before(_printed(name)) for name in BENCHMARKS]
    PAGE.write_text("\n\n".join([_heading(), *parts]) + "\n")
    print(PAGE.read_text())


def _measured(name: str) -> str:
    from flows.server.local import quiet_defaults

    quiet_defaults(verbose=False)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PREFECT_HOME"] = str(Path(folder, "prefect"))
        print(f"measuring: {name}", file=sys.stderr, flush=True)
        scratch = Path(folder, name)
        scratch.mkdir()
        return (BENCHMARKS | ON_REQUEST)[name].measure(scratch) + "\n"


def _printed(name: str) -> str:
    command = [sys.executable, "-m", "tests.bench", name]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def _or_as_before(part: str) -> str:
    """Return the page's own part instead of one that says that nothing could be measured here."""
    heading, _, text = part.partition("\n\n")
    before = f"\n{heading}\n\n"
    page = PAGE.read_text()
    if not text.startswith("Not measured") or before not in page:
        return part
    return heading + "\n\n" + page.split(before)[1].split("\n## ")[0].strip()


def _heading() -> str:
    return (
        "# Benchmarks\n\n"
        "Written by `make bench`. Each table is measured in one run: compare within a table, not between machines.\n\n"
        f"Measured with Python {platform.python_version()} on {platform.system()} {platform.machine()}, "
        f"{len(os.sched_getaffinity(0))} cores, no GPU, server and workers on the same cores; "
        "[A real GPU](#a-real-gpu) on the machine that it names."
    )


if __name__ == "__main__":
    main(sys.argv[1:])
