"""Job scripts of a plan: what their jobs do is what the plan says, from any folder, and once."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from badc.chunks.manifest import read_manifest
from badc.datasets.inference.recording import InferDecision
from badc.datasets.inference.scripts import write_slurm_scripts
from badc.datasets.inference.speed import hours_per_task, seen_speed
from badc.datasets.slurm.tasks import TaskRow
from badc.errors import RequestError
from badc.system.row_files import read_plan
from badc.telemetry.summary import Job, JobStatus, RunSummary, summary_path, write_summary
from tests.badc.datasets.inference.conftest import plan, write_outputs


def words_of(script: Path) -> list[str]:
    """Return the words of badc that a script runs."""
    (line,) = [line for line in script.read_text().splitlines() if line.startswith("run_badc infer ")]
    return shlex.split(line.partition(" || ")[0])[1:]


def test_the_rule_of_stations_is_that_of_the_whole_dataset(
    dataset: Callable[..., Path], make_audio: Callable[..., Path]
) -> None:
    root = dataset("SiteA/REC_1_20230509_050000")
    make_audio("ds/audio/SiteB/REC_1_20230509_050000.wav")
    made = plan(root, allow_partial_chunks=True, slurm_script=root / "job.sh", slurm_bundle=True)
    assert (made.layout, made.places[0]) == (
        "name",
        "stations are read from the file names, else the folders (--layout name): 1 station in 1 study area: REC_1",
    )
    write_slurm_scripts(made)
    words = words_of(root / "job.sh")
    assert words[words.index("--layout") + 1] == "name"
    assert "--bundle" in words
    template = "{station}/{name}"
    again = {"layout": template, "sites": Path("my sites.csv")}
    made = plan(root, allow_partial_chunks=True, slurm_script=root / "job.sh", slurm_bundle=True, **again)
    assert made.places[0].endswith("the template --layout '{station}/{name}': 1 station: SiteA")
    with pytest.raises(RequestError, match=r"my sites\.csv: no such CSV of sites"):
        write_slurm_scripts(made)
    (root / "my sites.csv").write_text("station,latitude,longitude\nSiteA,62,-114\n")
    write_slurm_scripts(made)
    words = words_of(root / "job-2.sh")
    assert words[words.index("--sites") + 1] == "my sites.csv"
    assert words[words.index("--layout") + 1] == template


def test_the_slurm_array_has_a_task_for_each_recording_to_run(dataset: Callable[..., Path], tmp_path: Path) -> None:
    root = dataset("o'brien $(x)", "whole")
    write_outputs(root, "whole", 3)
    streaming = {"fetch_ahead": 2, "drop_after": True, "disk_limit": "1M"}
    made = plan(root, slurm_script=tmp_path / "job.sh", slurm_gres="gpu:1", max_retries=1, **streaming)
    (written,) = write_slurm_scripts(made)
    assert written.tasks == 1
    words = words_of(written.path)
    assert words[:3] == ["infer", "orchestrate", str(root)]
    assert {"--stub-runner", "--resume-completed", "--no-record-datalad", "--apply"} < set(words)
    assert words[words.index("--max-retries") + 1] == "1"
    at = words.index("--fetch-ahead")
    assert words[at : at + 5] == ["--fetch-ahead", "2", "--drop-after", "--disk-limit", "1M"]
    (row,) = read_plan(written.tasks_path, TaskRow)
    assert (row.manifest_path, row.telemetry_log) == (
        "manifests/o'brien $(x).csv",
        "artifacts/telemetry/infer/o'brien $(x).jsonl",
    )
    # A task is a plan of its own.
    of_task = plan(root, chunk_plan=written.tasks_path, slurm_task=0)
    assert [r.recording_id for r in of_task.recordings] == ["o'brien $(x)"]
    with pytest.raises(RequestError, match="has no task 1; its last one is 0"):
        plan(root, chunk_plan=written.tasks_path, slurm_task=1)
    refused = replace(made, recordings=[replace(r, decision=InferDecision.REFUSE) for r in made.recordings])
    with pytest.raises(RequestError):
        write_slurm_scripts(refused)


def test_the_job_over_nodes_applies_the_same_plan(dataset: Callable[..., Path], tmp_path: Path) -> None:
    root = dataset("REC")
    asked: dict[str, Any] = {"use_birdnet": True, "use_hawkears": None, "keep_going": True, "embeddings": Path("e")}
    made = plan(root, slurm_dask=tmp_path / "job.sh", slurm_nodes=2, slurm_gres="gpu:2", **asked)
    (written,) = write_slurm_scripts(made)
    words = words_of(written.path)
    assert words[:3] == ["infer", "orchestrate", str(root)]
    assert {"--use-birdnet", "--resume-completed", "--keep-going", "--apply"} < set(words)
    assert words[words.index("--embeddings") + 1] == "e"
    assert "--slurm-dask" not in words


def test_sockeye_log_dir_moves_telemetry_and_summaries_and_slurm_log_dir_the_jobs_logs(
    dataset: Callable[..., Path], tmp_path: Path
) -> None:
    root = dataset("REC")
    made = plan(
        root,
        use_hawkears=None,
        use_birdnet=True,
        sockeye_log_dir=tmp_path / "scratch",
        slurm_log_dir=tmp_path / "jobs",
        slurm_script=tmp_path / "a.sh",
    )
    log = tmp_path / "scratch" / "REC.jsonl"
    assert made.todo[0].log == log
    assert made.rows()[0].telemetry_log == str(log)
    (script,) = write_slurm_scripts(made)
    text = script.path.read_text()
    assert read_plan(script.tasks_path, TaskRow)[0].telemetry_log == str(log)
    assert f"--sockeye-log-dir {log.parent} " in text
    assert f"--output={tmp_path}/jobs/badc-infer_%A_%a.log" in text
    assert script.log_dir == tmp_path / "jobs"
    below = plan(root, sockeye_log_dir=Path("logs"))
    assert below.todo[0].log == root / "logs" / "REC.jsonl"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"apply": True}, "--apply runs the plan here, job scripts run it elsewhere"),
        ({"record_datalad": True}, "--record-datalad: the tasks of an array cannot commit"),
        ({"resume_completed": True, "slurm_resume_completed": False}, "contradict each other"),
        (
            {"slurm_bundle": True, "slurm_bundle_bucket_minutes": 5, "bundle_bucket_minutes": 10},
            "--bundle-bucket-minutes and --slurm-bundle-bucket-minutes differ",
        ),
        ({"runner_cmd": "./no-such-program --x"}, "--runner-cmd: ./no-such-program is not in "),
    ],
)
def test_options_that_an_array_cannot_have_are_refused_by_name(
    dataset: Callable[..., Path], settings: dict[str, Any], message: str
) -> None:
    root = dataset("REC")
    with pytest.raises(RequestError) as caught:
        write_slurm_scripts(plan(root, **{"use_hawkears": None, "slurm_script": root / "job.sh"} | settings))
    assert message in str(caught.value)
    assert not (root / "job.sh").exists()


def test_the_files_of_a_command_are_found_from_where_the_job_runs(
    dataset: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = dataset("REC")
    monkeypatch.chdir(tmp_path)
    for path in ("tool", "sets/model.bin"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    command = "./tool --model=sets/model.bin --all sets/ --label 'a b' sh"
    made = plan(root, use_hawkears=None, runner_cmd=command, slurm_script=Path("job.sh"))
    (written,) = write_slurm_scripts(made)
    words = words_of(written.path)
    here = tmp_path / "sets"
    assert words[words.index("--runner-cmd") + 1] == (
        f"{tmp_path}/tool --model={here}/model.bin --all {here} --label 'a b' sh"
    )


def test_a_plan_of_jobs_says_what_they_will_do(dataset: Callable[..., Path], tmp_path: Path) -> None:
    root = dataset("partial", "whole")
    write_outputs(root, "partial", 1)
    write_outputs(root, "whole", 3)
    asked = {"slurm_script": tmp_path / "job.sh"}
    decisions = {
        r.recording_id: (r.decision.value, r.reason) for r in plan(root, **asked, slurm_bundle=True).recordings
    }
    assert decisions["partial"] == ("resume", "partly done")
    assert decisions["whole"] == ("report", "complete; its tables and reports are missing")
    (written,) = write_slurm_scripts(plan(root, **asked, slurm_bundle=True))
    assert [(row.recording_id, row.audio_h > 0) for row in read_plan(written.tasks_path, TaskRow)] == [
        ("partial", True),
        ("whole", False),
    ]
    again = plan(root, **asked, slurm_resume_completed=False).todo
    assert [(r.decision.value, "all of it runs again" in r.reason) for r in again] == [("run", True)]
    redone = plan(root, **asked, include_existing=True)
    words = words_of(write_slurm_scripts(redone)[0].path)
    # Once: a task that is submitted again finds what it has replaced already.
    assert "--include-existing" not in words
    assert "--redo-before" in words


def test_a_time_limit_that_cannot_do_is_told(dataset: Callable[..., Path], tmp_path: Path) -> None:
    root = dataset("done", "new")
    write_outputs(root, "done", 3)
    limits = {"slurm_script": tmp_path / "job.sh", "slurm_time": "00:02:00"}
    (note,) = write_slurm_scripts(plan(root, **limits))[0].notes
    assert note.startswith("--slurm-time 00:02:00 leaves a task no time")
    limits["slurm_time"] = "00:05:00"
    assert write_slurm_scripts(plan(root, **limits))[0].notes == []
    log = root / "artifacts/telemetry/infer/done.jsonl"
    jobs = {
        chunk.chunk_id: Job("done", JobStatus.SUCCESS, attempts=1)
        for chunk in read_manifest(root / "manifests/done.csv").chunks
    }
    at = ("2026-05-09T20:00:00Z", "2026-05-09T20:05:00Z")
    write_summary(summary_path(log), RunSummary("x", "y", "stub", *at, jobs=jobs))
    made = plan(root, **limits)
    assert seen_speed(made) == 0.01  # three seconds of audio in five minutes
    (note,) = write_slurm_scripts(made)[0].notes
    assert "at 0.01 × real time, the speed of earlier runs here; give it more, or submit it 2 times" in note
    packed = plan(root, slurm_script=tmp_path / "job.sh", slurm_hours_per_task="auto")
    assert hours_per_task(packed) == 0.005  # half an hour of work
