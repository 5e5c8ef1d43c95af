"""The table of a dataset's recordings in Prefect: one artifact for all of them, kept up to date."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from pathlib import Path
from typing import Any

from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate

from badc.datasets.inference.plan import OrchestrationPlan
from badc.inference.progress import Progress
from badc.reports.rankings.rollup import Rollup
from badc.telemetry.summary import RunState
from tasks.show.artifacts import artifact_key, show_files, shown

_INTERVAL_S = 2.0
_MOST_OF_THE_TIME = 0.02  # of the run's, which writing may take: a large table costs this process and the server more
_END_TIMEOUT_S = 10.0
# A table of a hundred thousand rows would be too much for the page that shows it.
_MOST_ROWS = 1000
_MOST_PAGES = 100


class RecordingsTable:
    """How far each recording is, as one table artifact, written at most every few seconds by its own thread."""

    def __init__(self, plan: OrchestrationPlan) -> None:
        self._key = f"orchestrate-{artifact_key(plan.settings.title)}"
        waiting = {r.recording_id for r in plan.todo}
        self._rows: dict[str, dict[str, Any]] = {
            r.recording_id: {
                "recording": r.recording_id,
                "state": "waiting" if r.recording_id in waiting else r.decision.value,
                "chunks": r.chunks,
                "done": r.done,
                "failed": r.failed,
                "note": r.reason,
            }
            for r in plan.recordings
        }
        self._lock = threading.Lock()
        self._writer = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None
        self._artifact_id: Any = None
        self._next_s = self._took_s = 0.0
        self._lost = False

    def begun(self, recording_id: str) -> None:
        """Note that a recording's run has begun."""
        with self._lock:
            self._rows[recording_id] |= {"state": "running", "done": 0, "failed": 0, "note": ""}

    def ended(self, recording_id: str, state: RunState, error: str | None) -> None:
        """Note how a recording's run ended."""
        with self._lock:
            self._rows[recording_id] |= {"state": state.value, "note": error or ""}

    def note(self, progress: Mapping[str, Progress]) -> None:
        """Note how far recordings are."""
        with self._lock:
            for recording_id, part in progress.items():
                self._rows[recording_id] |= {"done": part.done + part.skipped, "failed": part.failed}

    def show(self, progress: Mapping[str, Progress]) -> None:
        """Note how far the running recordings are, and write the table if it is time."""
        self.note(progress)
        if time.monotonic() >= self._next_s and (self._writing is None or self._writing.done()):
            self._next_s = time.monotonic() + max(_INTERVAL_S, self._took_s / _MOST_OF_THE_TIME)
            self._write()

    def close(self) -> None:
        """Write the table one last time; wait for it, up to ten seconds."""
        wait([self._write()], timeout=_END_TIMEOUT_S)
        self._writer.shutdown(wait=False, cancel_futures=True)

    def _write(self) -> Future[None]:
        with self._lock:
            rows = [dict(row) for row in self._rows.values()]
        self._writing = self._writer.submit(copy_context().run, self._try, rows)
        return self._writing

    def _try(self, rows: list[dict[str, Any]]) -> None:
        begin_s = time.monotonic()
        self._lost = self._lost or not shown(lambda: self._publish(rows))
        self._took_s = time.monotonic() - begin_s

    def _publish(self, rows: list[dict[str, Any]]) -> None:
        states = [row["state"] for row in rows]
        text = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        if len(rows) > _MOST_ROWS:
            # The interesting ones first: what runs, what failed, what waits.
            order = {"running": 0, "failed": 1, "interrupted": 2, "waiting": 3}
            rows = sorted(rows, key=lambda row: order.get(row["state"], 4))[:_MOST_ROWS]
            text += f"; the table has {_MOST_ROWS} of {len(states)}"
        if self._artifact_id is None:
            self._artifact_id = create_table_artifact(table=rows, key=self._key, description=text)
            return
        import orjson

        update = ArtifactUpdate(data=orjson.dumps(rows).decode(), description=text)
        with get_client(sync_client=True) as client:
            client.update_artifact(self._artifact_id, update)


def show_reports(plan: OrchestrationPlan, pages: Sequence[Path], rollup: Rollup | None) -> None:
    """Write the artifact that links to the report `pages` of a dataset's recordings, and to its leaderboards."""
    settings = plan.settings
    notes = () if rollup is None else rollup.notes
    lines = [*notes, f"Everything is in {settings.below(settings.bundle_aggregate_dir)}."]
    if len(pages) > _MOST_PAGES:
        lines.append(f"The pages of {_MOST_PAGES} of {len(pages)} recordings are listed.")
    leaderboards = () if rollup is None else rollup.written
    name = settings.title
    files = [*leaderboards, *sorted(pages)[:_MOST_PAGES]]
    tables = {} if rollup is None else {title: ranking.as_dicts() for title, ranking in rollup.rankings.items()}
    show_files(f"orchestrate-reports-{artifact_key(name)}", f"Reports of {name}", lines, files, tables)
