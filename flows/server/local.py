"""The Prefect API of a run that is started from the shell: the configured one, or a local server.

Nothing here imports Prefect before the local server starts: it takes as long to import Prefect as the run does, so the
two do it at the same time.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import json
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

from badc.errors import BadcError, RequestError, numbered
from badc.system import leash
from badc.system.paths import require_writable

_START_TIMEOUT_S = 180.0
_ANSWER_TIMEOUT_S = 5.0
_ANSWER_TRIES = 4
_STOP_TIMEOUT_S = 15.0
_WATCH_INTERVAL_S = 0.5
_START_POLL_S = 1.0
_SAY_AFTER_S = 2.0
_SILENCE_S = 20.0
_RECORDED_POLL_S = 0.1
_RECORDING_PATIENCE_S = 10.0
_IDS_PER_QUESTION = 200
_ENDS = ["COMPLETED", "FAILED", "CANCELLED", "CRASHED"]
# A run asks its own server at the end whether it has everything, so that server writes more often than one that stays.
# Prefect takes whole seconds: below 1 is 0, and it would look without a pause, which takes a third of a core.
_FLUSH_INTERVAL_S = "1"
_ended_task_runs: Counter[str] = Counter()
_noting = threading.Lock()
_BACKLOG = 2048
# By default, Prefect's server records one event of a task run per transaction, and drops events once it is more than
# 10,000 behind: of 10,000 fast chunks, a quarter never appeared in it.
RECORDER_SETTINGS = {
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "2",
}
# What a server for one run has no use for: schedules, workers, automations, of which, idle, half of its CPU time was;
# and the types of every block of Prefect's, whose registration was half of its start. It must not be noted as done
# either: a server that stays registers them in the same database.
_NOT_FOR_ONE_RUN = {
    f"PREFECT_SERVER_SERVICES_{service}_ENABLED": "false"
    for service in ("SCHEDULER", "LATE_RUNS", "FOREMAN", "TRIGGERS", "PAUSE_EXPIRATIONS")
} | {
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
    "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",
}


def quiet_defaults(verbose: bool) -> None:
    """Keep Prefect's and Dask's chatter off the console, not out of Prefect's UI. Call before importing either."""
    level = "INFO" if verbose else "CRITICAL"
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", level)
    os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "info" if verbose else "critical")
    if not verbose:
        os.environ.setdefault("PREFECT_LOGGING_INTERNAL_LEVEL", "CRITICAL")
        logging.raiseExceptions = False  # or each log record that does not reach the server is announced on stderr
        logging.lastResort = None  # some of Prefect's loggers have no handler, and so would write there
    # How a server notices runs that died silently (deployments/automations/dead-runs.yaml).
    os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "30")
    # No call may take longer than 30 s: three tries of 8 s, with 2 and 4 s between them.
    os.environ.setdefault("PREFECT_API_REQUEST_TIMEOUT", "8")
    os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "2")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")


class PrefectApi:
    """The API that this process's flow runs report to.

    Call `PrefectApi.begin()` as early as possible: it starts a local server if no API is configured, for which
    `ready()` waits.
    """

    def __init__(self, url: str, server: _LocalServer | None) -> None:
        self.url = url
        self._server = server

    @classmethod
    def begin(cls) -> PrefectApi:
        """Find the configured API, or start a local server in the background and export its URL."""
        _ask_this_machine_directly()
        url = configured_url()
        if url is not None:
            return cls(url, None)
        # Every user of this machine can reach the server's port, but cannot use it without this.
        os.environ["PREFECT_API_AUTH_STRING"] = f"badc:{secrets.token_urlsafe(32)}"
        server = _LocalServer()
        # Registered before Prefect is imported, so it runs after Prefect has sent its last logs and events.
        atexit.register(server.stop)
        os.environ["PREFECT_API_URL"] = server.url
        return cls(server.url, server)

    def ready(self, give_up: Callable[[], bool] = lambda: False) -> None:
        """Wait until the API answers, or `give_up` says that nobody needs it any more.

        Raises RequestError if a configured API does not answer or rejects this process's credentials, and BadcError if
        the local server does not come up.
        """
        if self._server is not None:
            self._server.wait_until_up(give_up)
        elif not self.answers():
            raise RequestError(
                f"PREFECT_API_URL {self.url}: no Prefect server answers there; start it with `badc server start`, "
                "or unset PREFECT_API_URL to let this run use a local one"
            )
        elif _asks_who_we_are(self.url):
            raise RequestError(
                f"PREFECT_API_URL {self.url}: the server does not let this shell in; give its authentication string as "
                "PREFECT_API_AUTH_STRING (`badc server start` keeps it in ~/.config/badc.env on the server's machine)"
            )

    def stop(self) -> None:
        """Stop the local server, if there is one. The process's exit handlers do so too, unless they are skipped."""
        if self._server is not None:
            self._server.stop()

    def answers(self) -> bool:
        """Whether the API answers, given a few tries."""
        for _ in range(_ANSWER_TRIES):
            if _answers(self.url):
                return True
            time.sleep(0.5)
        return False


