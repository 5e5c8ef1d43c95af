"""The scripts under a real Slurm: what its tasks leave, how they end, and what a second submission does."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from badc.datasets.slurm.array_script import write_array_scripts
from badc.datasets.slurm.dask_script import write_dask_script
from badc.datasets.slurm.settings import SlurmSettings
from badc.errors import ExitCode
from badc.telemetry.events import EventStatus, read_events
from tests.flows.conftest import unended_starts
from tests.slurm.conftest import TaskEnd

pytestmark = [pytest.mark.slow, pytest.mark.slurm]

DONE = TaskEnd("COMPLETED", 0)
JOB_NAME = "o'brien's \"job\" 100% $(touch pwned)"


def log_of(settings: SlurmSettings, job: int, task: int) -> str:
    return (settings.slurm_log_dir / f"{settings.slurm_job_name}_{job}_{task}.log").read_text()


def events(log: Path, status: EventStatus) -> list[str]:
    return [event.chunk_id for event in read_events(log) if event.status is status]


def summary(log: Path) -> dict:
    return json.loads(log.with_name(f"{log.name}.summary.json").read_text())


@pytest.mark.long
def test_an_array_of_hostile_names_fails_where_it_must_and_goes_on_where_it_ended(
    slurm, setup_file, make_task, fake, tmp_path
):
    good = make_task("two words; $(touch pwned)", fake("detector"))
    bad = make_task(
        'o\'brien "é" [1]',
        fake("detector", "--fail-times", 1, "--only", "_2000_", "--state", tmp_path / "attempts"),
        max_retries=0,
        keep_going=True,
    )
    uncut = make_task("uncut", fake("detector"))
    (tmp_path / uncut.chunk_status_path).write_text('{"status": "in_progress"}')
    settings = SlurmSettings(
        slurm_script=tmp_path / "scripts" / "an array.sh",
        slurm_job_name=JOB_NAME,
        slurm_gres="gpu:1",
        slurm_cpus_per_task=8,
        slurm_mem="64G",
        slurm_time="01:00:00",
        slurm_log_dir=tmp_path / "logs [1] 100%",
        slurm_resume_completed=True,
        slurm_bundle=True,
        slurm_setup=setup_file,
        slurm_array_throttle=2,
        slurm_extra=("#SBATCH --comment='a b'",),
    )
    (script,) = write_array_scripts(settings, [good, bad, uncut], tmp_path)
    assert slurm.call(*shlex.split(script.submit_line.replace("sbatch", "sbatch --test-only", 1))).returncode == 0
    first = slurm.submit(script.submit_line)
    ends = slurm.ends(first)

    assert ends == {
        0: DONE,
        1: TaskEnd("FAILED", 1),
        2: TaskEnd("FAILED", ExitCode.CHUNKS_NOT_COMPLETED),
    }, [log_of(settings, first, task) for task in range(3)]
    assert "the chunk status of uncut is in_progress, not completed" in log_of(settings, first, 2)
    good_log, bad_log = tmp_path / good.telemetry_log, tmp_path / bad.telemetry_log
    assert len(events(good_log, EventStatus.SUCCESS)) == 4
    gpus = {event.gpu_index for event in read_events(good_log)} | {event.gpu_index for event in read_events(bad_log)}
    assert gpus <= {0, 1}
    # Each task saw the one GPU that Slurm gave it.
    outputs = sorted((tmp_path / good.recording_output_dir).iterdir())
    assert len(outputs) == 4
    seen = {json.loads(path.read_text())["detections"][0]["gpus"] for path in outputs}
    assert len(seen) == 1
    assert seen <= {"0", "1"}
    assert sorted(path.name for path in (tmp_path / "artifacts/infer").iterdir()) == sorted(
        [good.recording_id, bad.recording_id]
    )
    tables = tmp_path / "artifacts/aggregate"
    assert (tables / f"{good.recording_id}.duckdb").exists()
    assert (tables / f"{good.recording_id}_report.html").exists()
    assert not (tables / f"{bad.recording_id}.parquet").exists()
    assert not list(tmp_path.rglob("pwned"))

    # The failed task says how it is submitted again; a done one does nothing at its second time.
    line = next(line for line in log_of(settings, first, 1).splitlines() if "submit it again with: " in line)
    before = good_log.read_bytes()
    made_at = (tables / f"{good.recording_id}.duckdb").stat().st_mtime_ns
    again = slurm.submit(line.partition("submit it again with: ")[2])
    once_more = slurm.submit(script.submit_line.replace("sbatch", "sbatch --array=0", 1))
    assert slurm.ends(again) == {1: DONE}
    assert slurm.ends(once_more) == {0: DONE}
    assert good_log.read_bytes() == before
    assert (tables / f"{good.recording_id}.duckdb").stat().st_mtime_ns == made_at
    assert (tables / f"{bad.recording_id}.duckdb").exists()
    assert "nothing to run" in log_of(settings, once_more, 0)
    attempts = {path.name: len(path.read_text().splitlines()) for path in (tmp_path / "attempts").iterdir()}
    assert sorted(attempts.values()) == [1, 1, 1, 2]
    assert summary(bad_log)["state"] == "completed"
    assert len(events(bad_log, EventStatus.SKIPPED)) == 3


@pytest.mark.long
def test_a_task_that_slurm_tells_to_stop_ends_in_order(slurm, setup_with_server, make_task, fake, tmp_path):
    task = make_task("REC", fake("detector", "--seconds", 1), seconds=30)
    settings = SlurmSettings(
        slurm_script=tmp_path / "array.sh", slurm_log_dir=tmp_path / "logs", slurm_setup=setup_with_server
    )
    (script,) = write_array_scripts(settings, [task], tmp_path)
    job = slurm.submit(script.submit_line)
    log = tmp_path / task.telemetry_log
    deadline = time.monotonic() + 300
    while not (log.exists() and events(log, EventStatus.SUCCESS)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    # What --signal=B:TERM@… does before the time limit: the batch shell alone gets the signal.
    assert slurm.call("scancel", "--signal=TERM", "--batch", f"{job}_0").returncode == 0

    assert slurm.ends(job) == {0: TaskEnd("FAILED", 130)}, log_of(settings, job, 0)
    assert summary(log)["state"] == "interrupted"
    assert unended_starts(log) == []
    statuses = [entry["status"] for entry in summary(log)["jobs"].values()]
    assert statuses.count("success") == len(events(log, EventStatus.SUCCESS)) < 30
    assert "not_run" in statuses
    assert "submit it again with: sbatch --array=0 " in log_of(settings, job, 0)


@pytest.mark.long
def test_one_job_runs_a_command_on_the_workers_of_several_nodes(slurm, setup_with_server, make_task, fake, tmp_path):
    task = make_task("two words", fake("detector", "--seconds", 0.5), seconds=6)
    settings = SlurmSettings(
        slurm_dask=tmp_path / "on dask.sh",
        slurm_job_name="dask",
        slurm_nodes=2,
        slurm_gres="gpu:1",
        slurm_log_dir=tmp_path / "logs",
        slurm_setup=setup_with_server,
    )
    script = write_dask_script(settings, task.infer_words, tmp_path)
    job = slurm.submit(script.submit_line)
    log = tmp_path / task.telemetry_log

    assert slurm.ends(job) == {0: DONE}, (tmp_path / "logs" / f"dask_{job}.log").read_text()
    assert len(events(log, EventStatus.SUCCESS)) == 6
    assert {event.worker for event in read_events(log)} <= {"gpu-0", "gpu-1"}
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == [f"dask_{job}.log"]


def test_the_lines_of_the_manual_make_an_array_that_slurm_takes(slurm, make_task, fake, tmp_path):
    """Those of docs/hpc.md: write the array, and ask Slurm whether some node could run it."""
    for name in ("o'brien 1", "é [2]"):
        make_task(name, fake("detector"))

    def orchestrate(gpus: str) -> subprocess.CompletedProcess[str]:
        words = ["infer", "orchestrate", tmp_path, "--sockeye-script", "jobs/birds.sh", "--sockeye-gres", gpus]
        words += ["--sockeye-resume-completed", "--sockeye-bundle", "--sockeye-time", "06:00:00", "--slurm-mem", "32G"]
        command = [sys.executable, "-m", "flows", *map(str, words)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    script = tmp_path / "jobs" / "birds.sh"
    for gpus, answer in (("gpu:1", "to start at"), ("gpu:9", "Requested node configuration is not available")):
        done = orchestrate(gpus)
        assert done.returncode == 0, done.stderr
        assert shlex.join(["sbatch", str(script)]) in done.stdout.splitlines()
        assert (tmp_path / "jobs" / "logs").is_dir()
        assert answer in slurm.call("sbatch", "--test-only", script).stderr
    assert "--array=0-1\n" in script.read_text()
