"""The worker's side of a host process, in which a model lives.

A model that crashes, hangs or eats all memory takes down its host, not the worker: the attempt fails with a reason, and
the next one gets a fresh host.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import orjson

from badc.errors import RunnerError, RunnerTimeoutError
from badc.runners.process.kept import Keeper, with_last_line
from badc.runners.process.serve import PROTOCOL
from badc.system import leash
from badc.system.environment import inherited

_START_TIMEOUT_S = 600.0  # the first import of a large framework from a network disk takes minutes
_LOOK_S = 1.0
_LONGEST_BYTES = 256 << 20  # of an answer; a line without an end would take the worker's memory
_READ_BYTES = 65_536
_GREETING = 0  # requests are numbered from 1


class Host:
    """One host process, started at the first request and again after each loss.

    `command` is the host program with its arguments (see `badc.runners.process.serve`). `environment` and `secrets` are
    added to the `inherited` variables; the values of `secrets` are hidden in messages and in what is kept of stderr.
    `what` names the model in messages. Several threads may send requests at once, if the host takes them.
    """

    def __init__(
        self, command: list[str], environment: dict[str, str], what: str, secrets: Sequence[tuple[str, str]] = ()
    ) -> None:
        self._command = command
        self._environment = environment | dict(secrets)
        self._what = what
        self._keeper = Keeper(secrets)
        self._lock = threading.Lock()
        self._process: _Process | None = None
        self._requests = _GREETING
        self.greeting: dict[str, Any] = {}

    def start(self) -> dict[str, Any]:
        """Start the host unless it runs; return its greeting. Raises RunnerError when it cannot be started."""
        with self._lock:
            self._running()
            return self.greeting

    def request(self, message: dict[str, Any], timeout_s: float | None) -> dict[str, Any]:
        """Send one request, without its id, and return its answer.

        `timeout_s` limits the answer, not the start of the host; None waits for ever.

        Raises
        ------
        RunnerError
            When the host answers with an error, ends, or takes too long. After the last two, every request that the
            host had fails, and the next one starts another.
        """
        with self._lock:
            process = self._running()
            self._requests += 1
            number = self._requests
            waiting = process.ask(number, orjson.dumps({"id": number, **message}, option=orjson.OPT_APPEND_NEWLINE))
        try:
            answer = waiting.result(timeout_s)
        except TimeoutError:
            slow = f"{self._what}: stopped after --chunk-timeout {timeout_s:g} s"
            process.end(f"{self._what}: the host process was ended because another chunk in it took too long")
            raise RunnerTimeoutError(slow, stderr=process.stderr_text()) from None
        if not answer.get("ok"):
            raise RunnerError(f"{self._what}: {self._error_of(answer)}", stderr=process.stderr_text())
        return answer

    def close(self) -> None:
        """End the host."""
        if self._process is not None:
            self._process.end(f"{self._what}: the host process was ended")

    def _running(self) -> _Process:
        if self._process is not None and self._process.is_alive():
            return self._process
        self.close()
        try:
            self._process = _Process(self._command, inherited() | self._environment, self._what, self._keeper)
        except OSError as error:
            raise RunnerError(f"{self._what}: {self._command[0]!r} cannot be started: {error.strerror}") from None
        process = self._process
        try:
            self.greeting = process.greeting.result(_START_TIMEOUT_S)
        except TimeoutError:
            slow = f"{self._what}: stopped after the time to load the model"
            process.end(slow)
            raise RunnerError(slow, stderr=process.stderr_text()) from None
        if (wrong := self._wrong(self.greeting)) is not None:
            process.end(f"{self._what}: {wrong}")
            raise RunnerError(f"{self._what}: {wrong}", stderr=process.stderr_text())
        return process

    def _wrong(self, greeting: dict[str, Any]) -> str | None:
        """Return what is wrong with a greeting, or None."""
        if not greeting.get("ok"):
            return f"the model cannot be loaded: {self._error_of(greeting)}"
        protocol = greeting.get("protocol")
        if type(protocol) is not int or protocol < 1:
            return f"the greeting does not say the protocol, which is {PROTOCOL}"
        if protocol > PROTOCOL:
            return f"it speaks protocol {protocol}, and this BADC {PROTOCOL} at most: a newer BADC is needed"
        return None

    def _error_of(self, answer: dict[str, Any]) -> str:
        said = str(answer.get("error") or "it gives no reason")
        return self._keeper.end_of(said.encode(errors="replace"))


class _Process:
    """A host process, and the requests that it has not answered yet."""

    def __init__(self, command: list[str], environment: dict[str, str], what: str, keeper: Keeper) -> None:
        self._what = what
        self._keeper = keeper
        self._stderr = b""
        self._lock = threading.Lock()
        self._ending = threading.Lock()
        self._ended = False
        self._over = threading.Event()
        self._silent = False
        self._waiting: dict[object, Future[dict[str, Any]]] = {}
        self.greeting = self._expect(_GREETING)
        pipe = subprocess.PIPE
        self._mark = leash.new_mark()
        marked = environment | {leash.MARK: self._mark}
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, env=marked, start_new_session=True
        )
        leash.hold(self._process)
        self._drainer = threading.Thread(target=self._drain, daemon=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._drainer.start()
        self._reader.start()
        threading.Thread(target=self._watch, daemon=True).start()

    def is_alive(self) -> bool:
        # `poll` knows of no end while the reader waits for it.
        return not self._ended and not self._silent and self._process.poll() is None

    def ask(self, number: int, line: bytes) -> Future[dict[str, Any]]:
        """Send a request; return its answer to come, or the RunnerError that says why there is none."""
        waiting = self._expect(number)
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ValueError):  # the reader finds out how it ended
            self._process.stdin.write(line)
            self._process.stdin.flush()
        return waiting

    def end(self, reason: str, returncode: int | None = None) -> None:
        """Kill the process and all of its children; every request that has no answer fails for `reason`."""
        with self._ending:  # who comes second waits until it is gone
            with self._lock:
                if self._ended:
                    return
                self._ended = True
                self._over.set()
            leash.kill_group(self._process)
            leash.kill_marked(self._mark)
        for thread in (self._drainer, self._reader):
            if thread is not threading.current_thread():
                thread.join(timeout=1)  # the last lines of stderr say why it ended
        for stream, user in ((self._process.stdin, None), (self._process.stdout, self._reader)):
            if stream is not None and (user is None or not user.is_alive() or user is threading.current_thread()):
                with contextlib.suppress(OSError):
                    stream.close()
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        stderr = self.stderr_text()
        if returncode is not None:
            reason = with_last_line(reason, stderr)
        for future in waiting.values():
            future.set_exception(RunnerError(reason, stderr=stderr, returncode=returncode))

    def stderr_text(self) -> str:
        return self._keeper.end_of(self._stderr)

    def _expect(self, number: int) -> Future[dict[str, Any]]:
        waiting: Future[dict[str, Any]] = Future()
        with self._lock:
            if self._ended:
                waiting.set_exception(RunnerError(f"{self._what}: the host process was ended"))
            else:
                self._waiting[number] = waiting
        return waiting

    def _read(self) -> None:
        """Hand each answer to who waits for it, until the process ends or writes something else."""
        assert self._process.stdout is not None
        while line := self._process.stdout.readline(_LONGEST_BYTES):
            if len(line) == _LONGEST_BYTES:
                self.end(f"{self._what}: it wrote a line of more than {_LONGEST_BYTES >> 20} MiB to stdout")
                return
            if not line.endswith(b"\n"):
                break  # it was killed while it wrote
            try:
                answer = orjson.loads(line)
            except orjson.JSONDecodeError:
                answer = None
            # An answer that follows must not be taken for that to another request.
            if not isinstance(answer, dict):
                shown = self._keeper.start_of(line)
                self.end(f"{self._what}: stdout is for answers, and it wrote {shown!r}; print to stderr")
                return
            number = answer.get("id", _GREETING)
            with self._lock:
                waiting = self._waiting.pop(number, None) if type(number) is int else None
            if waiting is None:
                self.end(f"{self._what}: the host answered another request")
                return
            waiting.set_result(answer)
        self._silent = True
        self._end_as_it_ended()

    def _watch(self) -> None:
        """Notice the end of a process whose children keep its pipe open, so that reading goes on for ever."""
        while not self._over.wait(_LOOK_S):
            if self._process.poll() is not None:
                self._over.wait(_LOOK_S)  # for what it wrote last
                self._end_as_it_ended()

    def _end_as_it_ended(self) -> None:
        # It closed its pipe, so it is ending; wait a moment to learn how.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=2)
        returncode = self._process.returncode
        if returncode is None:
            leash.kill_group(self._process)
            returncode = self._process.returncode
        self.end(f"{self._what}: the host process {leash.how_it_ended(returncode)}", returncode)

    def _drain(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stream:
            while data := os.read(stream.fileno(), _READ_BYTES):
                self._stderr = (self._stderr + data)[-self._keeper.needed_bytes :]
