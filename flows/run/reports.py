"""The reports of a dataset: of each recording after its analysis, or later, and at the end the leaderboards."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from badc.datasets.inference.bundles import bundle_recording, has_tables, lacks_leaderboards, roll_up_bundles
from badc.datasets.inference.plan import OrchestrationPlan
from badc.datasets.inference.recording import RecordingToInfer
from badc.errors import BadcError, numbered
from badc.telemetry.summary import RunState
from flows.run.sessions import OrchestrateOutcome, RecordingOutcome, state_of

_TICK_S = 0.2


class DatasetReports:
    """Makes the reports of a dataset's recordings; `pages` are those made so far.

    They are made one at a time while workers are busy, which need the cores more. Once `workers_are_idle`, as many are
    as there are cores.
    """

    def __init__(
        self,
        plan: OrchestrationPlan,
        say: Callable[[str], None],
        workers_are_idle: Callable[[], bool] = lambda: True,
    ) -> None:
        self._plan = plan
        self._say = say
        self._workers_are_idle = workers_are_idle
        self._under_way = 0
        self._changed = threading.Condition()
        self.pages: list[Path] = []

    def make(self, recording: RecordingToInfer) -> None:
        """Make the tables and reports of a recording; raises as `bundle_recording`."""
        with self._turn():
            made = bundle_recording(self._plan, recording)
            self.pages += [path for path in made if path.suffix == ".html"]

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with self._changed:
            while self._under_way >= ((os.cpu_count() or 1) if self._workers_are_idle() else 1):
                self._changed.wait(_TICK_S)
            self._under_way += 1
        try:
            yield
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def make_missing(self, stopped: Callable[[], bool]) -> tuple[list[RecordingOutcome], list[str]]:
        """Make those of complete recordings that have none; return how that ended, and the ids of those left.

        `stopped` is asked before each.
        """
        missing = self._plan.to_report
        if missing and not stopped():
            self._say(f"Making the reports of {numbered(len(missing), 'recording')} analysed before")
        ended: list[RecordingOutcome] = []
        for number, recording in enumerate(missing):
            if stopped():
                return ended, [r.recording_id for r in missing[number:]]
            error = None
            try:
                self.make(recording)
            except (BadcError, OSError) as problem:
                error = str(problem)
            state = RunState.COMPLETED if error is None else RunState.FAILED
            ended.append(RecordingOutcome(recording.recording_id, state, recording.chunks, 0, 0, error))
        return ended, []

    def outcome(
        self, ended: Sequence[RecordingOutcome], not_begun: Sequence[str], interrupted: bool
    ) -> OrchestrateOutcome:
        """Make the leaderboards, if they are wanted, and return how the run ended."""
        state = state_of(ended, not_begun, interrupted)
        settings = self._plan.settings
        if not settings.bundle_rollup or state is RunState.INTERRUPTED:
            return OrchestrateOutcome(state, ended, not_begun)
        if not settings.bundle and not has_tables(settings):
            self._say("No leaderboards: no recording has a table (--bundle makes one for each)")
            return OrchestrateOutcome(state, ended, not_begun)
        try:
            return OrchestrateOutcome(state, ended, not_begun, roll_up_bundles(self._plan))
        except (BadcError, OSError) as error:
            return OrchestrateOutcome(RunState.FAILED, ended, not_begun, rollup_error=str(error))


def missing_reports(
    plan: OrchestrationPlan, say: Callable[[str], None], stopped: Callable[[], bool] = lambda: False
) -> OrchestrateOutcome | None:
    """Make what is missing of the reports of a dataset that has nothing to analyse; return None if nothing is."""
    if not plan.to_report and not lacks_leaderboards(plan.settings):
        return None
    reports = DatasetReports(plan, say)
    ended, left = reports.make_missing(stopped)
    return reports.outcome(ended, left, interrupted=bool(left))
