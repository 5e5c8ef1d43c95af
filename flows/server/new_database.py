"""The first database of a run's own server, in a new `PREFECT_HOME`.

Prefect makes its tables by every change that they have ever had, which takes ten seconds of a core. Tasks of a Slurm
array have a home each. So an empty database is kept for each version of Prefect, and copied.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import prefect
from prefect.server.database import provide_database_interface
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL
from sqlalchemy.engine import make_url

from badc.system.atomic import replacing
from badc.system.file_lock import lock
from badc.system.paths import cache_dir


def make_database() -> None:
    """Make the database that Prefect's settings name, if that is a file of SQLite and is not there yet."""
    url = make_url(PREFECT_API_DATABASE_CONNECTION_URL.value())
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return
    file = Path(url.database)
    with _alone_in(file.parent):
        if not file.exists():
            _make(file)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Let one server at a time make its database in a folder: several would alter each other's tables, and end."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network disks have no locks
            lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _make(file: Path) -> None:
    kept = cache_dir() / f"prefect-{prefect.__version__}.db"
    if _is_sound(kept):
        _put(kept, file)
    else:
        asyncio.run(provide_database_interface().create_db())
        # If it cannot be kept, the next one is made anew, too.
        with suppress(OSError, sqlite3.Error), replacing(kept) as copy, closing(sqlite3.connect(file)) as database:
            database.execute("VACUUM INTO ?", (str(copy),))


def _is_sound(kept: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"{kept.as_uri()}?mode=ro", uri=True)) as database:
            is_whole: bool = database.execute("PRAGMA quick_check").fetchone() == ("ok",)
            has_tables: bool = database.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)
            return is_whole and has_tables
    except sqlite3.Error:  # it is not there, or damaged
        return False


def _put(kept: Path, file: Path) -> None:
    """Copy a database to a place that another server may be filling just now."""
    with tempfile.TemporaryDirectory(dir=file.parent) as folder, suppress(FileExistsError):
        os.link(shutil.copyfile(kept, Path(folder, file.name)), file)
