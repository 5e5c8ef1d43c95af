"""Looking after a Prefect server's database: what is counted, what is deleted, and what stays."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from badc.errors import RequestError

pytestmark = pytest.mark.slow
FOUR_TASKS = 4


def badc(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flows", *words],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=180,
    )


def run_with_tasks() -> str:
    """Run a flow of four tasks on the session's server; return the id of its run once the server has everything."""
    import time

    from prefect import flow, task
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    @task(persist_result=False)
    def work(number: int) -> int:
        return number

    @flow(name="small", persist_result=False)
    def small() -> str:
        from prefect.runtime import flow_run

        for number in range(FOUR_TASKS):
            work(number)
        return str(flow_run.id)

    run_id: str = small()
    end = time.monotonic() + 30
    with get_client(sync_client=True) as client:
        this = FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))
        while not all(run.state_name == "Completed" for run in client.read_task_runs(flow_run_filter=this)) or (
            len(client.read_task_runs(flow_run_filter=this)) < FOUR_TASKS
        ):
            assert time.monotonic() < end
            time.sleep(0.2)
    return run_id


@pytest.fixture
def database(prefect_api: str) -> Iterator[Callable[..., Any]]:
    """Return a function that asks the session's server's own database something."""
    connection = sqlite3.connect(Path(os.environ["PREFECT_HOME"]) / "prefect.db", timeout=60)

    def ask(sql: str, *values: Any) -> Any:
        rows = connection.execute(sql, values).fetchall()
        connection.commit()
        return rows

    yield ask
    connection.close()


def move_into_the_past(ask: Callable[..., Any], run_id: str) -> None:
    ask("UPDATE flow_run SET end_time = datetime(end_time, '-40 days') WHERE id = ?", run_id)
    like = f"%{run_id}%"
    ask("UPDATE events SET occurred = datetime(occurred, '-40 days') WHERE related_resource_ids LIKE ?", like)
    ask(
        "UPDATE event_resources SET occurred = datetime(occurred, '-40 days') WHERE event_id IN "
        "(SELECT id FROM events WHERE related_resource_ids LIKE ?)",
        like,
    )


@pytest.mark.long
def test_old_runs_are_cleared_and_younger_ones_stay(prefect_api: str, database: Callable[..., Any]) -> None:
    old, young = run_with_tasks(), run_with_tasks()
    move_into_the_past(database, old)

    def tasks_of(run_id: str) -> int:
        return int(database("SELECT count(*) FROM task_run WHERE flow_run_id = ?", run_id)[0][0])

    only_counted = badc("server", "prune", "--older-than", "30d", "--dry-run", PREFECT_API_URL=prefect_api)
    assert only_counted.returncode == 0, only_counted.stderr
    assert only_counted.stdout.startswith("1 finished run; to delete: ")
    assert f", {FOUR_TASKS} task runs, " in only_counted.stdout
    assert tasks_of(old) == FOUR_TASKS

    # The server goes on running meanwhile.
    done = badc("server", "prune", "--older-than", "30d", PREFECT_API_URL=prefect_api)
    assert done.returncode == 0, done.stderr
    assert f"{FOUR_TASKS} task runs" in done.stdout
    assert "MiB before, " in done.stdout
    assert (tasks_of(old), tasks_of(young)) == (0, FOUR_TASKS)
    assert database("SELECT count(*) FROM task_run_state WHERE task_run_id NOT IN (SELECT id FROM task_run)") == [(0,)]
    assert database("SELECT count(*) FROM flow_run WHERE id = ?", old) == [(1,)]
    assert database("SELECT count(*) FROM events WHERE occurred < datetime('now', '-30 days')") == [(0,)]
    assert database("SELECT count(*) FROM events WHERE related_resource_ids LIKE ?", f"%{young}%") != [(0,)]

    gone = badc("server", "prune", "--older-than", "30d", "--flow-runs", "--no-vacuum", PREFECT_API_URL=prefect_api)
    assert gone.returncode == 0, gone.stderr
    assert "1 flow runs" in gone.stdout
    assert database("SELECT count(*) FROM flow_run WHERE id IN (?, ?)", old, young) == [(1,)]
    assert run_with_tasks(), "the server still takes runs"


