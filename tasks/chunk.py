"""The Prefect task that chunks a batch of a dataset's recordings, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from prefect import State, Task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.states import Cancelled, Completed, Failed
from prefect.utilities.annotations import quote

from badc.datasets.chunking.decision import RecordingToChunk
from badc.datasets.chunking.existing import ChunkOrder
from badc.datasets.chunking.recording import ChunkingInterruptedError, ChunkOutcome, chunk_recording
from badc.errors import BadcError, listed, numbered
from tasks.show.artifacts import artifact_key, shown


class BatchChunker:
    """Runs batches of recordings as Prefect tasks, in the flow's process; several threads make its calls.

    `report` gets each recording's outcome. `record` gets the chunked recordings of a batch, to record them; if it
    raises BadcError, `not_recorded` gets them with the reason. `stopping` says to begin no further recording,
    `giving_up` to leave the present one unfinished.
    """

    def __init__(
        self,
        order: ChunkOrder,
        report: Callable[[ChunkOutcome], None],
        record: Callable[[Sequence[RecordingToChunk]], None],
        not_recorded: Callable[[Sequence[RecordingToChunk], str], None],
        stopping: Callable[[], bool],
        giving_up: Callable[[], bool],
    ) -> None:
        self._order = order
        self._report = report
        self._record = record
        self._not_recorded = not_recorded
        self._stopping = stopping
        self._giving_up = giving_up

    def task(self) -> Task[..., Any]:
        """Return the Prefect task that chunks a batch. It has no retries: an unreadable file stays unreadable."""
        return Task(
            fn=self._run,
            name="chunk-recordings",
            task_run_name=_name_of_batch,  # type: ignore[arg-type] # Prefect types its callback as a class
            cache_policy=NO_CACHE,
            persist_result=False,
        )

    def _run(self, batch: Sequence[RecordingToChunk]) -> State[Any]:
        done: list[RecordingToChunk] = []
        errors: list[str] = []
        for recording in batch:
            if self._stopping():
                break
            try:
                outcome = chunk_recording(recording, self._order, self._giving_up)
            except ChunkingInterruptedError:
                break
            self._report(outcome)
            if outcome.error is None:
                done.append(recording)
            else:
                errors.append(f"{recording.recording_id}: {outcome.error}")
        if done:
            try:
                self._record(done)
            except BadcError as error:
                self._not_recorded(done, str(error))
                errors.append(str(error))
        message = f"{len(done)} of {numbered(len(batch), 'recording')} chunked"
        if errors:
            return Failed(message=f"{message}\n{listed(errors)}")
        if len(done) < len(batch):
            return Cancelled(message=message)
        return Completed(message=message)


def batch_parameters(batch: Sequence[RecordingToChunk]) -> dict[str, Any]:
    """Return the parameters of a task run, quoted so that Prefect does not search them for futures."""
    return {"batch": quote(tuple(batch))}


def show_failures(dataset: str, message: str, failures: Sequence[tuple[str, str]]) -> None:
    """Write a run's table artifact: the failed recordings with their reasons, and the counts above them."""
    rows = [{"recording": name, "error": error} for name, error in failures]
    key = f"chunk-{artifact_key(dataset)}"
    shown(lambda: create_table_artifact(table=rows, key=key, description=message))


def _name_of_batch(parameters: dict[str, Any]) -> str:
    batch = parameters["batch"]
    recordings = batch.unquote() if isinstance(batch, quote) else batch
    first = recordings[0].recording_id
    return first if len(recordings) == 1 else f"{first} and {len(recordings) - 1} more"
