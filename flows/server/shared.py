"""A Prefect server that stays, for the runs of a lab: its settings, and its users' credentials."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from pathlib import Path
from typing import NoReturn

from badc.errors import RequestError
from badc.system import atomic
from flows.server.local import RECORDER_SETTINGS

_AUTH = "PREFECT_SERVER_API_AUTH_STRING"
_CLIENT_AUTH = "PREFECT_API_AUTH_STRING"
_URL = "PREFECT_API_URL"
# In the server's memory, held slots of the GPU pool would be lost at a restart, and the pool locked forever.
SETTINGS = RECORDER_SETTINGS | {
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}
_BACKLOG = 2048
_EVERYWHERE = ("0.0.0.0", "::")  # listen everywhere; a client must name one address


def settings_file() -> Path:
    """Return the file that says how this user reaches the server: lines `NAME=value`, for a shell and systemd."""
    return Path.home() / ".config" / "badc.env"


def start(host: str, port: int) -> NoReturn:
    """Become a Prefect server that listens at `host` and `port`; raise RequestError if it cannot listen there.

    If there is no authentication string yet, make one and write it to `settings_file`, or raise OSError.
    """
    try:
        listening = socket.create_server((host, port), backlog=_BACKLOG)
    except OSError as error:
        raise RequestError(
            f"--host {host} --port {port}: the server cannot listen there ({error.strerror}); another --port?"
        ) from None
    listening.set_inheritable(True)
    url = f"http://{'127.0.0.1' if host in _EVERYWHERE else host}:{port}"
    path = settings_file()
    known = _read(path)
    auth = os.environ.get(_AUTH) or known.get(_AUTH)
    if auth is None:
        auth = f"badc:{secrets.token_urlsafe(32)}"
        new = {_AUTH: auth, _CLIENT_AUTH: auth, _URL: f"{url}/api"}
        lines = [*_lines(path), *(f"{name}={value}" for name, value in new.items() if name not in known)]
        with atomic.replacing(path) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        print(f"An authentication string was made; {path} has it", file=sys.stderr)
    print(f"Prefect server and its UI\t{url}")
    print(f"In shells that use it\tset -a; . {path}; set +a")
    print("Ctrl-C stops it.", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    own = {_AUTH: auth, _CLIENT_AUTH: auth, _URL: f"{url}/api"}
    words = [sys.executable, "-m", "flows.server.app", str(listening.fileno())]
    os.execve(sys.executable, words, SETTINGS | {"PREFECT_UI_API_URL": f"{url}/api"} | os.environ | own)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []


def _read(path: Path) -> dict[str, str]:
    pairs = (line.partition("=") for line in _lines(path) if "=" in line and not line.lstrip().startswith("#"))
    return {name.strip(): value.strip().strip("'\"") for name, _, value in pairs}
