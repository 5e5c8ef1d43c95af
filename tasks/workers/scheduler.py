"""Dask schedulers that others started: what answers at an address, and credentials that keep strangers out."""

from __future__ import annotations

import asyncio
import importlib.util
import ipaddress
import json
import os
import re
import shlex
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from badc.errors import RequestError
from badc.system import atomic

_CONNECT_TIMEOUT_S = 10
_HTTP_TIMEOUT_S = 3


def address_of(given: str) -> str:
    """Return the address that `--scheduler` gives: itself, or the one in a scheduler's file."""
    if "://" in given or not os.path.isfile(given):  # noqa: PTH113 - Path.is_file raises for a name that is too long
        return given
    try:
        return str(json.loads(Path(given).read_bytes())["address"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise RequestError(
            f"--scheduler {given}: not the file of a scheduler, as `dask scheduler --scheduler-file FILE` writes it"
        ) from None


def require_scheduler(address: str) -> None:
    """Raise RequestError, which says what answers at an address, unless it is a Dask scheduler.

    Dask's client would wait forever for anything else.
    """
    try:
        parts = urlsplit(address)
    except ValueError as error:  # such as of half a bracket
        raise RequestError(f"--scheduler {address}: not an address ({error}); it is written tcp://host:port") from None
    if parts.scheme == "ucx" and importlib.util.find_spec("distributed_ucxx") is None:
        raise RequestError(
            f"--scheduler {address}: ucx:// needs the package distributed-ucxx, which is not installed here; have the "
            "scheduler and its workers speak tls:// or tcp://, which is no slower for what BADC sends"
        )
    try:
        if parts.scheme not in ("tcp", "tls", "ucx") or parts.hostname is None or parts.port is None:
            raise RequestError(
                f"--scheduler {address}: neither an address, which is written tcp://host:port, nor a scheduler's file"
            )
        socket.create_connection((parts.hostname, parts.port), timeout=_CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        raise RequestError(
            f"--scheduler {address}: no Dask scheduler answers there ({error}); "
            "start one with `dask scheduler`, workers with `dask worker ADDRESS`"
        ) from None
    # In a thread of its own: this one may have a running event loop.
    with ThreadPoolExecutor(1) as pool:
        problem = pool.submit(asyncio.run, _problem_at(address)).result()
    if problem is not None:
        raise RequestError(f"--scheduler {address}: {problem}")


async def _problem_at(address: str) -> str | None:
    """Ask what is at an address for its identity; return why it is no scheduler for this run, or None."""
    from distributed.comm.core import connect
    from distributed.security import Security

    async def ask() -> Any:
        arguments = Security().get_connection_args("client")
        comm = await connect(address, timeout=_CONNECT_TIMEOUT_S, **arguments)
        try:
            await comm.write({"op": "identity", "reply": True})
            return await comm.read()
        finally:
            comm.abort()

    parts = urlsplit(address)
    try:
        answer = await asyncio.wait_for(ask(), _CONNECT_TIMEOUT_S)
    except TypeError:  # Dask's way to say that it has no certificates
        return (
            "Dask's configuration here has no certificates for tls:// (distributed.comm.tls); docs/scaling.md says how "
            "to give them"
        )
    except TimeoutError:
        if server := await _http_server_at(str(parts.hostname), parts.port):
            return (
                f"an HTTP server answers there ({server}), perhaps Dask's dashboard; give the scheduler's own address"
            )
        return f"something accepts connections there, but did not answer as a Dask scheduler in {_CONNECT_TIMEOUT_S} s"
    except Exception as error:  # what Dask raises depends on what answers
        other = "tls" if parts.scheme == "tcp" else "tcp"
        return f"no Dask scheduler answers there ({error}); is it one of {other}://?"
    kind = answer.get("type") if isinstance(answer, dict) else None
    return None if kind == "Scheduler" else f"a Dask {kind} answers there, not a scheduler"


async def _http_server_at(host: str, port: int | None) -> str | None:
    """Return what an HTTP server calls itself, or None if none answers in time."""

    async def ask() -> bytes:
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(f"GET / HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
            return await reader.readuntil(b"\r\n\r\n")
        finally:
            writer.transport.abort()

    try:
        answer = await asyncio.wait_for(ask(), _HTTP_TIMEOUT_S)
    except (OSError, EOFError, asyncio.LimitOverrunError):  # TimeoutError is an OSError
        return None
    if not answer.startswith(b"HTTP/"):
        return None
    names = re.findall(rb"\r\nserver:[ \t]*([^\r\n]+)", answer, re.IGNORECASE)
    return names[0].decode("latin-1") if names else "it says no name"


def note_on(address: str) -> str:
    """Return what a user should know about the scheduler that the run has joined."""
    note = f"joined the Dask scheduler at {address}"
    parts = urlsplit(address)
    if parts.scheme == "tcp" and not _is_this_machine(str(parts.hostname)):
        note += (
            ". WARNING: whoever reaches its port can run code as the owner of the workers; docs/scaling.md says how to "
            "have it speak TLS"
        )
    return note


def _is_this_machine(host: str) -> bool:
    try:
        return all(ipaddress.ip_address(found[4][0]).is_loopback for found in socket.getaddrinfo(host, None))
    except (OSError, ValueError):
        return False


def write_credentials(folder: Path) -> Path:
    """Write credentials by which a scheduler, its workers and runs know each other, on any machine.

    They go to `folder`, a new one that only its owner can open; if it exists, RequestError is raised. The returned file
    has the variables that point Dask to them, for a shell to source.
    """
    from distributed.security import Security

    security = Security.temporary()
    try:
        folder.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        raise RequestError(f"{folder}: already exists; name a new folder") from None
    certificate, key, variables = (folder.absolute() / name for name in ("dask.pem", "dask-key.pem", "dask.env"))
    atomic.write_text(certificate, str(security.tls_ca_file))
    atomic.write_text(key, str(security.tls_client_key))
    key.chmod(0o600)
    settings = {"REQUIRE_ENCRYPTION": "True", "TLS__CA_FILE": str(certificate)}
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        settings |= {f"TLS__{role}__CERT": str(certificate), f"TLS__{role}__KEY": str(key)}
    lines = [f"export DASK_DISTRIBUTED__COMM__{name}={shlex.quote(value)}" for name, value in settings.items()]
    # Dask imports from its temporary folder; in the usual place, another user may own it.
    lines += [
        'export DASK_TEMPORARY_DIRECTORY="${DASK_TEMPORARY_DIRECTORY:-$(mktemp -d "${TMPDIR:-/tmp}/dask-XXXXXXXX")}"'
    ]
    # The pages of their web servers would be open to everybody.
    lines += [f"export DASK_DISTRIBUTED__{role}__HTTP__ROUTES='[]'" for role in ("SCHEDULER", "WORKER")]
    atomic.write_text(variables, "".join(f"{line}\n" for line in lines))
    return variables
