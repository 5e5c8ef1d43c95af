"""How a Prefect server's database is filled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from prefect.client.schemas.objects import TERMINAL_STATES

from flows.server.database import ServerDatabase

# Heartbeats come every 30 s where they are switched on.
_SILENT_S = 180
_RECENT_S = 600
_NEWEST = 100
FINISHED = sorted(state.value for state in TERMINAL_STATES)


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """What is in a Prefect server's database.

    Parameters
    ----------
    database
        Its kind and place.
    size_bytes
        The space that it takes.
    rows
        Rows of the tables that grow with runs.
    flow_runs
        Flow runs by their state.
    oldest_finished
        When the first of the finished runs ended, or None.
    unrecorded
        Task runs that have no end in the database although their flow run has ended: not recorded yet, or lost.
    behind_s
        How long after it happened what was recorded last (in the last minutes) was recorded, in seconds, or None.
    silent
        Runs that say Running, but whose last heartbeat is more than three minutes old: name and age in seconds. Runs
        without heartbeats are not told.
    """

    database: str
    size_bytes: int
    rows: Mapping[str, int]
    flow_runs: Mapping[str, int]
    oldest_finished: datetime | None
    unrecorded: int
    behind_s: float | None
    silent: list[tuple[str, float]]

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


async def server_status(database: ServerDatabase) -> ServerStatus:
    """Look at the database of a Prefect server."""
    tables = database.tables
    counted = {
        "task runs": tables.TaskRun,
        "task run states": tables.TaskRunState,
        "logs": tables.Log,
        "events": tables.Event,
        "event resources": tables.EventResource,
        "artifacts": tables.Artifact,
    }
    engine = await tables.engine()
    async with engine.connect() as connection:
        rows = {
            name: int(await connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0)
            for name, table in counted.items()
        }
        run = tables.FlowRun
        states = await connection.execute(
            sa.select(run.state_type, sa.func.count()).group_by(run.state_type).order_by(sa.func.count().desc())
        )
        oldest = await connection.scalar(sa.select(sa.func.min(run.end_time)).where(run.state_type.in_(FINISHED)))
        return ServerStatus(
            database=f"{database.kind}: {database.where}",
            size_bytes=await database.size_bytes(connection),
            rows=rows,
            flow_runs={str(getattr(state, "value", state) or "NONE"): count for state, count in states},
            oldest_finished=oldest,
            unrecorded=await _unrecorded(database, connection),
            behind_s=await _behind_s(database, connection),
            silent=await _silent(database, connection),
        )


async def _unrecorded(database: ServerDatabase, connection: Any) -> int:
    task, flow = database.tables.TaskRun, database.tables.FlowRun
    query = (
        sa.select(sa.func.count())
        .select_from(task)
        .join(flow, task.flow_run_id == flow.id)
        .where(flow.state_type.in_(FINISHED), task.state_type.not_in(FINISHED))
    )
    return int(await connection.scalar(query) or 0)


async def _behind_s(database: ServerDatabase, connection: Any) -> float | None:
    """Task runs are recorded from events; the newest say how far the server has fallen behind."""
    state = database.tables.TaskRunState
    since = datetime.now(UTC) - timedelta(seconds=_RECENT_S)
    newest = await connection.execute(
        sa.select(state.created, state.timestamp)
        .where(state.created > since)
        .order_by(state.created.desc())
        .limit(_NEWEST)
    )
    delays = [(created - happened).total_seconds() for created, happened in newest.all()]
    return max(delays, default=None)


async def _silent(database: ServerDatabase, connection: Any) -> list[tuple[str, float]]:
    tables = database.tables
    running = await connection.execute(
        sa.select(tables.FlowRun.id, tables.FlowRun.name).where(tables.FlowRun.state_type == "RUNNING")
    )
    now = datetime.now(UTC)
    silent = []
    for run_id, name in running.all():
        last = await connection.scalar(
            sa.select(sa.func.max(tables.Event.occurred)).where(
                tables.Event.event == "prefect.flow-run.heartbeat",
                tables.Event.resource_id == f"prefect.flow-run.{run_id}",
            )
        )
        if last is not None and now - last > timedelta(seconds=_SILENT_S):
            silent.append((str(name), (now - last).total_seconds()))
    return silent
