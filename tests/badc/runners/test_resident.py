"""Host processes: one that answers, and ones that crash, hang, print garbage or cannot start."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from badc.errors import RunnerError
from badc.runners.process import resident as host_module
from badc.runners.process.resident import Host
from tests.conftest import ROOT

# A host as a third party would write it, with nothing but the protocol.
HOST = """
import json, os, sys, time

def send(answer):
    sys.stdout.write(json.dumps(answer) + "\\n")
    sys.stdout.flush()

send({"ok": True, "protocol": 1, "model_version": "fake 1", "pid": os.getpid()})
for line in sys.stdin:
    request = json.loads(line)
    answer = {"id": request["id"], "ok": True, "echo": request.get("say"), "pid": os.getpid()}
    match request["do"]:
        case "answer":
            send(answer)
        case "refuse":
            send({"id": request["id"], "ok": False, "error": "no such file"})
        case "crash":
            print("last words", file=sys.stderr, flush=True)
            os.kill(os.getpid(), 9)
        case "exit":
            print("last words", file=sys.stderr, flush=True)
            sys.exit(5)
        case "hang":
            time.sleep(600)
        case "garbage":
            print("loading weights…", flush=True)
            send(answer)
        case "list":
            print("[1, 2]", flush=True)
            send(answer)
        case "odd id":
            send(answer | {"id": [request["id"]]})
        case "leave a child":
            if os.fork() == 0:
                os.setsid()
                time.sleep(600)
            os._exit(3)
        case "secret at the end":
            print("x" * 190 + os.environ["TOKEN"], flush=True)
        case "slowly":
            text = json.dumps(answer) + "\\n"
            for part in (text[:5], text[5:]):
                os.write(1, part.encode())
                time.sleep(0.05)
        case "large":
            send(answer | {"echo": "x" * 3_000_000})
        case "chatter":
            sys.stderr.write("noise\\n" * 200_000)
            send(answer)
