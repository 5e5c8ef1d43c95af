"""Hosts in another interpreter, which has the model and not BADC's libraries."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from badc.errors import NotInstalledError, RequestError
from badc.system.environment import inherited

SOURCE_ROOT = Path(__file__).parents[3]
_ANSWER_TIMEOUT_S = 300.0  # the first import from a network disk takes minutes
# The host's modules come from BADC's folder, everything else from the interpreter's environment: that folder may be a
# site-packages full of other versions, so it is on the path for these imports only.
_BOOT = (
    "import sys, json, importlib; folder, host, options = sys.argv[1:]; sys.path[0] = folder; "
    "host = importlib.import_module(host); del sys.path[0]; host.main(json.loads(options))"
)


def host_command(python: str, host: str, options: Mapping[str, Any]) -> list[str]:
    """Return the command that calls `main` of a host module of BADC's, with these options, in an interpreter."""
    return [python, "-c", _BOOT, str(SOURCE_ROOT), host, json.dumps(options)]


def answer_of(
    python: str, host: str, options: Mapping[str, Any], *, what: str, option: str, install: str
) -> dict[str, Any]:
    """Return what a host module prints as its last line, an answer with `ok`.

    `what` names the model in messages, `option` the option that names the interpreter, and `install` says how to
    install what it lacks.

    Raises
    ------
    RequestError
        When it cannot be run, or does not answer.
    """
    try:
        done = subprocess.run(
            host_command(python, host, options),
            capture_output=True,
            text=True,
            timeout=_ANSWER_TIMEOUT_S,
            env=inherited(),
        )
    except OSError as error:
        raise NotInstalledError(f"{option} {python}: cannot be run ({error.strerror}); {install}") from None
    except subprocess.TimeoutExpired:
        raise RequestError(f"{python}: {what} did not load within {_ANSWER_TIMEOUT_S:g} s") from None
    lines = done.stdout.splitlines()
    try:
        answer: Any = json.loads(lines[-1]) if lines else {}
    except json.JSONDecodeError:
        answer = {}
    if not isinstance(answer, dict) or "ok" not in answer:
        last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        raise NotInstalledError(f"{python}: {what} cannot be used there ({last}); {install}")
    return answer