def _ask_this_machine_directly() -> None:
    """Ask servers on this machine without a proxy, which would reach another machine, or none."""
    if not any(os.environ.get(name) for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")):
        return
    given = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    hosts = dict.fromkeys(host for host in (*given.split(","), "localhost", "127.0.0.1", "::1") if host.strip())
    # Which of the two counts differs between libraries.
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(hosts)


class _LocalServer:
    """A Prefect server of this process, restarted if it dies: its clients retry long enough not to notice."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/api"
        self._stopping = threading.Event()
        self._up = threading.Event()
        self._process = self._start()
        threading.Thread(target=self._watch, daemon=True).start()

    def wait_until_up(self, give_up: Callable[[], bool]) -> None:
        end = time.monotonic() + _START_TIMEOUT_S
        while not _answers(self.url, _START_POLL_S):
            if give_up():
                return
            if self._process.poll() is not None:
                why = _home_trouble() or "run `prefect server start` to see why, or set PREFECT_API_URL"
                raise BadcError(
                    f"the local Prefect server {leash.how_it_ended(self._process.returncode)} while starting; {why}"
                )
            if time.monotonic() > end:
                raise BadcError(f"the local Prefect server did not come up within {_START_TIMEOUT_S:g} s")
        self._up.set()

    def stop(self) -> None:
        _wait_until_recorded(self.url)
        self._stopping.set()
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_TIMEOUT_S)
        leash.kill_group(self._process)

    def _watch(self) -> None:
        # A server that died before it was up would die again.
        self._up.wait()
        while not self._stopping.wait(_WATCH_INTERVAL_S):
            if self._process.poll() is not None:
                leash.kill_group(self._process)
                self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        descriptor = self._socket.fileno()
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.server.app", str(descriptor), "of-a-run"],
            env=RECORDER_SETTINGS
            | _NOT_FOR_ONE_RUN
            | {"PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": _FLUSH_INTERVAL_S}
            | os.environ
            | {
                "PREFECT_SERVER_API_AUTH_STRING": os.environ["PREFECT_API_AUTH_STRING"],
                "PREFECT_UI_ENABLED": "0",
                "PREFECT_LOGGING_SERVER_LEVEL": "CRITICAL",
            },
            pass_fds=(descriptor,),
            stdin=subprocess.PIPE,  # closed when this process ends, which ends the server
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Not in the terminal's foreground group: Ctrl-C must not take the server from under the run.
            start_new_session=True,
        )
        leash.hold(process)
        return process


def note_task_run(flow_run_id: str) -> None:
    """Note that a task run of a flow run has ended here; before it stops, the local server must record that."""
    with _noting:
        _ended_task_runs[flow_run_id] += 1


def _wait_until_recorded(url: str) -> None:
    """Wait until the server has recorded the ends of this process's task runs, as long as it makes progress.

    Task runs reach it as events, which it handles when it can; those still waiting when it stops are lost.
    """
    wanted = sum(_ended_task_runs.values())
    recorded, said = 0, False
    begin = since = time.monotonic()
    while wanted:
        now_recorded = _recorded_task_runs(url)
        if now_recorded is not None and now_recorded >= wanted:
            return
        if now_recorded is not None and now_recorded > recorded:
            recorded, since = now_recorded, time.monotonic()
        if now_recorded is None or time.monotonic() - since > _RECORDING_PATIENCE_S:
            lost = f"{wanted - recorded} of {wanted} task runs"
            why = f" ({trouble})" if (trouble := _home_trouble()) else ""
            print(f"badc: Prefect has not recorded how {lost} ended; the outputs are complete{why}", file=sys.stderr)
            return
        if time.monotonic() - begin > _SAY_AFTER_S and not said:
            said = True
            left = numbered(wanted - recorded, "more task run")
            print(f"Waiting for Prefect to record {left}", file=sys.stderr, flush=True)
        time.sleep(_RECORDED_POLL_S)


def _recorded_task_runs(url: str) -> int | None:
    """Return how many of this process's task runs have ended for the server; None if it does not answer."""
    ids = list(_ended_task_runs)
    credentials = base64.b64encode(os.environ["PREFECT_API_AUTH_STRING"].encode()).decode()
    headers = {"Content-Type": "application/json", "Authorization": f"Basic {credentials}"}
    count = 0
    for first in range(0, len(ids), _IDS_PER_QUESTION):
        question = {
            "flow_runs": {"id": {"any_": ids[first : first + _IDS_PER_QUESTION]}},
            "task_runs": {"state": {"type": {"any_": _ENDS}}, "subflow_runs": {"exists_": False}},
        }
        request = urllib.request.Request(f"{url}/task_runs/count", json.dumps(question).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=_ANSWER_TIMEOUT_S) as answer:
                count += int(answer.read())
        except (OSError, ValueError):
            return None
    return count


def end_if_silent(leave: Callable[[], object]) -> None:
    """If the API is silent for long, end the process by `leave`: Prefect's exit handlers would try for minutes."""
    url = os.environ.get("PREFECT_API_URL")
    if "prefect" not in sys.modules or not url:
        return

    def watch() -> None:
        last_answer = time.monotonic()
        while time.monotonic() - last_answer < _SILENCE_S:
            if _answers(url):
                last_answer = time.monotonic()
            time.sleep(1)
        print("badc: Prefect does not answer any more, so its UI may not show all of this", file=sys.stderr)
        leave()

    threading.Thread(target=watch, daemon=True).start()


def api_is_configured() -> bool:
    """Whether the environment or the Prefect profile names an API."""
    return configured_url() is not None


def configured_url() -> str | None:
    """Return the API URL of the environment or the Prefect profile, without importing Prefect if possible."""
    if url := os.environ.get("PREFECT_API_URL"):
        return url
    places = (_prefect_home() / "profiles.toml", Path("prefect.toml"), Path("pyproject.toml"), Path(".env"))
    if not any(_mentions_prefect(place) for place in places) and "PREFECT_PROFILE" not in os.environ:
        return None
    from prefect.settings import PREFECT_API_URL

    configured: str | None = PREFECT_API_URL.value()
    return configured


def _prefect_home() -> Path:
    return Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()


def _home_trouble() -> str | None:
    """Return why the local server cannot write its database, such as on a full disk; None if it can."""
    try:
        require_writable(_prefect_home(), "database of Prefect's server (PREFECT_HOME)")
    except RequestError as error:
        return str(error)
    return None


def _mentions_prefect(path: Path) -> bool:
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return False
    return "PREFECT_" in text or "[tool.prefect" in text or path.name == "prefect.toml"


def _answers(url: str, timeout_s: float = _ANSWER_TIMEOUT_S) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=timeout_s):
            return True
    except urllib.error.HTTPError:  # it is there; a Prefect Cloud workspace wants a key for this page
        return True
    except (OSError, ValueError):
        return False


def _asks_who_we_are(url: str) -> bool:
    """Whether a server rejects the credentials of this process, which may come from a Prefect profile."""
    try:
        with urllib.request.urlopen(f"{url}/admin/version", timeout=_ANSWER_TIMEOUT_S):
            return False
    except urllib.error.HTTPError as error:
        if error.code != HTTPStatus.UNAUTHORIZED:
            return False
    except (OSError, ValueError):
        return False
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError

    try:
        with get_client(sync_client=True) as client:
            client.read_flows(limit=1)
    except PrefectHTTPStatusError as error:
        return error.response.status_code == HTTPStatus.UNAUTHORIZED
    except Exception:  # it has gone silent; the run will find out
        return False
    return False
