"""A real PostgreSQL of one's own, for tests and benchmarks."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, or None where it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    folder = found[-1].parent if found else Path(shutil.which("postgres") or "/nowhere/postgres").parent
    return folder if (folder / "initdb").exists() else None


@contextmanager
def postgresql(folder: Path, port: int) -> Iterator[str]:
    """Run a PostgreSQL with its data in a folder during the block; yield its URL for Prefect."""
    binaries = programs()
    assert binaries is not None
    data = folder / "pg"
    user: str | None = None
    if os.geteuid() == 0:  # PostgreSQL refuses root
        user = "postgres"
        for above in (folder, *folder.parents):
            if above.stat().st_mode & 0o777 == 0o700:  # those of pytest and tempfile
                above.chmod(0o755)
        data.mkdir()
        os.chown(data, pwd.getpwnam(user).pw_uid, -1)
    options: dict[str, Any] = {"user": user, "check": True, "capture_output": True, "cwd": "/"}
    subprocess.run([binaries / "initdb", "-D", data, "-U", "badc", "--auth=trust"], **options)
    start = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={data}"
    control = [binaries / "pg_ctl", "-D", data, "-w"]
    subprocess.run([*control, "-o", start, "-l", data / "log", "start"], **options)
    try:
        yield f"postgresql+asyncpg://badc:secret@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], **options | {"check": False})  # it may be gone already
