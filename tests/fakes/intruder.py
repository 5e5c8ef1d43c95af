"""Another user of the machine: tries to run code through every Dask port, and to read and cancel runs at every API.

Prints a JSON object: what it could do.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import sys
import urllib.error
import urllib.request

from distributed.comm import connect
from distributed.security import Security


async def dask_answers(address: str, security: Security | None) -> bool:
    """Whether a Dask process takes an order from here."""
    arguments = {} if security is None else security.get_connection_args("client")

    async def ask() -> bool:
        comm = await connect(address, timeout=6, **arguments)
        await comm.write({"op": "identity", "reply": True})
        return "type" in await comm.read()

    try:
        return await asyncio.wait_for(ask(), 8)
    except Exception:
        return False


async def who_answers(ports: list[int], stranger: Security) -> dict[int, bool]:
    """Ask all ports at the same time, each without credentials and with those of a stranger."""
    asked = [(port, f"tcp://127.0.0.1:{port}", None) for port in ports]
    asked += [(port, f"tls://127.0.0.1:{port}", stranger) for port in ports]
    answers = await asyncio.gather(*(dask_answers(address, security) for _, address, security in asked))
    found = dict.fromkeys(ports, False)
    for (port, _, _), answer in zip(asked, answers, strict=True):
        found[port] |= answer
    return found


def http_status(url: str, body: dict[str, object] | None) -> int:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, ValueError, http.client.HTTPException):
        return 0


def become(uid: int) -> None:
    """Become another user for good; what has been imported before need not be readable to that one."""
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)


def main(uid: int, ports: list[int]) -> None:
    stranger = Security.temporary()
    asyncio.run(dask_answers("tls://127.0.0.1:9", stranger))  # imports what it needs
    become(uid)
    found: dict[str, list[int]] = {"dask": [], "pages": [], "api": [], "refused": []}
    answered = asyncio.run(who_answers(ports, stranger))
    for port in ports:
        if answered[port]:
            found["dask"].append(port)
        for path in ("/", "/status", "/info/main/workers.html", "/json/counts.json", "/metrics"):
            if http_status(f"http://127.0.0.1:{port}{path}", None) == 200:
                found["pages"].append(port)
        answers = {
            http_status(f"http://127.0.0.1:{port}/api/flow_runs/filter", {}),
            http_status(f"http://127.0.0.1:{port}/api/flow_runs/count", {}),
            http_status(f"http://127.0.0.1:{port}/api/admin/settings", None),
        }
        if answers & {200, 201}:
            found["api"].append(port)
        if answers == {401}:
            found["refused"].append(port)
    print(json.dumps({"uid": os.getuid(), **found}))


if __name__ == "__main__":
    main(int(sys.argv[1]), [int(word) for word in sys.argv[2:]])
