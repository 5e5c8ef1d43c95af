"""How full a Prefect server's database is, and whether the server keeps up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from prefect.client.schemas.objects import TERMINAL_STATES

from flows.server.database import ServerDatabase

# Heartbeats come every 30 s, if switched on.
_SILENT_S = 180
_RECENT_S = 600
_NEWEST = 100
FINISHED = sorted(state.value for state in TERMINAL_STATES)


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """What is in a Prefect server's database; `database` is its kind and place.

    `rows` is of the tables that grow with runs, `flow_runs` by state. `unrecorded` task runs have no end although their
    flow run has: not recorded yet, or lost. `behind_s` is how late the last minutes' states were recorded, or None.
    `silent` has the runs that say Running but whose last heartbeat is more than three minutes old, with its age in
    seconds; runs without heartbeats are left out.
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
        """Return the status as plain values."""
        return asdict(self)


async def server_status(database: ServerDatabase) -> ServerStatus:
    """Return the status of a Prefect server's database."""
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
    """Return how far the recording of task runs, which comes from events, lags behind; None if nothing is recent."""
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
