"""The scripts under a real Slurm: what its tasks leave, how they end, and what a second submission does."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from badc.chunks.status import status_path
from badc.datasets.slurm.tasks import TaskRow
from badc.errors import ExitCode
from badc.system.row_files import read_plan
from badc.system.scratch import MARKER
from badc.telemetry.events import EventStatus, read_events
from tests.fakes.command_line import badc
from tests.flows.conftest import unended_starts
from tests.slurm.conftest import Slurm, TaskEnd

pytestmark = [pytest.mark.slow, pytest.mark.slurm]

BADC = (sys.executable, "-m", "flows")
DONE = TaskEnd("COMPLETED", 0)
JOB_NAME = "o'brien's \"job\" 100% $(touch pwned)"


@pytest.fixture
def write(tmp_path: Path, setup_with_server: Path) -> Callable[..., list[str]]:
    """Return a function that writes the scripts of the dataset in tmp_path, and returns the lines that submit them."""

    def call(*options: object) -> list[str]:
        words = ("infer", "orchestrate", tmp_path, "--slurm-setup", setup_with_server, *options)
        done = badc(*words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return [line for line in done.stdout.splitlines() if line.startswith(("sbatch ", "bash "))]

    return call


def events(root: Path, recording: str, status: EventStatus) -> list[str]:
    log = root / "artifacts/telemetry/infer" / f"{recording}.jsonl"
    return [event.chunk_id for event in read_events(log) if event.status is status]


def summary(root: Path, recording: str) -> dict:
    return json.loads((root / "artifacts/telemetry/infer" / f"{recording}.jsonl.summary.json").read_text())


def log_of(folder: Path, job: int, task: int | None = None, name: str = "badc-infer") -> str:
    return (folder / f"{name}_{job}{'' if task is None else f'_{task}'}.log").read_text()


def submit_again(text: str) -> str:
    return next(line for line in text.splitlines() if "submit it again with: " in line).partition("with: ")[2]


@pytest.mark.long
def test_an_array_of_hostile_names_fails_where_it_must_and_goes_on_where_it_ended(
    slurm: Slurm, write, make_dataset, fake, tmp_path
):
    good, bad, uncut = names = ("a good; $(touch pwned)", 'b o\'brien "é", [1]', "uncut")
    make_dataset(*names, seconds=4)
    logs = tmp_path / "logs [1] 100%"
    runner = fake("detector", "--fail-times", 1, "--only", "b o'brien", "--state", tmp_path / "attempts")
    what = ("--runner-cmd", runner, "--max-retries", 0, "--keep-going", "--slurm-bundle")
    how = ("--slurm-cpus-per-task", 8, "--slurm-mem", "64G", "--slurm-time", "01:00:00", "--slurm-gres", "gpu:1")
    where = ("--slurm-log-dir", logs, "--slurm-job-name", JOB_NAME, "--slurm-extra", "#SBATCH --comment='a b'")
    line = write(*what, *how, *where, "--slurm-script", tmp_path / "scripts" / "an array.sh")[-1]
    tasks = {r.recording_id: r.task for r in read_plan(tmp_path / "scripts" / "an array.tasks.csv", TaskRow)}
    status_path(tmp_path / "artifacts/chunks", uncut).write_text('{"status": "in_progress"}')
    assert slurm.call(*shlex.split(line.replace("sbatch", "sbatch --test-only", 1))).returncode == 0
    first = slurm.submit(line)

    assert slurm.ends(first) == {
        tasks[good]: DONE,
        tasks[bad]: TaskEnd("FAILED", 1),
        tasks[uncut]: TaskEnd("FAILED", ExitCode.CHUNKS_NOT_COMPLETED),
    }, [log_of(logs, first, task, JOB_NAME) for task in range(3)]
    assert "its chunk status is in_progress, not completed" in log_of(logs, first, tasks[uncut], JOB_NAME)
    assert len(events(tmp_path, good, EventStatus.SUCCESS)) == 4
    # Each task saw the one GPU that Slurm gave it.
    outputs = sorted((tmp_path / "artifacts/infer" / good).iterdir())
    seen = {json.loads(path.read_text())["detections"][0]["gpus"] for path in outputs}
    assert len(seen) == 1
    assert seen <= {"0", "1"}
    tables = tmp_path / "artifacts/aggregate"
    page = tables / f"{good}_report.html"
    assert page.exists()
    assert not list(tmp_path.rglob("pwned"))

    # The failed task says how it is submitted again; a done one does nothing at its second time.
    said = log_of(logs, first, tasks[bad], JOB_NAME)
    in_csv = bad.replace('"', '""')
    assert f'badc: task {tasks[bad]} ("{in_csv}") ended with exit code 1; ' in said
    assert "fails on purpose" in said  # what the command wrote last
    made_at = page.stat().st_mtime_ns
    again = slurm.submit(submit_again(said))
    once_more = slurm.submit(line.replace("sbatch", f"sbatch --array={tasks[good]}", 1))
    assert slurm.ends(again) == {tasks[bad]: DONE}
    assert slurm.ends(once_more) == {tasks[good]: DONE}
    assert page.stat().st_mtime_ns == made_at
    assert (tables / f"{bad}_report.html").exists()
    assert "Nothing to run: every recording is complete" in log_of(logs, once_more, tasks[good], JOB_NAME)
    attempts = {path.name: len(path.read_text().splitlines()) for path in (tmp_path / "attempts").iterdir()}
    assert sorted(attempts.values()) == [1] * 4 + [2] * 4
    assert summary(tmp_path, bad)["state"] == "completed"


@pytest.mark.long
def test_a_season_is_submitted_once_and_ends_with_what_failed(slurm: Slurm, write, make_dataset, fake, tmp_path):
    names = [f"REC_{n}" for n in range(5)]
    make_dataset(*names, seconds=3)
    runner = fake("detector", "--then", "crash", "--only", "REC_3", "--until", tmp_path / "mended")
    options = ("--runner-cmd", runner, "--max-retries", 0, "--slurm-hours-per-task", 6 / 3600)
    arrays = ("--slurm-max-array", 2, "--slurm-array-throttle", 1, "--bundle", "--bundle-rollup")
    (line,) = write(*options, *arrays, "--slurm-script", "jobs/birds.sh")
    rows = read_plan(tmp_path / "jobs/birds.tasks.csv", TaskRow)
    assert [row.task for row in rows] == [0, 0, 1, 1, 2]
    assert line.startswith("bash ")
    done = slurm.call("bash", "-c", line)
    assert done.returncode == 0, done.stderr
    *arrays_of, finish = [int(number) for number in re.findall(r"job (\d+):", done.stdout)]
    assert len(arrays_of) == 2
    status = (
        "infer",
        "orchestrate",
        tmp_path,
        *options,
        "--slurm-max-array",
        2,
        "--slurm-script",
        tmp_path / "jobs/birds.sh",
    )
    shown = slurm.call(*BADC, *status, "--slurm-status")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert re.search(r"^waiting\t[1-5]\t[1-3]\t", shown.stdout, re.MULTILINE), shown.stdout

    slurm.ends(finish)
    log = log_of(tmp_path / "jobs/logs", finish, name="badc-infer-finish")
    assert slurm.ends(arrays_of[0]) == {0: DONE, 1: TaskEnd("FAILED", 1)}, log
    assert slurm.ends(arrays_of[1]) == {0: DONE}
    assert "done\t4\t3\t0.0" in log, log
    assert re.search(r"^1\tREC_3\tfailed\t.*killed by signal 11", log, re.MULTILINE), log
    tables = tmp_path / "artifacts/aggregate"
    assert (tables / "aggregate_summary/label_summary.csv").exists()
    assert "4 recordings" in (tables / "detections_report.html").read_text()
    # The model of a task is loaded once; one recording of it does not keep the other from being done.
    assert len(list((tmp_path / "artifacts/infer/REC_2").iterdir())) == 3
    again = next(line for line in log.splitlines() if line.startswith("sbatch "))
    assert shlex.split(again) == ["sbatch", "--array=1", str(tmp_path / "jobs/birds.sh")]
    (tmp_path / "mended").touch()
    assert slurm.ends(slurm.submit(again)) == {1: DONE}
    shown = slurm.call(*BADC, *status, "--slurm-status")
    assert (shown.returncode, "sbatch" in shown.stdout) == (0, False), shown.stdout
    # A further plan has nothing to do, and leaves what is there.
    assert write(*options, "--slurm-script", "jobs/birds.sh") == []


def telemetry_with_a_success(dataset: Path) -> Path:
    """Wait until a chunk of the recording REC has been analysed; return its telemetry log."""
    telemetry = dataset / "artifacts/telemetry/infer/REC.jsonl"
    deadline = time.monotonic() + 300
    while not (telemetry.exists() and events(dataset, "REC", EventStatus.SUCCESS)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return telemetry


@pytest.mark.long
def test_a_task_that_slurm_tells_to_stop_ends_in_order(slurm: Slurm, write, make_dataset, fake, tmp_path):
    make_dataset("REC", seconds=30)
    line = write("--runner-cmd", fake("detector", "--seconds", 1), "--slurm-script", "array.sh")[-1]
    job = slurm.submit(line)
    telemetry = telemetry_with_a_success(tmp_path)
    # What --signal=B:TERM@… does before the time limit: the batch shell alone gets the signal.
    assert slurm.call("scancel", "--signal=TERM", "--batch", f"{job}_0").returncode == 0

    log = tmp_path / "logs"
    assert slurm.ends(job) == {0: TaskEnd("FAILED", 130)}, log_of(log, job, 0)
    assert summary(tmp_path, "REC")["state"] == "interrupted"
    assert unended_starts(telemetry) == []
    statuses = [entry["status"] for entry in summary(tmp_path, "REC")["jobs"].values()]
    done = events(tmp_path, "REC", EventStatus.SUCCESS)
    assert statuses.count("success") == len(done) < 30
    assert "not_run" in statuses
    # By itself, a job that is submitted again does the rest.
    job = slurm.submit(submit_again(log_of(log, job, 0)))
    assert slurm.ends(job) == {0: DONE}, log_of(log, job, 0)
    assert len(events(tmp_path, "REC", EventStatus.SUCCESS)) == 30


@pytest.mark.long
def test_tasks_read_copies_on_their_node_which_go_even_after_a_kill(
    slurm: Slurm, write, setup_with_server, make_dataset, fake, tmp_path
):
    make_dataset("REC", seconds=20)
    node = tmp_path / "a node's disk"
    site = f"export SLURM_TMPDIR={shlex.quote(str(node))}\n"
    setup_with_server.write_text(setup_with_server.read_text() + site)
    line = write("--runner-cmd", fake("detector", "--seconds", 1), "--slurm-stage", "--slurm-script", "array.sh")[-1]
    job = slurm.submit(line)
    telemetry = telemetry_with_a_success(tmp_path)
    (copy,) = node.glob("badc-*/*/0/REC.wav")
    marker = json.loads((copy.parents[2] / MARKER).read_text())
    os.kill(marker["pid"], signal.SIGKILL)
    assert slurm.ends(job) == {0: TaskEnd("FAILED", 137)}
    assert copy.exists()

    # What is done is not done again; the copy of the killed task goes.
    done = events(tmp_path, "REC", EventStatus.SUCCESS)
    assert 0 < len(done) < 20, "their results were in the dataset at once"
    job = slurm.submit(line)
    assert slurm.ends(job) == {0: DONE}, log_of(tmp_path / "logs", job, 0)
    assert len(set(events(tmp_path, "REC", EventStatus.SUCCESS))) == 20
    assert [path.name for path in node.iterdir() if path.name.startswith("badc-")] == []
    written = [path.read_text() for path in (tmp_path / "artifacts/infer/REC").iterdir()]
    written += [telemetry.read_text(), telemetry.with_name("REC.jsonl.summary.json").read_text()]
    assert all("a node's disk" not in text for text in written), "only the original is named"
    assert "audio/REC.wav" in written[0]


@pytest.mark.long
def test_a_task_without_the_gpu_that_it_asked_for_says_so(
    slurm: Slurm, write, make_dataset, setup_with_server, tmp_path
):
    make_dataset("REC", seconds=2)
    setup_with_server.write_text(setup_with_server.read_text() + "export FAKE_NVML_GPUS=0\n")
    options = ("--stub-runner", "--slurm-gres", "gpu:1", "--slurm-script", "array.sh")
    job = slurm.submit(write(*options)[-1])
    assert slurm.ends(job) == {0: TaskEnd("FAILED", 2)}
    assert "the task asked Slurm for gpu:1 and can use no GPU on" in log_of(tmp_path / "logs", job, 0)
    job = slurm.submit(write(*options, "--slurm-allow-cpu")[-1])
    assert slurm.ends(job) == {0: DONE}, log_of(tmp_path / "logs", job, 0)
    assert sorted(path.name for path in tmp_path.glob("array*.sh")) == [
        *("array-2.finish.sh", "array-2.sh", "array-2.submit.sh"),
        *("array.finish.sh", "array.sh", "array.submit.sh"),
    ]


@pytest.mark.long
def test_one_job_runs_a_dataset_on_the_workers_of_several_nodes(slurm: Slurm, write, make_dataset, fake, tmp_path):
    make_dataset("two words", seconds=6)
    runner = fake("detector", "--seconds", 0.5, "--fail-times", 1, "--only", "_5000_", "--state", tmp_path / "attempts")
    how = ("--slurm-job-name", "dask", "--slurm-nodes", 2, "--slurm-gres", "gpu:1", "--max-retries", 0, "--keep-going")
    (line,) = write("--runner-cmd", runner, *how, "--include-existing", "--slurm-dask", "on dask.sh")
    job = slurm.submit(line)

    assert slurm.ends(job) == {0: TaskEnd("FAILED", 1)}, log_of(tmp_path / "logs", job, name="dask")
    log = log_of(tmp_path / "logs", job, name="dask")
    assert len(events(tmp_path, "two words", EventStatus.SUCCESS)) == 5
    telemetry = tmp_path / "artifacts/telemetry/infer/two words.jsonl"
    assert {event.worker for event in read_events(telemetry)} <= {"gpu-0", "gpu-1"}
    assert shlex.split(submit_again(log.splitlines()[-1])) == shlex.split(line)
    assert "--scheduler" not in log
    assert " - INFO - " not in log
    # What exists already is replaced once, and not by each submission.
    job = slurm.submit(line)
    assert slurm.ends(job) == {0: DONE}, log_of(tmp_path / "logs", job, name="dask")
    assert len(events(tmp_path, "two words", EventStatus.SUCCESS)) == 6
    assert len(list((tmp_path / "logs").iterdir())) == 2


def test_the_lines_of_the_manual_make_an_array_that_slurm_takes(slurm: Slurm, make_dataset, tmp_path):
    """Those of docs/hpc.md: write the array, and ask Slurm whether some node could run it."""
    make_dataset("o'brien 1", "é [2]")
    script = tmp_path / "jobs" / "birds.sh"
    for gpus, answer in (("gpu:1", "to start at"), ("gpu:9", "Requested node configuration is not available")):
        words = ["infer", "orchestrate", tmp_path, "--sockeye-script", "jobs/birds.sh", "--sockeye-gres", gpus]
        words += ["--sockeye-resume-completed", "--sockeye-bundle", "--sockeye-time", "06:00:00", "--slurm-mem", "32G"]
        done = badc(*words, "--stub-runner", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert shlex.join(["sbatch", str(script)]) in done.stdout.splitlines()
        assert (tmp_path / "jobs" / "logs").is_dir()
        assert answer in slurm.call("sbatch", "--test-only", script).stderr
        script = script.with_stem("birds-2")
    assert "--array=0-1\n" in script.with_stem("birds").read_text()