"""


@pytest.fixture
def host(script: Callable[..., list[str]]) -> Iterator[Host]:
    host = Host(script(HOST), {"BADC_TEST": "1"}, "Fake")
    yield host
    host.close()


def refusal(host: Host, do: str, timeout_s: float | None = 30) -> RunnerError:
    with pytest.raises(RunnerError) as caught:
        host.request({"do": do, "say": do}, timeout_s)
    return caught.value


def pid_of(host: Host) -> int:
    return int(host.request({"do": "answer"}, 30)["pid"])


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_host_greets_and_answers_from_one_process(host: Host) -> None:
    answers = [host.request({"do": "answer", "say": number}, 30) for number in range(3)]
    assert [answer["echo"] for answer in answers] == [0, 1, 2]
    assert {answer["pid"] for answer in answers} == {host.greeting["pid"]}
    assert host.greeting["model_version"] == "fake 1"


def test_an_error_that_a_host_answers_fails_the_attempt_and_the_host_lives(host: Host) -> None:
    pid = pid_of(host)
    assert str(refusal(host, "refuse")) == "Fake: no such file"
    assert pid_of(host) == pid


@pytest.mark.parametrize(
    ("do", "how", "returncode"), [("crash", "was killed by signal 9", -9), ("exit", "ended with exit code 5", 5)]
)
def test_a_host_that_ends_fails_the_attempt_and_the_next_gets_another(
    host: Host, do: str, how: str, returncode: int
) -> None:
    pid = pid_of(host)
    error = refusal(host, do)
    assert str(error) == f"Fake: the host process {how}: last words"
    assert error.returncode == returncode
    assert pid_of(host) != pid


@pytest.mark.parametrize("attempt", range(5))
def test_the_last_words_of_a_host_are_kept(host: Host, attempt: int) -> None:
    assert "last words" in refusal(host, "exit").stderr


def test_a_host_that_hangs_is_killed_and_the_next_attempt_gets_another(host: Host) -> None:
    pid = pid_of(host)
    assert "--chunk-timeout 0.2 s" in str(refusal(host, "hang", timeout_s=0.2))
    assert not is_alive(pid)
    assert pid_of(host) != pid


def test_a_host_that_ends_is_noticed_though_its_child_keeps_the_pipe_open(host: Host) -> None:
    assert str(refusal(host, "leave a child")) == "Fake: the host process ended with exit code 3"


def test_a_secret_that_a_message_would_cut_off_is_hidden(script: Callable[..., list[str]]) -> None:
    host = Host(script(HOST), {}, "Fake", (("TOKEN", "s3cret-value-of-many-letters"),))
    assert "s3c" not in str(refusal(host, "secret at the end"))
    host.close()


@pytest.mark.parametrize("do", ["garbage", "list", "odd id"])
def test_garbage_fails_the_attempt_and_never_mixes_up_answers(host: Host, do: str) -> None:
    refusal(host, do)
    assert host.request({"do": "answer", "say": "mine"}, 30)["echo"] == "mine"


def test_a_host_that_was_killed_between_two_chunks_is_replaced(host: Host) -> None:
    pid = pid_of(host)
    os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):  # the host's own threads may have waited for it first
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert host.request({"do": "answer", "say": "after"}, 30)["echo"] == "after"


@pytest.mark.parametrize("do", ["slowly", "large", "chatter"])
def test_answers_in_pieces_large_answers_and_much_stderr_work(host: Host, do: str) -> None:
    assert host.request({"do": do}, 30)["ok"] is True


def test_a_closed_host_is_gone(host: Host) -> None:
    pid = pid_of(host)
    host.close()
    assert not is_alive(pid)


def test_a_host_gets_its_environment(script: Callable[..., list[str]]) -> None:
    words = script("import json, os; print(json.dumps({'ok': True, 'protocol': 1, 'gpu': os.environ['GPU']})); input()")
    host = Host(words, {"GPU": "1"}, "Fake")
    with pytest.raises(RunnerError):
        host.request({}, 30)
    assert host.greeting["gpu"] == "1"


def test_a_host_program_that_is_not_there_is_a_failed_attempt() -> None:
    with pytest.raises(RunnerError, match="Fake: '/no/such/program' cannot be started: No such file"):
        Host(["/no/such/program"], {}, "Fake").request({}, 1)


def test_a_host_that_dies_while_it_starts_is_a_failed_attempt(script: Callable[..., list[str]]) -> None:
    host = Host(script("raise SystemExit(6)"), {}, "Fake")
    with pytest.raises(RunnerError, match="exit code 6"):
        host.request({}, 30)


def test_a_model_that_cannot_be_loaded_is_named(script: Callable[..., list[str]]) -> None:
    source = """
    from badc.runners.process.serve import serve
    def load():
        raise FileNotFoundError("model.tflite")
    serve(load)
    """
    host = Host(script(source), {}, "Fake")
    with pytest.raises(RunnerError, match=r"cannot be loaded: FileNotFoundError: model\.tflite"):
        host.request({}, 30)


def test_a_host_that_never_greets_is_stopped(script: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_module, "_START_TIMEOUT_S", 0.2)
    host = Host(script("import time; time.sleep(600)"), {}, "Fake")
    with pytest.raises(RunnerError, match="stopped after the time to load the model"):
        host.request({}, None)


def test_what_a_model_prints_does_not_reach_the_pipe(script: Callable[..., list[str]]) -> None:
    source = """
    import os
    from badc.runners.process.serve import serve
    def load():
        print("loading")
        os.write(1, b"from C\\n")
        return "v1", handle
    def handle(request):
        print("thinking")
        if request["n"] == 2:
            raise ValueError("two")
        return {"twice": request["n"] * 2}
    serve(load)
    """
    host = Host(script(source), {}, "Fake")
    try:
        assert host.request({"n": 1}, 30)["twice"] == 2
        with pytest.raises(RunnerError, match="Fake: ValueError: two"):
            host.request({"n": 2}, 30)
        assert host.request({"n": 3}, 30)["twice"] == 6
    finally:
        host.close()


# It answers several requests at once, by the protocol of `serve`.
SEVERAL = """
import os, sys, threading, time
from badc.runners.process.serve import serve

meet = threading.Barrier(3, timeout=20)
made = threading.local()
warmed = []

def load():
    return "v1", handle

def warm_up(handle):
    if len(warmed) == int(os.environ.get("FITS", 99)):
        raise MemoryError("CUDA out of memory")
    warmed.append(threading.get_ident())
    made.number = len(warmed)

