"""A Prefect server's database, opened directly: its API deletes one run at a time, and reports no sizes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from alembic.script import ScriptDirectory
from prefect.client.orchestration import get_client
from prefect.server.database import PrefectDBInterface, provide_database_interface
from prefect.server.database.alembic_commands import alembic_config
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from badc.errors import BadcError, RequestError

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ServerDatabase:
    """A database known to belong to the server in question, and to this version of Prefect.

    `tables` is Prefect's own description of it, `kind` is `sqlite` or `postgresql`, `where` its place without
    passwords, `file` the file of an SQLite database.
    """

    tables: PrefectDBInterface
    kind: str
    where: str
    file: Path | None

    async def size_bytes(self, connection: AsyncConnection) -> int:
        """Return the space that it takes: of SQLite the files, of PostgreSQL what the server reports."""
        if self.file is not None:
            beside = (self.file, self.file.with_name(self.file.name + "-wal"))
            return sum(path.stat().st_size for path in beside if path.exists())
        return int(await connection.scalar(sa.text("SELECT pg_database_size(current_database())")) or 0)


def with_database(api_url: str | None, work: Callable[[ServerDatabase], Coroutine[Any, Any, Result]]) -> Result:
    """Open the database that Prefect's settings name, and run `work` on it.

    If an API is configured (`api_url`), the database must be its own. Raises RequestError if there is none, or it
    belongs to another server or another version of Prefect, and BadcError if the database refuses.
    """

    async def checked() -> Result:
        database = _described()
        await _require_known_schema(database)
        if api_url is not None:
            await _require_same(database, api_url)
        return await work(database)

    try:
        return asyncio.run(checked())
    except (SQLAlchemyError, OSError) as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise BadcError(f"the database of the Prefect server cannot be used: {reason}") from None


def _described() -> ServerDatabase:
    url = make_url(PREFECT_API_DATABASE_CONNECTION_URL.value())
    kind = url.get_backend_name()
    where = url.render_as_string(hide_password=True)
    file = Path(url.database) if kind == "sqlite" and url.database else None
    if file is not None and not file.exists():
        raise RequestError(
            f"{file}: no such database; run this on the machine of the Prefect server, with its PREFECT_HOME or "
            "PREFECT_API_DATABASE_CONNECTION_URL"
        )
    return ServerDatabase(provide_database_interface(), kind, where if file is None else str(file), file)


async def _require_known_schema(database: ServerDatabase) -> None:
    config = alembic_config()
    location = Path(str(config.config_file_name)).parent / "_migrations"
    script = ScriptDirectory(str(location), version_locations=[str(location / "versions" / database.kind)])
    known = script.get_current_head()
    engine = await database.tables.engine()
    async with engine.connect() as connection:
        try:
            found = await connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
        except SQLAlchemyError:
            raise RequestError(f"{database.where}: not the database of a Prefect server") from None
    if found != known:
        raise RequestError(
            f"{database.where}: made by another version of Prefect ({found}, here {known}); use the environment of the "
            "server, or `prefect server database upgrade`"
        )


async def _require_same(database: ServerDatabase, api_url: str) -> None:
    """Refuse another server's database: the newest runs that the API knows must be in it."""
    async with get_client() as client:
        newest = [run.id for run in await client.read_flow_runs(limit=5)]
    engine = await database.tables.engine()
    async with engine.connect() as connection:
        table = database.tables.FlowRun
        count = await connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0
        there = await connection.scalar(sa.select(sa.func.count()).select_from(table).where(table.id.in_(newest))) or 0
    if there != len(newest) or (not newest and count):
        raise RequestError(
            f"{database.where}: not the database of the server at {api_url}; run this on the server's machine, with "
            "its PREFECT_HOME or PREFECT_API_DATABASE_CONNECTION_URL"
        )
