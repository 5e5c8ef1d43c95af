"""The host's side of the pipe: one JSON object a line, requests on stdin, answers on stdout.

A request is `{"id": …, …}`; its answer `{"id": …, "ok": true, …}` or `{"id": …, "ok": false, "error": "…"}`. The first
line that a host writes is its greeting, `{"ok": true, "model_version": …}`, once its model is loaded. A host ends when
stdin does. One that takes several requests at once answers each as soon as it can. Only the standard library is needed
here.
"""

from __future__ import annotations

import json
import sys
import threading
import traceback
from collections.abc import Callable
from queue import SimpleQueue

from badc.system.json_lines import Message, reason, stdout_for_answers

Handle = Callable[[Message], Message]


def serve(
    load: Callable[[], tuple[str, Handle]], at_once: int = 1, warm_up: Callable[[Handle], object] = lambda handle: None
) -> None:
    """Load a model, greet, then answer requests until stdin ends, up to `at_once` at a time.

    `load` returns the model's version and the function that answers one request, in one of `at_once` threads. Each
    thread first calls `warm_up` with that function, one after the other. If it fails in the first, the model cannot be
    loaded. If it fails in a later one, for which memory may be too small, there are as many threads as came before; the
    greeting then has their number as `at_once`, and the reason as `why_fewer`.
    """
    send = _one_at_a_time(stdout_for_answers())
    requests: SimpleQueue[Message | None] = SimpleQueue()
    threads: list[threading.Thread] = []
    try:
        version, handle = load()
        why_fewer = _start(threads, at_once, lambda: warm_up(handle), lambda: _answer_all(requests, handle, send))
    except Exception as error:
        traceback.print_exc()
        send({"ok": False, "error": reason(error)})
        sys.exit(1)
    fewer = {} if why_fewer is None else {"at_once": len(threads), "why_fewer": why_fewer}
    send({"ok": True, "model_version": version, **fewer})
    for line in sys.stdin:
        requests.put(json.loads(line))
    for _ in threads:
        requests.put(None)
    for thread in threads:
        thread.join()


def _start(
    threads: list[threading.Thread], number: int, warm_up: Callable[[], object], work: Callable[[], None]
) -> str | None:
    """Start threads, each after the one before is warm; return why there are fewer than `number`, or None."""
    for _ in range(number):
        warm: SimpleQueue[Exception | None] = SimpleQueue()
        thread = threading.Thread(target=_warm_then_work, args=(warm_up, warm.put, work), daemon=True)
        thread.start()
        error = warm.get()
        if error is None:
            threads.append(thread)
        elif threads:
            traceback.print_exception(error)
            return reason(error)
        else:
            raise error
    return None


def _warm_then_work(
    warm_up: Callable[[], object], tell: Callable[[Exception | None], None], work: Callable[[], None]
) -> None:
    try:
        warm_up()
    except Exception as error:
        tell(error)
    else:
        tell(None)
        work()


def _answer_all(requests: SimpleQueue[Message | None], handle: Handle, send: Callable[[Message], None]) -> None:
    while (request := requests.get()) is not None:
        try:
            answer = handle(request)
        except Exception as error:
            traceback.print_exc()
            answer = {"ok": False, "error": reason(error)}
        send({"id": request["id"], "ok": True} | answer)


def _one_at_a_time(send: Callable[[Message], None]) -> Callable[[Message], None]:
    lock = threading.Lock()

    def locked(message: Message) -> None:
        with lock:
            send(message)

    return locked