def handle(request):
    match request["do"]:
        case "meet":
            meet.wait()
        case "sleep":
            time.sleep(request["s"])
        case "crash":
            time.sleep(0.3)
            os._exit(7)
        case "hang":
            time.sleep(600)
    return {"say": request["say"], "thread": made.number, "pid": os.getpid()}

serve(load, 3, warm_up)
"""


@pytest.fixture
def several(script: Callable[..., list[str]]) -> Iterator[Host]:
    host = Host(script(SEVERAL), {}, "Fake")
    yield host
    host.close()


def at_once(host: Host, *messages: dict[str, object], timeout_s: float | None = 30) -> list[dict[str, object] | str]:
    """Send requests from a thread each; return their answers, or why there is none."""

    def ask(message: dict[str, object]) -> dict[str, object] | str:
        try:
            return host.request(message, timeout_s)
        except RunnerError as error:
            return str(error)

    with ThreadPoolExecutor(len(messages)) as threads:
        return list(threads.map(ask, messages))


def test_requests_of_several_threads_are_served_at_once_each_by_a_warm_thread(several: Host) -> None:
    answers = at_once(several, *({"do": "meet", "say": number} for number in range(3)))
    assert [answer["say"] for answer in answers] == [0, 1, 2]
    assert {answer["thread"] for answer in answers} == {1, 2, 3}
    assert len({answer["pid"] for answer in answers}) == 1


def test_a_quick_answer_does_not_wait_for_a_slow_one(several: Host) -> None:
    several.request({"do": "sleep", "s": 0, "say": "ready"}, 30)
    begin = time.monotonic()
    with ThreadPoolExecutor() as threads:
        slow = threads.submit(several.request, {"do": "sleep", "s": 2, "say": "slow"}, 30)
        time.sleep(0.2)
        assert several.request({"do": "sleep", "s": 0, "say": "quick"}, 30)["say"] == "quick"
        assert time.monotonic() - begin < 1.5
        assert slow.result()["say"] == "slow"


def test_a_crash_fails_all_requests_in_the_host_and_the_next_gets_another(several: Host) -> None:
    pid = several.request({"do": "sleep", "s": 0, "say": ""}, 30)["pid"]
    answers = at_once(several, {"do": "crash", "say": 1}, {"do": "sleep", "s": 20, "say": 2})
    assert answers == ["Fake: the host process ended with exit code 7"] * 2
    assert several.request({"do": "sleep", "s": 0, "say": ""}, 30)["pid"] != pid


def test_one_that_takes_too_long_takes_the_others_along_and_each_is_told_why(several: Host) -> None:
    several.request({"do": "sleep", "s": 0, "say": ""}, 30)
    with ThreadPoolExecutor() as threads:
        other = threads.submit(several.request, {"do": "sleep", "s": 20, "say": 2}, None)
        time.sleep(0.2)
        with pytest.raises(RunnerError, match=r"stopped after --chunk-timeout 0\.3 s"):
            several.request({"do": "hang", "say": 1}, 0.3)
        with pytest.raises(RunnerError, match="ended because another chunk in it took too long"):
            other.result()


def test_a_host_with_memory_for_fewer_serves_as_many_as_fit_and_says_so(script: Callable[..., list[str]]) -> None:
    host = Host(script(SEVERAL), {"FITS": "2"}, "Fake")
    try:
        answers = at_once(host, *({"do": "sleep", "s": 0.2, "say": number} for number in range(4)))
        assert [answer["say"] for answer in answers] == [0, 1, 2, 3]
        assert {answer["thread"] for answer in answers} == {1, 2}
        assert host.greeting["at_once"] == 2
        assert "CUDA out of memory" in host.greeting["why_fewer"]
    finally:
        host.close()


def test_a_host_without_memory_for_one_cannot_be_loaded(script: Callable[..., list[str]]) -> None:
    with pytest.raises(RunnerError, match="the model cannot be loaded: MemoryError"):
        Host(script(SEVERAL), {"FITS": "0"}, "Fake").request({"do": "sleep", "s": 0, "say": ""}, 30)


def test_serving_needs_the_standard_library_only() -> None:
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import badc.runners.process.serve"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
