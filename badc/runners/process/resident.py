"""The worker's side of a host process, in which a model lives.

A model that crashes, hangs or eats all memory takes down its host, not the worker: the attempt fails with a reason, and
the next one gets a fresh host.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import threading
import time
from collections import deque
from typing import Any

import orjson

from badc.errors import RunnerError, RunnerTimeoutError
from badc.system import leash

_START_TIMEOUT_S = 600.0  # the first import of a large framework from a network disk takes minutes
_KEPT_STDERR_LINES = 40


class Host:
    """One host process, started at the first request and again after each loss.

    `command` is the host program with its arguments (see `badc.runners.process.serve`); `environment` is added to this
    process's variables; `what` names the model in messages.
    """

    def __init__(self, command: list[str], environment: dict[str, str], what: str) -> None:
        self._command = command
        self._environment = environment
        self._what = what
        self._process: subprocess.Popen[bytes] | None = None
        self._pending = b""
        self._stderr: deque[bytes] = deque(maxlen=_KEPT_STDERR_LINES)
        self._drainer: threading.Thread | None = None
        self._requests = 0
        self.greeting: dict[str, Any] = {}

    def request(self, message: dict[str, Any], timeout_s: float | None) -> dict[str, Any]:
        """Send one request, without its id, and return its answer.

        `timeout_s` limits the answer, not the start of the host; None waits for ever.

        Raises
        ------
        RunnerError
            When the host answers with an error, ends, or takes too long. After the last two, the next request starts
            another.
        """
        process = self._running()
        self._requests += 1
        line = orjson.dumps({"id": self._requests, **message}, option=orjson.OPT_APPEND_NEWLINE)
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the read below finds out how it ended
            process.stdin.write(line)
            process.stdin.flush()
        try:
            answer = self._receive(process, timeout_s)
        except TimeoutError:
            raise RunnerTimeoutError(
                f"{self._what}: stopped after --chunk-timeout {timeout_s:g} s", stderr=self._stderr_text()
            ) from None
        if answer.get("id") != self._requests:
            self._end(process)
            raise RunnerError(f"{self._what}: the host answered another request", stderr=self._stderr_text())
        if not answer.get("ok"):
            raise RunnerError(f"{self._what}: {answer.get('error')}", stderr=self._stderr_text())
        return answer

    def close(self) -> None:
        """End the host."""
        if self._process is not None:
            self._end(self._process)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        if self._process is not None:
            self._end(self._process)
        self._pending = b""
        self._stderr.clear()
        try:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=os.environ | self._environment,
                start_new_session=True,
            )
        except OSError as error:
            raise RunnerError(f"{self._what}: the host cannot be started: {error}") from None
        leash.hold(process)
        self._drainer = threading.Thread(target=self._drain, args=(process,), daemon=True)
        self._drainer.start()
        self._process = process
        try:
            self.greeting = self._receive(process, _START_TIMEOUT_S)
        except TimeoutError:
            slow = f"{self._what}: stopped after the time to load the model"
            raise RunnerError(slow, stderr=self._stderr_text()) from None
        if not self.greeting.get("ok"):
            self._end(process)
            reason = self.greeting.get("error")
            raise RunnerError(f"{self._what}: the model cannot be loaded: {reason}", stderr=self._stderr_text())
        return process

    def _receive(self, process: subprocess.Popen[bytes], timeout_s: float | None) -> dict[str, Any]:
        """Read a line from the host; if it ended (RunnerError) or is too slow (TimeoutError), it is ended."""
        assert process.stdout is not None
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        descriptor = process.stdout.fileno()
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while b"\n" not in self._pending:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and (left <= 0 or not selector.select(left)):
                    self._end(process)
                    raise TimeoutError
                data = os.read(descriptor, 1 << 16)
                if not data:
                    # It closed its pipe, so it is ending; wait a moment to learn how.
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(timeout=2)
                    self._end(process)
                    returncode = process.returncode
                    raise RunnerError(
                        f"{self._what}: the host process {leash.how_it_ended(returncode)}",
                        stderr=self._stderr_text(),
                        returncode=returncode,
                    )
                self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        try:
            answer = orjson.loads(line)
        except orjson.JSONDecodeError:
            answer = None
        if not isinstance(answer, dict):
            # The answer may still follow, and must not be taken for the answer to the next request.
            self._end(process)
            raise RunnerError(f"{self._what}: the host wrote no answer but {line[:80]!r}", stderr=self._stderr_text())
        return answer

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        leash.kill_group(process)
        if self._drainer is not None:
            self._drainer.join(timeout=1)  # the last lines say why it ended
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        self._process = None

    def _drain(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        with process.stderr as stream:
            for line in stream:
                self._stderr.append(line)

    def _stderr_text(self) -> str:
        return b"".join(self._stderr.copy()).decode(errors="replace")
