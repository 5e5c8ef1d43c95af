"""A child process that answers in lines of JSON on stdout: its side, with the standard library only."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

Message = dict[str, Any]


def stdout_for_answers() -> Callable[[Message], None]:
    """Return a function that sends a message; all else that this process or its libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr

    def send(message: Message) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    return send


def reason(error: Exception) -> str:
    """Return what an answer says of an error that was not expected."""
    return f"{type(error).__name__}: {error}"
