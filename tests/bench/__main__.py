"""Run every benchmark and write docs/benchmarks.md: `make bench`, or `python -m tests.bench NAME …` to print some."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from pathlib import Path

from tests.bench import aggregation, birdnet, gpus, hawkears, orchestration, reports, start_up, task_runners

BENCHMARKS = {
    "tasks": task_runners,
    "birdnet": birdnet,
    "hawkears": hawkears,
    "orchestrate": orchestration,
    "aggregate": aggregation,
    "reports": reports,
    "gpus": gpus,
    "start": start_up,
}
PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"


def main(names: list[str]) -> None:
    """Measure, and print or write what was measured."""
    from flows.server import quiet_defaults

    quiet_defaults(verbose=False)
    parts = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PREFECT_HOME"] = str(Path(folder, "prefect"))
        for name in names or BENCHMARKS:
            print(f"measuring: {name}", file=sys.stderr, flush=True)
            scratch = Path(folder, name)
            scratch.mkdir()
            parts.append(BENCHMARKS[name].measure(scratch))
    text = "\n\n".join(parts) + "\n"
    if names:
        print(text)
        return
    PAGE.write_text(f"{_heading()}\n\n{text}")
    print(text)


def _heading() -> str:
    return (
        "# Benchmarks\n\n"
        "Written by `make bench`. Each table is measured in one run: compare within a table, not between machines.\n\n"
        f"Measured with Python {platform.python_version()} on {platform.system()} {platform.machine()}, "
        f"{len(os.sched_getaffinity(0))} cores, no GPU, server and workers on the same cores."
    )


if __name__ == "__main__":
    main(sys.argv[1:])