@pytest.mark.long
def test_subflow_runs_stay_those_of_their_run(prefect_api: str, database: Callable[..., Any]) -> None:
    from prefect import flow

    @flow(name="recording", persist_result=False)
    def recording() -> str:
        from prefect.runtime import flow_run

        return str(flow_run.id)

    @flow(name="dataset", persist_result=False)
    def dataset() -> tuple[str, str]:
        from prefect.runtime import flow_run

        return str(flow_run.id), recording()

    parent, child = dataset()
    for run_id in (parent, child):
        move_into_the_past(database, run_id)
    tied = (
        "SELECT count(*) FROM flow_run JOIN task_run ON task_run.id = flow_run.parent_task_run_id WHERE flow_run.id = ?"
    )
    assert database(tied, child) == [(1,)]
    done = badc("server", "prune", "--older-than", "30d", "--no-vacuum", PREFECT_API_URL=prefect_api)
    assert done.returncode == 0, done.stderr
    assert database(tied, child) == [(1,)]
    done = badc("server", "prune", "--older-than", "30d", "--flow-runs", "--no-vacuum", PREFECT_API_URL=prefect_api)
    assert done.returncode == 0, done.stderr
    assert database("SELECT count(*) FROM flow_run WHERE id IN (?, ?)", parent, child) == [(0,)]
    assert database("SELECT count(*) FROM task_run WHERE flow_run_id = ?", parent) == [(0,)]


def test_the_status_counts_what_is_there(prefect_api: str, database: Callable[..., Any]) -> None:
    run_with_tasks()
    done = badc("server", "status", "--json", PREFECT_API_URL=prefect_api)
    assert done.returncode == 0, done.stderr
    status = json.loads(done.stdout)
    assert (status["api"], status["answers"]) == (prefect_api, True)
    assert status["rows"]["task runs"] == database("SELECT count(*) FROM task_run")[0][0] >= FOUR_TASKS
    assert status["flow_runs"]["COMPLETED"] >= 1
    assert status["size_bytes"] > 1_000_000


@pytest.mark.long
def test_the_database_of_another_server_is_not_touched(prefect_api: str, tmp_path: Path) -> None:
    run_with_tasks()
    environment = {"PREFECT_HOME": str(tmp_path), "PREFECT_API_URL": ""}
    made = subprocess.run(
        [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert made.returncode == 0, made.stderr
    done = badc("server", "prune", PREFECT_HOME=str(tmp_path), PREFECT_API_URL=prefect_api)
    assert done.returncode == 2
    assert f"not the database of the server at {prefect_api}" in done.stderr
    sqlite3.connect(tmp_path / "prefect.db").execute(
        "UPDATE alembic_version SET version_num = 'abc'"
    ).connection.commit()
    done = badc("server", "status", PREFECT_HOME=str(tmp_path), PREFECT_API_URL="")
    assert done.returncode == 2
    assert "made by another version of Prefect (abc, here " in done.stderr


def test_no_database_is_a_clear_error(tmp_path: Path) -> None:
    done = badc("server", "status", PREFECT_HOME=str(tmp_path), PREFECT_API_URL="")
    assert done.returncode == 2
    assert "no such database; run this on the machine of the Prefect server" in done.stderr


@pytest.mark.parametrize(
    ("text", "length"), [("30d", timedelta(days=30)), ("12h", timedelta(hours=12)), (" 4w", timedelta(weeks=4))]
)
def test_an_age_is_a_number_and_a_unit(text: str, length: timedelta) -> None:
    from flows.server.prune import age

    assert age(text) == length


@pytest.mark.parametrize("text", ["30", "d", "-3d", "1.5d", "3 months", ""])
def test_what_is_no_age_is_refused(text: str) -> None:
    from flows.server.prune import age

    with pytest.raises(RequestError, match="30d is thirty days"):
        age(text)


@pytest.mark.parametrize("text", ["999999999999w", "5000000d", "900000w"])
def test_an_age_before_all_time_is_refused(text: str) -> None:
    from flows.server.prune import age

    with pytest.raises(RequestError, match=f"--older-than {text}: that is further back than dates go"):
        age(text)


@pytest.mark.long
def test_postgresql_is_pruned_too(postgresql: str, make_recording: Any, make_manifest: Any, tmp_path: Path) -> None:
    manifest = make_manifest(make_recording(seconds=6))
    environment = {
        "PREFECT_API_DATABASE_CONNECTION_URL": postgresql,
        "PREFECT_HOME": str(tmp_path / "home"),
        "PREFECT_API_URL": "",
    }
    done = badc("infer", "run", str(manifest), "--output-dir", str(tmp_path / "out"), **environment)
    assert done.returncode == 0, done.stderr
    status = badc("server", "status", "--json", **environment)
    assert status.returncode == 0, status.stderr
    found = json.loads(status.stdout)
    assert found["database"].startswith("postgresql: postgresql+asyncpg://badc:***@")
    assert found["rows"]["task runs"] == 6
    pruned = badc("server", "prune", "--older-than", "0m", **environment)
    assert pruned.returncode == 0, pruned.stderr
    assert "6 task runs" in pruned.stdout
    assert "VACUUM FULL" in pruned.stderr
    assert json.loads(badc("server", "status", "--json", **environment).stdout)["rows"]["task run states"] == 0
