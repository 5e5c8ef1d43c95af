"""What a run shows in the Prefect UI: its progress while it runs, its workers and a report at the end."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast
from uuid import UUID

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.orchestration import get_client
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from badc.inference.ledger import RunLedger
from badc.inference.plan import InferPlan
from badc.inference.progress import Progress
from badc.system.paths import absolute, find_dataset_root
from tasks.show.run_report import label_rows, link, plain, progress_text, run_report, table_of, worker_rows

_UPDATE_INTERVAL_S = 1.0
_END_TIMEOUT_S = 60.0
_SHOWN = attrgetter("done", "failed", "troubles")  # what of the progress the page has


class RunArtifacts:
    """The artifacts of one inference run, written by their own thread.

    A server that is slow or gone must not hold up the run: only one write is under way at a time, and none follows one
    that failed for good. With `of_dataset`, they have no keys: Prefect's page of artifacts leaves them out, where those
    of many recordings would bury those of their dataset, and the page of the flow run has them.
    """

    def __init__(self, plan: InferPlan, of_dataset: bool) -> None:
        self._plan = plan
        self._of_dataset = of_dataset
        self._slug = artifact_key(run_title(plan.settings.manifest, plan.manifest.dataset_root))
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="artifacts")
        self._writing: Future[None] | None = None
        self._lost = False
        self._progress_id: UUID | None = None
        self._next_update = 0.0
        self._shown: Progress | None = None

    def show_begin(self) -> None:
        """Tag the flow run, so that it can be found by its runner, recording and dataset."""
        tags = [f"{key}:{value}" for key, value in _tags(self._plan).items()]
        run_id = str(flow_run.id)
        self._write(lambda: tag_flow_run(run_id, tags))

    def show_progress(self, progress: Progress, gpus: Mapping[str, float | None]) -> None:
        """Update the progress artifact, at most once a second."""
        now = time.monotonic()
        busy = self._writing is not None and not self._writing.done()
        if busy or now < self._next_update or not _differ(progress, self._shown):
            return
        self._next_update = now + _UPDATE_INTERVAL_S
        self._shown = progress
        self._write(lambda: self._write_progress(progress, progress_text(progress, gpus)))

    def show_end(self, ledger: RunLedger) -> None:
        """Write the final progress, the tables and the report; wait for them, up to a minute."""
        progress, findings = ledger.progress(), ledger.findings()
        workers, report = worker_rows(ledger.summary.workers), run_report(self._plan, ledger)

        def write() -> None:
            self._write_progress(progress, progress_text(progress, {}, ended=True))
            key = self._key("workers")
            create_table_artifact(table=workers, key=key, description="What each worker did")
            if findings.labels:
                key, text = self._key("species"), "What this run detected most"
                create_table_artifact(table=label_rows(findings), key=key, description=text)
            create_markdown_artifact(markdown=report, key=self._key("report"))

        wait([self._write(write)], timeout=_END_TIMEOUT_S)
        self._writer.shutdown(wait=False, cancel_futures=True)

    def _key(self, kind: str) -> str | None:
        return None if self._of_dataset else f"infer-{kind}-{self._slug}"

    def _write(self, write: Callable[[], None]) -> Future[None]:
        # The context tells the client which flow run an artifact belongs to.
        self._writing = self._writer.submit(copy_context().run, self._try, write)
        return self._writing

    def _try(self, write: Callable[[], None]) -> None:
        self._lost = self._lost or not shown(write)

    def _write_progress(self, progress: Progress, text: str) -> None:
        percent = 100.0 * (progress.done + progress.failed) / progress.total if progress.total else 100.0
        if self._progress_id is None:
            key = self._key("progress")
            # Typed as either, but a coroutine only where an event loop runs, and this thread has none.
            self._progress_id = cast(UUID, create_progress_artifact(progress=percent, key=key, description=text))
        else:
            update_progress_artifact(artifact_id=self._progress_id, progress=percent, description=text)


def tag_flow_run(run_id: str, tags: Sequence[str]) -> None:
    """Add tags to those of a flow run."""
    with get_client(sync_client=True) as client:
        old = client.read_flow_run(UUID(run_id)).tags
        client.update_flow_run(UUID(run_id), tags=[*old, *(tag for tag in tags if tag not in old)])


def shown(write: Callable[[], object]) -> bool:
    """Write an artifact by calling `write`; if that fails, log a warning in the run, and return False."""
    try:
        write()
    except Exception as error:  # the run matters more than what Prefect shows of it
        get_run_logger().warning("What Prefect shows of the run could not be written: %s", error)
        return False
    return True


def show_recordings(outcomes: Sequence[Any]) -> None:
    """Write the table of the recordings that one flow run analysed, from their outcomes (`RecordingOutcome`).

    It has no key, so that it does not bury the dataset's (see `RunArtifacts`).
    """
    rows = [
        {
            "recording": outcome.recording_id,
            "state": outcome.state.value,
            "done": outcome.done,
            "failed": outcome.failed,
            "left": outcome.left,
            "note": outcome.error or "",
        }
        for outcome in outcomes
    ]
    shown(lambda: create_table_artifact(table=rows, description="The recordings that were analysed together"))


def show_files(
    key: str,
    title: str,
    lines: Sequence[str],
    written: Sequence[Path],
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = MappingProxyType({}),
) -> None:
    """Write the artifact of a run that makes files: what is in them, and links to them.

    `key` comes from `artifact_key`. Each of `lines` becomes a paragraph; `tables` are rows by heading.
    """
    parts = [f"## {plain(heading)}\n\n{table_of(rows)}" for heading, rows in tables.items()]
    files = "\n".join(f"- {link(path)}" for path in written) or "None."
    text = "\n\n".join([f"# {plain(title)}", *map(plain, lines), *parts, "## Files", files])
    shown(lambda: create_markdown_artifact(markdown=text, key=key))


def _differ(progress: Progress, shown: Progress | None) -> bool:
    return shown is None or _SHOWN(progress) != _SHOWN(shown)


def _tags(plan: InferPlan) -> dict[str, str]:
    root, recordings = plan.manifest.dataset_root, {chunk.recording_id for chunk in plan.manifest.chunks}
    tags = {"runner": plan.order.runner.name}
    if len(recordings) == 1:
        tags["recording"] = next(iter(recordings))
    return tags if root is None else tags | {"dataset": root.name}


def run_title(manifest: Path, dataset_root: Path | None) -> str:
    """Return a run's title: the dataset, if there is one, and the manifest, named after its recording."""
    return manifest.stem if dataset_root is None else f"{dataset_root.name}/{manifest.stem}"


def folder_title(folder: Path) -> str:
    """Return the title of a folder of results: with the dataset, if it is in one."""
    name, root = absolute(folder).name, find_dataset_root(folder)
    return name if root is None else f"{root.name}/{name}"


def artifact_key(name: str) -> str:
    """Return a name as a key for Prefect's artifacts: lower-case letters, digits and single dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "run"
