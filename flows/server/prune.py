"""Remove what old runs left in a Prefect server's database: every chunk leaves some 20 kB there."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from badc.errors import RequestError
from flows.server.database import ServerDatabase
from flows.server.status import FINISHED

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
# Rows per transaction: a live server writes between two of them.
_BATCH = 2000


@dataclass(slots=True)
class Pruned:
    """Rows `deleted` by table, of `flow_runs` finished runs; `note` may say why the database's file did not shrink."""

    flow_runs: int = 0
    deleted: dict[str, int] = field(default_factory=dict)
    before_bytes: int = 0
    after_bytes: int = 0
    note: str = ""


def age(text: str) -> timedelta:
    """Return the time span of a text such as 30d, 12h or 4w; raise RequestError for another text or too long a span."""
    found = re.fullmatch(r"(\d+)([mhdw])", text.strip())
    if found is None:
        raise RequestError(f"--older-than {text}: write a number and m, h, d or w: 30d is thirty days")
    try:
        length = timedelta(**{_UNITS[found[2]]: int(found[1])})
        datetime.now(UTC) - length
    except OverflowError:
        raise RequestError(f"--older-than {text}: that is further back than dates go") from None
    return length


async def prune(
    database: ServerDatabase,
    older_than: timedelta,
    *,
    dry_run: bool = False,
    flow_runs: bool = False,
    vacuum: bool = True,
    on_progress: Callable[[int], None] = lambda deleted: None,
) -> Pruned:
    """Delete task runs, logs and events of the runs that ended longer ago than `older_than`; unfinished runs stay.

    `dry_run` only counts. `flow_runs` also deletes the flow runs themselves and their artifacts; `vacuum` gives the
    space back afterwards. `on_progress` gets the number of rows deleted so far.
    """
    engine = await database.tables.engine()
    before = datetime.now(UTC) - older_than
    made = Pruned()
    async with engine.connect() as connection:
        made.before_bytes = await database.size_bytes(connection)
        if vacuum and not dry_run:
            _require_space_to_vacuum(database, made.before_bytes)
        runs = await _finished(database, connection, before)
    made.flow_runs = len(runs)
    deleting = _Deleting(database, engine, dry_run, made.deleted, on_progress)
    await deleting.of_runs(runs, flow_runs)
    await deleting.events(before)
    if not dry_run:
        await _give_back(database, engine, vacuum, made)
    async with engine.connect() as connection:
        made.after_bytes = await database.size_bytes(connection)
    return made


class _Deleting:
    def __init__(
        self,
        database: ServerDatabase,
        engine: AsyncEngine,
        dry_run: bool,
        deleted: dict[str, int],
        on_progress: Callable[[int], None],
    ) -> None:
        self._tables = database.tables
        self._engine = engine
        self._dry_run = dry_run
        self._deleted = deleted
        self._on_progress = on_progress

    async def of_runs(self, runs: list[UUID], flow_runs: bool) -> None:
        tables = self._tables
        belongings: dict[str, Any] = {"logs": tables.Log, "task runs": tables.TaskRun}
        if flow_runs:
            belongings |= {"artifacts": tables.Artifact}
        for first in range(0, len(runs), 100):
            some = runs[first : first + 100]
            for name, table in belongings.items():
                conditions = [table.flow_run_id.in_(some)]
                if table is tables.TaskRun and not flow_runs:
                    # A task run that stands for a subflow ties it to its parent; both stay.
                    conditions.append(~sa.exists().where(tables.FlowRun.parent_task_run_id == table.id))
                # The states go with their task run.
                await self._delete(name, table, *conditions)
            if flow_runs:
                await self._delete("flow runs", tables.FlowRun, tables.FlowRun.id.in_(some))

    async def events(self, before: datetime) -> None:
        """Delete events that are old enough, except those of unfinished runs."""
        tables = self._tables
        unfinished = sa.select(tables.FlowRun.id).where(tables.FlowRun.state_type.not_in(FINISHED))
        async with self._engine.connect() as connection:
            kept_ids = [f"prefect.flow-run.{run}" for run in (await connection.scalars(unfinished)).all()]
        resource = tables.EventResource
        kept = sa.select(resource.event_id).where(resource.resource_id.in_(kept_ids))
        event = tables.Event
        await self._delete("event resources", resource, resource.occurred < before, resource.event_id.not_in(kept))
        await self._delete("events", event, event.occurred < before, event.id.not_in(kept))

    async def _delete(self, name: str, table: Any, *conditions: Any) -> None:
        if self._dry_run:
            async with self._engine.connect() as connection:
                count = await connection.scalar(sa.select(sa.func.count()).select_from(table).where(*conditions))
            self._deleted[name] = self._deleted.get(name, 0) + int(count or 0)
            return
        while True:
            async with self._engine.begin() as connection:
                some = sa.select(table.id).where(*conditions).limit(_BATCH)
                done = await connection.execute(sa.delete(table).where(table.id.in_(some)))
            self._deleted[name] = self._deleted.get(name, 0) + done.rowcount
            self._on_progress(sum(self._deleted.values()))
            if done.rowcount < _BATCH:
                return


async def _finished(database: ServerDatabase, connection: AsyncConnection, before: datetime) -> list[UUID]:
    run = database.tables.FlowRun
    # A run that never began has no end; the time of its state counts instead.
    ended = sa.func.coalesce(run.end_time, run.state_timestamp)
    found = await connection.scalars(sa.select(run.id).where(run.state_type.in_(FINISHED), ended < before))
    return list(found.all())


def _require_space_to_vacuum(database: ServerDatabase, size_bytes: int) -> None:
    if database.file is None:
        return
    free = shutil.disk_usage(database.file.parent).free
    if free < size_bytes:
        raise RequestError(
            f"{database.file.parent}: to shrink the database takes as much free space as it has "
            f"({size_bytes >> 20} MiB; free: {free >> 20} MiB); make space, or give --no-vacuum to leave it inside the "
            "file for new runs"
        )


async def _give_back(database: ServerDatabase, engine: AsyncEngine, vacuum: bool, made: Pruned) -> None:
    if not vacuum:
        made.note = "the space stays with the database for new runs (--no-vacuum)"
        return
    async with engine.connect() as connection:
        alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
        if database.kind == "sqlite":
            await alone.execute(sa.text("VACUUM"))
            await alone.execute(sa.text("PRAGMA wal_checkpoint(TRUNCATE)"))
        else:
            for table in ("task_run", "task_run_state", "log", "events", "event_resources", "artifact", "flow_run"):
                await alone.execute(sa.text(f"VACUUM (ANALYZE) {table}"))
            made.note = "PostgreSQL keeps the space for new runs; VACUUM FULL gives it back, and locks the tables"
