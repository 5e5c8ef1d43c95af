"""What a run shows in the Prefect UI: its progress while it goes, its workers and a report at the end."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
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
_END_TIMEOUT_S = 60.0
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
    """The artifacts of one inference run, written by a thread of their own.

    A server that is slow, or gone, must not hold up the run: while one write is under way no other is begun, and after
    a write that failed for good there is no further one.

    Parameters
    ----------
    plan
        What the run will do.
    """

    def __init__(self, plan: InferPlan) -> None:
        self._plan = plan
        self._slug = artifact_key(plan.manifest.path.stem)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="artifacts")
        self._writing: Future[None] | None = None
        self._lost = False
        self._progress_id: UUID | None = None
        self._next_update = 0.0
        self._shown: Progress | None = None

    def show_progress(self, progress: Progress) -> None:
        """Bring the progress artifact up to date, at most every two seconds."""
        now = time.monotonic()
        busy = self._writing is not None and not self._writing.done()
        if busy or now < self._next_update or not _differ(progress, self._shown):
            return
        self._next_update = now + _UPDATE_INTERVAL_S
        self._shown = progress
        self._write(lambda: self._write_progress(progress))

    def show_end(self, ledger: RunLedger) -> None:
        """Write the last progress, the table of the workers and the report; wait for them, but not for ever."""
        progress, summary = ledger.progress(), ledger.summary
        rows = worker_rows(summary.workers)
        report = _report(self._plan, summary, progress, ledger.slowest)

        def write() -> None:
            self._write_progress(progress)
            key = f"infer-workers-{self._slug}"
            create_table_artifact(table=rows, key=key, description="What each worker did")
            create_markdown_artifact(markdown=report, key=f"infer-report-{self._slug}")

        wait([self._write(write)], timeout=_END_TIMEOUT_S)
        self._writer.shutdown(wait=False, cancel_futures=True)

    def _write(self, write: Callable[[], None]) -> Future[None]:
        # The context tells the client which flow run an artifact belongs to.
        self._writing = self._writer.submit(copy_context().run, self._try, write)
        return self._writing

    def _try(self, write: Callable[[], None]) -> None:
        if self._lost:
            return
        try:
            write()
        except Exception as error:  # whatever the client or the server does, detections matter more
            self._lost = True
            get_run_logger().warning("The run's artifacts could not be written: %s", error)

    def _write_progress(self, progress: Progress) -> None:
        percent = 100.0 * (progress.done + progress.failed) / progress.total if progress.total else 100.0
        text = _progress_text(progress)
        if self._progress_id is None:
            key = f"infer-progress-{self._slug}"
            self._progress_id = create_progress_artifact(progress=percent, key=key, description=text)
        else:
            update_progress_artifact(artifact_id=self._progress_id, progress=percent, description=text)


def _differ(progress: Progress, shown: Progress | None) -> bool:
    return shown is None or (progress.done, progress.failed) != (shown.done, shown.failed)


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
