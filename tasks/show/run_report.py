"""The text of a run for the Prefect UI: how far it is, and at the end what it did, found and left undone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from badc.errors import numbered
from badc.inference.findings import GpuUse, RunFindings
from badc.inference.ledger import RunLedger
from badc.inference.plan import InferPlan
from badc.inference.progress import Progress
from badc.telemetry.summary import JobStatus, RunState, WorkerCount, summary_path, workers_csv_path
from tasks.show.sparkline import as_data_uri, sparkline_png

_LISTED = 10
_MOST_LABELS = 30


def worker_rows(workers: Mapping[str, WorkerCount]) -> list[dict[str, Any]]:
    """Return the table of the workers, a row each: the same for the console and for an artifact."""
    return [
        {
            "worker": label,
            "jobs": count.jobs,
            "failures": count.failure,
            "retries": count.retries,
            "failed attempts": count.failed_retries,
            "host": count.host,
        }
        for label, count in sorted(workers.items())
    ]


def label_rows(findings: RunFindings) -> list[dict[str, Any]]:
    """Return the table of the labels detected most, for a table artifact."""
    return [
        {
            "label": label,
            "detections": count.detections,
            "mean confidence": None if count.confidence_mean is None else round(count.confidence_mean, 3),
            "highest": round(count.confidence_max, 3) if count.with_confidence else None,
        }
        for label, count in findings.top_labels(_MOST_LABELS)
    ]


def progress_text(progress: Progress, gpus: Mapping[str, float | None], ended: bool = False) -> str:
    """Return how far a run is, with the load of each worker's GPU over its last chunk."""
    loads = [f"{worker} {'?' if load is None else f'{load:.0f} %'}" for worker, load in gpus.items()]
    return progress.describe(ended) + (f"; GPU load: {', '.join(loads)}" if loads and not ended else "")


def run_report(plan: InferPlan, ledger: RunLedger) -> str:
    """Return the report of an ended run, as Markdown."""
    progress, summary, findings = ledger.progress(), ledger.summary, ledger.findings()
    retried = sorted(
        ((job.attempts, key) for key, job in summary.jobs.items() if job.attempts > 1), key=lambda row: -row[0]
    )
    failed = [(key, job.last_error or "") for key, job in summary.jobs.items() if job.status is JobStatus.FAILURE]
    parts = [
        f"# {plain(plan.manifest.path.name)}: {summary.state.value}",
        f"{progress.describe(ended=True)}; {numbered(progress.skipped, 'chunk was', 'chunks were')} done before.",
    ]
    if summary.state is not RunState.COMPLETED:
        parts.append(f"## Resume with\nIn the folder {plain(str(Path.cwd()))}:\n\n```\n{plan.resume_command}\n```")
    parts.append(_places(plan))
    if findings.labels:
        rows = [list(row.values()) for row in label_rows(findings)]
        header = ("label", "detections", "mean confidence", "highest")
        parts.append("## Species\n" + _table(header, rows, len(findings.labels)))
    retired = [
        f"\n\n{plain(ledger.named(worker))} got no more chunks: {plain(why)}" for worker, why in ledger.retired.items()
    ]
    parts.append("## Workers\n" + table_of(worker_rows(summary.workers)) + "".join(retired))
    if findings.gpus:
        parts.append("## GPUs\n" + _gpu_table(findings.gpus))
    if failed:
        parts.append("## Failed\n" + _table(("chunk", "last error"), failed[:_LISTED], len(failed)))
    if retried:
        parts.append("## Retry hot spots\n" + _table(("attempts", "chunk"), retried[:_LISTED], len(retried)))
    if ledger.slowest:
        slowest = [(f"{seconds:.1f}", key) for seconds, key in ledger.slowest]
        parts.append("## Slowest chunks\n" + _table(("seconds", "chunk"), slowest, len(slowest)))
    return "\n\n".join(parts)


def _places(plan: InferPlan) -> str:
    places = {
        "detections": plan.order.output_dir,
        "telemetry": plan.telemetry_log,
        "summary": summary_path(plan.telemetry_log),
        "workers": workers_csv_path(plan.telemetry_log),
    }
    rows = [(what, link(path)) for what, path in places.items()]
    rows.append(("runner", plain(plan.order.runner.description)))
    return "## Outputs\n" + _raw_table(("what", "where"), rows)


def link(path: Path) -> str:
    """Return a path as a link, which browsers follow if the page is opened on the same machine."""
    # Only these are Markdown in a link's text; the page would show other backslashes.
    text = "".join(f"\\{c}" if c in "\\[]|" else c for c in str(path))
    return f"[{text}]({path.as_uri()})"


def _gpu_table(gpus: Mapping[str, GpuUse]) -> str:
    header = ("worker", "GPU", "mean load", "memory, most used", "load, chunk by chunk")
    rows = []
    for worker, use in sorted(gpus.items()):
        mean = "not told" if use.utilization_mean is None else f"{use.utilization_mean:.0f} %"
        memory = "" if use.memory_used_mb is None else f"{use.memory_used_mb} of {use.memory_total_mb} MiB"
        picture = f"![load of {worker}]({as_data_uri(sparkline_png(use.history, 100.0))})" if use.history else ""
        rows.append((plain(worker), plain(use.name), mean, memory, picture))
    return _raw_table(header, rows)


def table_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as a Markdown table, headed by their keys."""
    return _table(tuple(rows[0]), [list(row.values()) for row in rows], len(rows)) if rows else "None."


def _table(header: Sequence[str], rows: Sequence[Sequence[object]], total: int) -> str:
    cells = [[plain("" if value is None else str(value)) for value in row] for row in rows]
    return _raw_table(header, cells) + (f"\n\n… and {total - len(rows)} more" if total > len(rows) else "")


def _raw_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def plain(text: str) -> str:
    """Return text escaped for Markdown, in one line, which also fits a table's cell."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>#|$" else c for c in text.replace("\n", " "))
