"""What a run shows in the Prefect UI: its progress while it goes, its workers and a report at the end."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.logging import get_run_logger

from badc.infer import InferPlan
from badc.ledger import Progress, RunLedger
from badc.summary import JobStatus, RunSummary, WorkerCount

_UPDATE_INTERVAL_S = 2.0
_LISTED = 10


def worker_rows(workers: Mapping[str, WorkerCount]) -> list[dict[str, Any]]:
    """Return the table of the workers, one row each: the same on the console and as an artifact."""
    return [
        {
            "worker": label,
            "jobs": count.jobs,
            "failures": count.failure,
            "retries": count.retries,
            "failed attempts": count.failed_retries,
        }
        for label, count in sorted(workers.items())
    ]


class RunArtifacts:
    """The artifacts of one inference run. An API that fails costs them, never the run.

    Parameters
    ----------
    plan
        What the run will do.
    """

    def __init__(self, plan: InferPlan) -> None:
        self._plan = plan
        self._slug = artifact_key(plan.manifest.path.stem)
        self._progress_id: UUID | None = None
        self._next_update = 0.0
        self._last = -1.0

    def show_progress(self, progress: Progress) -> None:
        """Bring the progress artifact up to date, at most every two seconds."""
        if time.monotonic() < self._next_update:
            return
        percent = 100.0 * (progress.done + progress.failed) / progress.total if progress.total else 100.0
        self._next_update = time.monotonic() + _UPDATE_INTERVAL_S
        if percent == self._last:
            return
        self._last = percent
        if self._progress_id is None:
            self._progress_id = self._try(
                lambda: create_progress_artifact(
                    progress=percent, key=f"infer-progress-{self._slug}", description=_progress_text(progress)
                )
            )
        else:
            artifact = self._progress_id
            self._try(
                lambda: update_progress_artifact(
                    artifact_id=artifact, progress=percent, description=_progress_text(progress)
                )
            )

    def show_end(self, ledger: RunLedger) -> None:
        """Write the table of the workers and the report of the run."""
        self._next_update = 0.0
        self.show_progress(ledger.progress())
        summary = ledger.summary
        rows = worker_rows(summary.workers)
        self._try(
            lambda: create_table_artifact(
                table=rows, key=f"infer-workers-{self._slug}", description="What each worker did"
            )
        )
        report = _report(self._plan, summary, ledger.progress(), ledger.slowest)
        self._try(lambda: create_markdown_artifact(markdown=report, key=f"infer-report-{self._slug}"))

    def _try(self, write: Callable[[], Any]) -> Any:
        try:
            return write()
        except Exception as error:  # whatever the client or the server does, detections matter more
            get_run_logger().warning("An artifact could not be written: %s", error)
            return None


def artifact_key(name: str) -> str:
    """Return a name as Prefect wants keys of artifacts: lower-case letters, digits and single dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "run"


def _progress_text(progress: Progress) -> str:
    return (
        f"{progress.done} of {progress.total} chunks done, {progress.failed} failed, "
        f"{progress.times_real_time:.1f} × real time"
    )


def _report(plan: InferPlan, summary: RunSummary, progress: Progress, slowest: Sequence[tuple[float, str]]) -> str:
    retried = sorted(
        ((job.attempts, key) for key, job in summary.jobs.items() if job.attempts > 1), key=lambda row: -row[0]
    )
    failed = [(key, job.last_error or "") for key, job in summary.jobs.items() if job.status is JobStatus.FAILURE]
    parts = [
        f"# {_cell(plan.manifest.path.name)}",
        f"{_progress_text(progress)}; {progress.skipped} were done before.",
        "| what | where |\n|---|---|\n"
        f"| detections | {_cell(str(plan.order.output_dir))} |\n"
        f"| telemetry | {_cell(summary.telemetry_log)} |\n"
        f"| runner | {summary.runner} |",
    ]
    if failed:
        parts.append("## Failed\n" + _table(("chunk", "last error"), failed[:_LISTED], len(failed)))
    if retried:
        parts.append("## Retry hot spots\n" + _table(("attempts", "chunk"), retried[:_LISTED], len(retried)))
    if slowest:
        parts.append("## Slowest chunks\n" + _table(("seconds", "chunk"), slowest, len(slowest)))
    return "\n\n".join(parts)


def _table(header: Sequence[str], rows: Sequence[Sequence[object]], total: int) -> str:
    lines = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    lines += [f"| {' | '.join(_cell(str(value)) for value in row)} |" for row in rows]
    return "\n".join(lines) + (f"\n\n… and {total - len(rows)} more" if total > len(rows) else "")


def _cell(text: str) -> str:
    """Return text that stays one cell of a Markdown table, whatever is in it."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>#|$" else c for c in text.replace("\n", " "))
