"""What hangs: schedulers, workers and Prefect servers that accept connections and say nothing. Every run still ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import psutil
import pytest

from badc.errors import RequestError
from badc.inference.settings import InferSettings
from badc.telemetry.events import EventStatus
from tests.conftest import FAKES
from tests.flows.conftest import read_summary, unended_starts
from tests.flows.test_infer_ends import family, gone, successes, wait_until
from tests.flows.test_infer_joined import events, worker_words

pytestmark = pytest.mark.slow


def _join(address: str) -> None:
    from tasks.workers.cluster import open_cluster

    with open_cluster(InferSettings(manifest=Path("m.csv"), scheduler=address)):
        pass


@pytest.fixture
def short_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the wait for a scheduler's answer be short."""
    import tasks.workers.scheduler

    monkeypatch.setattr(tasks.workers.scheduler, "_CONNECT_TIMEOUT_S", 2)


def test_a_port_that_accepts_and_says_nothing_is_no_scheduler(short_handshake: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(RequestError, match="did not answer as a Dask scheduler in 2 s") as caught:
            _join(f"tcp://127.0.0.1:{port}")
    assert f"--scheduler tcp://127.0.0.1:{port}:" in str(caught.value)


@pytest.mark.parametrize(
    "begin", [b"", pytest.param(struct.pack("<Q", 50_000), marks=pytest.mark.long), b"HTTP/1.1 200 OK\r\n"]
)
def test_a_port_that_never_ends_its_answer_is_no_scheduler(short_handshake: None, begin: bytes) -> None:
    def trickle(connection: socket.socket) -> None:
        with suppress(OSError):
            connection.sendall(begin)
            while True:
                connection.sendall(b"x")
                time.sleep(0.2)

    def serve() -> None:
        with suppress(OSError):
            while True:
                Thread(target=trickle, args=(server.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        Thread(target=serve, daemon=True).start()
        began = time.monotonic()
        with pytest.raises(RequestError):
            _join(f"tcp://127.0.0.1:{server.getsockname()[1]}")
        assert time.monotonic() - began < 15


def test_a_web_server_is_no_scheduler_and_is_named(short_handshake: None) -> None:
    class Handler(BaseHTTPRequestHandler):
        server_version = "Weather/1"

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    with pytest.raises(RequestError, match=r"an HTTP server answers there \(Weather/1"):
        _join(f"tcp://127.0.0.1:{server.server_port}")
    server.shutdown()


def test_a_worker_and_a_scheduler_that_speaks_tls_are_told_apart(without_certificates: None) -> None:
    from distributed import LocalCluster

    from tasks.workers.cluster import open_cluster

    with LocalCluster(n_workers=1, processes=False, dashboard_address="127.0.0.1:0", protocol="tcp") as cluster:
        _join(cluster.scheduler_address)
        with pytest.raises(RequestError, match="a Dask Worker answers there, not a scheduler"):
            _join(cluster.workers[0].worker_address)
    with open_cluster(InferSettings(manifest=Path("m.csv"), max_gpus=0)) as ours:
        with pytest.raises(RequestError, match="is it one of tls://"):
            _join(ours.address.replace("tls://", "tcp://"))
        with pytest.raises(RequestError, match="no certificates for tls://"):
            _join(ours.address)


def test_a_scheduler_may_be_named_by_its_file(tmp_path: Path, without_certificates: None) -> None:
    from distributed import LocalCluster

    path = tmp_path / "scheduler.json"
    with LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0", protocol="tcp") as cluster:
        path.write_text(json.dumps(cluster.scheduler.identity()))
        _join(str(path))
    with pytest.raises(RequestError, match=r"tcp://127.0.0.1:\d+: no Dask scheduler answers there"):
        _join(str(path))


@pytest.mark.parametrize("text", ["", "[]", '{"address": 5', "5", '{"workers": {}}', "[" * 200_000])
def test_a_file_that_is_no_schedulers_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(RequestError, match=r"s\.json: not the file of a scheduler"):
        _join(str(tmp_path / "s.json"))


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        ("ucx://127.0.0.1:8786", "needs the package distributed-ucxx"),
        ("127.0.0.1:8786", "neither an address, which is written tcp://host:port, nor a scheduler's file"),
        ("missing.json", "nor a scheduler's file"),
        ("a" * 300, "nor a scheduler's file"),
        ("tcp://[::1", "not an address .*; it is written tcp://host:port"),
    ],
)
def test_what_cannot_be_joined_is_answered_in_words(given: str, answer: str) -> None:
    with pytest.raises(RequestError, match=answer):
        _join(given)


@pytest.mark.long
def test_a_run_at_a_port_that_is_no_scheduler_ends_with_2(badc, make_recording, make_manifest) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        process = badc("infer", "run", make_manifest(make_recording()), "--scheduler", address)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "did not answer as a Dask scheduler in 10 s" in err
    assert "Traceback" not in err


@pytest.mark.long
def test_two_signals_end_a_run_whose_scheduler_hangs(
    badc, dask, frozen, make_recording, make_manifest, fake, tmp_path
) -> None:
    scheduler_file = tmp_path / "scheduler.json"
    scheduler = dask(
        "scheduler", "--host", "127.0.0.1", "--port", 0, "--no-dashboard", "--scheduler-file", scheduler_file
    )
    wait_until(scheduler_file.exists)
    dask(*worker_words(scheduler_file))
    log = tmp_path / "run.jsonl"
    process = badc(
        *("infer", "run", make_manifest(make_recording(seconds=20)), "--output-dir", "out", "--telemetry-log", log),
        *("--runner-cmd", fake("detector", "--seconds", 0.5), "--grace-period", 600),
        *("--scheduler", json.loads(scheduler_file.read_text())["address"]),
    )
    wait_until(lambda: len(events(log, EventStatus.SUCCESS)) >= 2)
    frozen(psutil.Process(scheduler.pid))
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    time.sleep(2)
    assert process.poll() is None, "running chunks have their grace period"
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - begin < 12  # 5 s on a quiet machine

    assert process.returncode == 130, err
    assert read_summary(log)["state"] == "interrupted"
    assert unended_starts(log) == []
    assert "Resume with: badc infer run" in err
    assert "Traceback" not in err


@pytest.mark.long
def test_the_last_resort_closes_the_books_and_leaves_nothing_behind(
    badc, make_recording, make_manifest, fake, tmp_path
) -> None:
    """The flow's own thread hangs for good (see tests/fakes/hanging)."""
    log = tmp_path / "run.jsonl"
    process = badc(
        *("infer", "run", make_manifest(make_recording(seconds=20)), "--output-dir", "out", "--telemetry-log", log),
        *("--runner-cmd", fake("detector", "--seconds", 0.5), "--grace-period", 600),
        PYTHONPATH=str(FAKES / "hanging"),
    )
    wait_until(lambda: len(events(log, EventStatus.SUCCESS)) >= 2)
    children = family(process)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(1)
    begin = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - begin < 12
    assert process.returncode == 130, err
    assert "ended by force" in err
    assert read_summary(log)["state"] == "interrupted"
    assert unended_starts(log) == []
    assert "Resume with: badc infer run" in err
    wait_until(lambda: gone(children), 10)


def test_a_result_that_was_reported_is_not_waited_for(prefect_api, monkeypatch) -> None:
    """The worker freezes as it hands over its result."""
    from distributed import LocalCluster
    from prefect import flow, task
    from prefect.cache_policies import NO_CACHE

    import tasks.workers.task_runner
    from tasks.workers.task_runner import ChunkTaskRunner
    from tests.fakes.bodies import frozen_result

    monkeypatch.setattr(tasks.workers.task_runner, "_RESULT_PATIENCE_S", 1.0)
    body = task(frozen_result, cache_policy=NO_CACHE, persist_result=False)

    def around(on_worker, path):
        reported = lambda: "reported" if Path(path).exists() else None  # noqa: E731
        return on_worker.bound(None, (), reported, lambda: path)(path)

    @flow
    def once(address: str, path: str) -> str:
        with ChunkTaskRunner(address=address, around=around) as runner:
            return runner.submit(body, {"path": path}).result()

    path = Path(os.environ["PREFECT_HOME"]) / "frozen-worker.pid"
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        begin = time.monotonic()
        try:
            assert once(cluster.scheduler_address, str(path)) == "reported"
            assert time.monotonic() - begin < 30
        finally:
            os.kill(int(path.read_text()), signal.SIGKILL)


@pytest.mark.long
@pytest.mark.parametrize("in_a_hurry", [False, True])
def test_a_prefect_server_that_hangs_holds_up_the_end_for_half_a_minute_at_most(
    badc, frozen, make_recording, make_manifest, fake, tmp_path, in_a_hurry
) -> None:
    log = tmp_path / "run.jsonl"
    process = badc(
        *("infer", "run", make_manifest(make_recording(seconds=3)), "--output-dir", "out", "--telemetry-log", log),
        *("--runner-cmd", fake("detector", "--seconds", 2)),
        PREFECT_API_URL="",
        PREFECT_HOME=str(tmp_path / "prefect"),
    )
    wait_until(lambda: len(successes(log)) >= 1)
    children = family(process)
    (server,) = [child for child in children if "flows.server.app" in child.cmdline()]
    frozen(server)
    wait_until(lambda: len(successes(log)) == 3)
    begin = time.monotonic()
    if in_a_hurry:
        time.sleep(3)
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert time.monotonic() - begin < (15 if in_a_hurry else 45)
    assert process.returncode == 0, err
    assert "Waiting for Prefect to note how the run ended" in err
    assert "Prefect does not answer any more" in err
    assert "completed: 3/3 chunks" in out
    assert read_summary(log)["state"] == "completed"
    wait_until(lambda: gone(children), 10)
