"""The host's side of the pipe: one JSON object a line, requests on stdin, answers on stdout.

A request is `{"id": …, …}`; its answer `{"id": …, "ok": true, …}` or `{"id": …, "ok": false, "error": "…"}`. The first
line that a host writes is its greeting, `{"ok": true, "model_version": …}`, once its model is loaded. A host ends when
stdin does. Only the standard library is needed here.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable

from badc.system.json_lines import Message, reason, stdout_for_answers


def serve(load: Callable[[], tuple[str, Callable[[Message], Message]]]) -> None:
    """Load a model, greet, then answer requests until stdin ends.

    `load` returns the model's version and the function that answers one request.
    """
    send = stdout_for_answers()
    try:
        version, handle = load()
    except Exception as error:
        traceback.print_exc()
        send({"ok": False, "error": reason(error)})
        sys.exit(1)
    send({"ok": True, "model_version": version})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = handle(request)
        except Exception as error:
            traceback.print_exc()
            answer = {"ok": False, "error": reason(error)}
        send({"id": request["id"], "ok": True} | answer)
