"""The program of a Prefect server: `python -m flows.server.app DESCRIPTOR [of-a-run]`, an inherited socket.

The parent keeps the socket open, so a server that replaces one that died finds the requests that came meanwhile, and
nobody else can take the port.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn
from prefect.server.api.server import create_app

from flows.server.new_database import make_database

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

_BUSY = 503
_DELAYS_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32)


class RetriedWhenBusy:
    """Retries, within milliseconds, what SQLite refused because another connection was writing.

    Prefect's transactions begin as readers. If another one commits before their first write, SQLite fails that write at
    once, the server answers 503, and Prefect's client waits for two seconds and more.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = await _whole_request(receive)
        for delay_s in (*_DELAYS_S, None):
            answer = _AnswerUnlessBusy(send, is_last=delay_s is None)
            try:
                await self._app({**scope}, _replayed(request, receive), answer)
            except Exception:  # Starlette answers, and then raises the error that it answered
                if not answer.was_busy:
                    raise
            if not answer.was_busy:
                return
            await asyncio.sleep((delay_s or 0) * random.uniform(0.5, 1.5))


class _AnswerUnlessBusy:
    def __init__(self, send: Send, is_last: bool) -> None:
        self._send = send
        self._is_last = is_last
        self.was_busy = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == _BUSY:
            self.was_busy = not self._is_last
        if not self.was_busy:
            await self._send(message)


async def _whole_request(receive: Receive) -> list[Message]:
    messages = [await receive()]
    while messages[-1].get("more_body"):
        messages.append(await receive())
    return messages


def _replayed(request: list[Message], receive: Receive) -> Receive:
    left = list(request)

    async def again() -> Message:
        return left.pop(0) if left else await receive()

    return again


def _end_with_parent() -> None:
    """End when the parent has ended, which closes the pipe; the watcher that would do so may be killed with it."""
    while os.read(sys.stdin.fileno(), 1):  # not `sys.stdin.read`, whose lock would abort Python at its exit
        pass
    os._exit(1)


def main(descriptor: int, of_a_run: bool) -> None:
    """Serve until SIGTERM; the server of a run also until standard input is closed, which a service's always is."""
    if of_a_run:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    make_database()
    config = uvicorn.Config(RetriedWhenBusy(create_app()), lifespan="on", log_level="critical")
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:] == ["of-a-run"])
