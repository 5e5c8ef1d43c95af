"""Job arrays: what their tasks do, with a recorder in badc's place, and what the scripts say to Slurm."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from badc.datasets.slurm.array_script import ArrayTask, write_array_scripts
from badc.datasets.slurm.dask_script import write_dask_script
from badc.datasets.slurm.rendering import WrittenScript
from badc.datasets.slurm.settings import SlurmSettings
from badc.errors import ExitCode, RequestError
from tests.badc.conftest import HOSTILE_IDS
from tests.conftest import FAKES

RECORDER = FAKES / "recording_badc.py"


@pytest.fixture
def setup_file(tmp_path: Path) -> Path:
    path = tmp_path / "site.sh"
    path.write_text(f"badc=({shlex.join([sys.executable, str(RECORDER)])})\n")
    return path


@pytest.fixture
def write(tmp_path: Path, setup_file: Path) -> Callable[..., WrittenScript]:
    """Return a function that writes one script, whose badc is the recorder."""

    def call(*tasks: ArrayTask, **settings: Any) -> WrittenScript:
        values = {"slurm_script": tmp_path / "array.sh", "slurm_setup": setup_file, **settings}
        (script,) = write_array_scripts(SlurmSettings(**values), tasks, tmp_path)
        return script

    return call


class Run:
    """A task of a script, run by bash."""

    def __init__(self, script: WrittenScript, index: object = 0, **environment: str) -> None:
        self._calls = script.path.with_name("calls.jsonl")
        self._calls.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            ["bash", str(script.path)],
            env=os.environ | {"SLURM_ARRAY_TASK_ID": str(index), "FAKE_BADC_CALLS": str(self._calls), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self) -> Run:
        self.out, self.err = self.process.communicate(timeout=30)
        self.code = self.process.returncode
        return self

    @property
    def calls(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._calls.read_text().splitlines()] if self._calls.exists() else []

    @property
    def words(self) -> list[list[str]]:
        return [call["words"] for call in self.calls if "words" in call]


def task_of(recording_id: str = "REC", *more: str, status: str | None = None) -> ArrayTask:
    manifest = f"./manifests/{recording_id}.csv"
    log = f"artifacts/telemetry/{recording_id}.jsonl"
    return ArrayTask(
        recording_id,
        Path(manifest),
        ("badc", "infer", "run", manifest, "--telemetry-log", log, *more),
        Path(log),
        None if status is None else Path(status),
        Path("artifacts/infer", recording_id),
    )


def files_of(task: ArrayTask, folder: Path) -> tuple[Path, Path, Path]:
    """Return the task's log, summary and note of having ended well; their folder is made."""
    log = folder / task.telemetry_log
    log.parent.mkdir(parents=True, exist_ok=True)
    return log, log.with_name(f"{log.name}.summary.json"), log.with_name(f"{log.name}.done")


def test_each_task_runs_its_own_words_whatever_the_names(write: Callable[..., WrittenScript], tmp_path: Path) -> None:
    tasks = [task_of(name, "--runner-cmd", f"x '{name}' \"$HOME\" é") for name in HOSTILE_IDS]
    script = write(*tasks, slurm_job_name="o'brien's $(touch pwned) é")

    for index, task in enumerate(tasks):
        run = Run(script, index).end()
        assert run.code == 0, run.err
        assert run.words == [list(task.infer_words[1:])]
    assert not list(tmp_path.rglob("*pwned"))


def test_the_bundle_follows_with_paths_that_are_nested_once(write: Callable[..., WrittenScript]) -> None:
    task = task_of("o'brien's \"é\" $(x)")
    table = f"artifacts/aggregate/{task.recording_id}"
    aggregate = ["infer", "aggregate", f"artifacts/infer/{task.recording_id}", "--manifest", str(task.manifest)]
    assert Run(write(task, slurm_bundle=True)).end().words == [
        list(task.infer_words[1:]),
        [*aggregate, "--output", f"{table}.csv", "--parquet", f"{table}.parquet"],
        ["report", "bundle", "--parquet", f"{table}.parquet", "--bucket-minutes", "60", "--no-plots"],
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "is missing"),
        ('{"status": "in_progress"}', "is in_progress"),
        ('{"error": "\\"status\\": \\"completed\\"", "status" : "failed"}', "is failed"),
        ("not JSON", "is not given"),
        ("", "is not given"),
    ],
)
def test_a_recording_that_is_not_chunked_has_an_exit_code_of_its_own(
    write: Callable[..., WrittenScript], tmp_path: Path, content: str | None, said: str
) -> None:
    if content is not None:
        (tmp_path / "status.json").write_text(content)
    run = Run(write(task_of(status="status.json"))).end()

    assert run.code == ExitCode.CHUNKS_NOT_COMPLETED
    assert f"badc: status.json: the chunk status of REC {said}, not completed" in run.err
    assert run.words == []


@pytest.mark.parametrize(
    "content", ['{"status":"completed","error":"\\"status\\": \\"failed\\""}', '{\n "status":\n "completed"\n}\n']
)
def test_a_chunked_recording_runs_however_its_status_is_written(
    write: Callable[..., WrittenScript], tmp_path: Path, content: str
) -> None:
    (tmp_path / "status.json").write_text(content)
    assert Run(write(task_of(status="status.json"))).end().code == 0


@pytest.mark.parametrize(
    ("asked", "summary", "log", "resumed"),
    [
        (True, True, True, ".summary.json"),
        (True, False, True, ""),  # all that a kill -9 in the first moment leaves
        (True, False, False, None),
        (False, True, True, None),
    ],
)
def test_a_task_goes_on_from_what_is_there_where_that_is_asked(
    write: Callable[..., WrittenScript], tmp_path: Path, asked: bool, summary: bool, log: bool, resumed: str | None
) -> None:
    task = task_of("two words")
    for path, there in zip(files_of(task, tmp_path), (log, summary), strict=False):
        if there:
            path.touch()
    run = Run(write(task, slurm_resume_completed=asked)).end()

    further = [] if resumed is None else ["--resume-summary", f"{task.telemetry_log}{resumed}"]
    assert run.words == [[*task.infer_words[1:], *further]]


def test_a_done_task_only_checks_unless_its_command_is_another(
    write: Callable[..., WrittenScript], tmp_path: Path
) -> None:
    task = task_of()
    _, summary, _ = files_of(task, tmp_path)
    assert Run(write(task)).end().code == 0
    summary.touch()
    assert "--resume-summary" in Run(write(task)).end().words[0]

    other = task_of("REC", "--keep-going")
    failed = Run(write(other), FAKE_BADC_CODES='{"infer run": 1}').end()
    assert "--resume-summary" not in failed.words[0]
    # Its outputs are now partly those of the other command.
    assert "--resume-summary" not in Run(write(task)).end().words[0]


def test_a_task_that_slurm_started_again_goes_on(write: Callable[..., WrittenScript], tmp_path: Path) -> None:
    task = task_of()
    log, _, _ = files_of(task, tmp_path)
    log.touch()
    assert "--resume-summary" in Run(write(task), SLURM_RESTART_COUNT="1").end().words[0]


@pytest.mark.parametrize("code", [1, 2, 130])
def test_a_failed_run_gives_its_exit_code_and_no_bundle(write: Callable[..., WrittenScript], code: int) -> None:
    script = write(task_of("two words"), slurm_bundle=True)
    run = Run(script, FAKE_BADC_CODES=json.dumps({"infer run": code})).end()

    assert run.code == code
    assert [words[:2] for words in run.words] == [["infer", "run"]]
    line = run.err.strip().partition("submit it again with: ")[2]
    assert shlex.split(line) == ["sbatch", "--array=0", str(script.path)]


def test_a_failed_step_of_the_bundle_gives_its_exit_code(write: Callable[..., WrittenScript]) -> None:
    run = Run(write(task_of(), slurm_bundle=True), FAKE_BADC_CODES='{"infer aggregate": 1}').end()
    assert run.code == 1
    assert [words[:2] for words in run.words] == [["infer", "run"], ["infer", "aggregate"]]


def test_the_bundle_is_made_again_only_after_a_run_that_did_something(
    write: Callable[..., WrittenScript], tmp_path: Path
) -> None:
    task = task_of()
    script = write(task, slurm_bundle=True, slurm_bundle_aggregate_dir="tables of all", slurm_bundle_bucket_minutes=5)
    writes = {"infer run": str(tmp_path / task.telemetry_log)}
    first = Run(script, FAKE_BADC_WRITES=json.dumps(writes)).end()
    made = ["report", "bundle", "--parquet", "tables of all/REC.parquet", "--bucket-minutes", "5", "--no-plots"]
    assert first.words[2] == made

    assert len(Run(script).end().words) == 3  # there is no bundle, so it is made
    (tmp_path / "tables of all").mkdir()
    (tmp_path / "tables of all" / "REC.duckdb").touch()
    assert len(Run(script).end().words) == 1
    assert len(Run(script, FAKE_BADC_WRITES=json.dumps(writes)).end().words) == 3


def test_a_signal_reaches_badc_and_the_script_waits_for_its_end(write: Callable[..., WrittenScript]) -> None:
    run = Run(write(task_of(), slurm_bundle=True), FAKE_BADC_WAITS="1")
    deadline = time.monotonic() + 20
    while not run.calls:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    run.process.send_signal(signal.SIGTERM)
    run.end()

    assert run.code == 130
    assert [call.get("signals") for call in run.calls] == [None, "SIGTERM"]


def test_each_task_has_a_prefect_home_of_its_own_that_goes_with_it(write: Callable[..., WrittenScript]) -> None:
    script = write(task_of())
    homes = [Path(Run(script).end().calls[0]["prefect_home"]) for _ in range(2)]
    assert homes[0] != homes[1]
    assert not any(home.parent.exists() for home in homes)


def test_lines_of_the_site_may_read_variables_that_are_not_set_but_must_not_fail(
    write: Callable[..., WrittenScript], setup_file: Path
) -> None:
    lines = setup_file.read_text()
    setup_file.write_text(lines + 'echo "site $NOT_SET_ANYWHERE"\n')
    assert Run(write(task_of())).end().out.startswith("site \n")
    setup_file.write_text(lines + "false\n")
    run = Run(write(task_of())).end()
    assert run.code == 1
    assert run.words == []


@pytest.mark.parametrize("index", ["1", "none"])
def test_an_index_beyond_the_array_is_refused(write: Callable[..., WrittenScript], index: str) -> None:
    run = Run(write(task_of()), index).end()
    assert run.code == 2
    assert f"task {index} is none of the 0 to 0 of this script" in run.err


def test_an_array_larger_than_the_site_allows_is_split(tmp_path: Path, setup_file: Path) -> None:
    tasks = [task_of(f"REC{number}") for number in range(5)]
    settings = SlurmSettings(
        slurm_script=tmp_path / "jobs" / "array.sh", slurm_max_array=2, slurm_array_throttle=1, slurm_setup=setup_file
    )
    scripts = write_array_scripts(settings, tasks, tmp_path)

    assert [script.path.name for script in scripts] == ["array_1.sh", "array_2.sh", "array_3.sh"]
    assert [script.submit_line for script in scripts] == [f"sbatch {script.path}" for script in scripts]
    heads = [script.path.read_text() for script in scripts]
    assert ["--array=0-1%1\n" in head for head in heads] == [True, True, False]
    assert "--array=0-0%1\n" in heads[2]
    ran = [Run(script, index).end().words[0] for script in scripts for index in range(script.tasks)]
    assert ran == [list(task.infer_words[1:]) for task in tasks]


def test_no_tasks_give_no_script(tmp_path: Path) -> None:
    assert write_array_scripts(SlurmSettings(slurm_script=tmp_path / "array.sh"), [], tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_thousand_tasks_fit_into_what_slurm_takes(write: Callable[..., WrittenScript]) -> None:
    long = "/".join(["folder" * 8] * 4)
    script = write(*(task_of(f"{'station ' * 6}{number}", "--runner-cmd", long) for number in range(1000)))
    # max_script_size of SchedulerParameters is 4 MiB unless the site has set it.
    assert script.path.stat().st_size < 2 << 20
    assert Run(script, 999).end().words[0][2].endswith(" 999.csv")


def test_the_head_has_what_was_asked_for_and_nothing_else(write: Callable[..., WrittenScript], tmp_path: Path) -> None:
    def head(**settings: Any) -> list[str]:
        lines = write(task_of(), **settings).path.read_text().splitlines()
        return [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH ")]

    assert head() == [
        "--job-name=badc-infer",
        "--nodes=1",
        "--ntasks=1",
        "--array=0-0",
        f"--output={tmp_path}/logs/badc-infer_%A_%a.log",
        "--open-mode=append",
        "--signal=B:TERM@120",
    ]
    asked = head(
        slurm_account="st-lab-1 gpu",
        slurm_partition="gpu",
        slurm_gres="gpu:4",
        slurm_time="00:02:00",
        slurm_cpus_per_task=8,
        slurm_mem="64G",
        slurm_log_dir=tmp_path / "100% logs",
        slurm_extra=("#SBATCH --qos=long", "#SBATCH --mail-type=FAIL"),
    )
    assert asked[1:7] == [
        "--account='st-lab-1 gpu'",
        "--partition=gpu",
        "--gres=gpu:4",
        "--time=00:02:00",
        "--cpus-per-task=8",
        "--mem=64G",
    ]
    assert f"--output='{tmp_path}/100%% logs/badc-infer_%A_%a.log'" in asked
    # Told at half of so short a limit, and not at the start.
    assert asked[-3:] == ["--signal=B:TERM@60", "--qos=long", "--mail-type=FAIL"]
    assert (tmp_path / "100% logs").is_dir()


def test_a_longer_grace_period_is_told_earlier(tmp_path: Path) -> None:
    settings = SlurmSettings(slurm_script=tmp_path / "a.sh", slurm_time="1-00")
    (script,) = write_array_scripts(settings, [task_of()], tmp_path, grace_period_s=600)
    assert "--signal=B:TERM@690\n" in script.path.read_text()


def test_what_cannot_be_used_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    setup = tmp_path / "site.sh"
    setup.write_text("module load x\n#SBATCH --qos=long\n")
    for values, message in (
        ({"slurm_log_dir": tmp_path / "file"}, "the folder of the Slurm logs cannot be made"),
        ({"slurm_setup": tmp_path / "none.sh"}, "none.sh: cannot be read (No such file or directory)"),
        ({"slurm_setup": setup}, "passes over '#SBATCH --qos=long'"),
    ):
        settings = SlurmSettings(slurm_script=tmp_path / "new" / "array.sh", **values)
        with pytest.raises(RequestError) as caught:
            write_array_scripts(settings, [task_of()], tmp_path)
        assert message in str(caught.value)
        assert not (tmp_path / "new").exists()
    with pytest.raises(RequestError, match="--slurm-script: no file"):
        write_array_scripts(SlurmSettings(), [task_of()], tmp_path)


def test_words_that_are_no_first_run_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="badc infer run"):
        task_of("REC", "--resume-summary", "x")


@pytest.mark.parametrize("bundle", [False, True])
@pytest.mark.parametrize("with_setup", [False, True])
def test_shellcheck_finds_nothing_in_an_array(tmp_path: Path, setup_file: Path, bundle: bool, with_setup: bool) -> None:
    settings = SlurmSettings(
        slurm_script=tmp_path / "array.sh",
        slurm_bundle=bundle,
        slurm_resume_completed=bundle,
        slurm_setup=setup_file if with_setup else None,
    )
    tasks = [task_of(name, "--runner-cmd", "x $y", status="s.json") for name in HOSTILE_IDS]
    (script,) = write_array_scripts(settings, tasks, tmp_path)
    assert_clean(script.path)


@pytest.mark.parametrize(("gres", "cpu_workers"), [(None, 0), ("gpu:2", 0), ("gpu:2", 3)])
def test_shellcheck_finds_nothing_in_a_dask_job(tmp_path: Path, gres: str | None, cpu_workers: int) -> None:
    settings = SlurmSettings(slurm_dask=tmp_path / "dask.sh", slurm_nodes=3, slurm_gres=gres)
    script = write_dask_script(settings, ("badc", "infer", "orchestrate", "a b", "--apply"), tmp_path, cpu_workers)
    text = script.path.read_text()
    assert_clean(script.path)
    assert ("cuda worker" in text) == (gres is not None)
    assert ("worker --nworkers" in text) == (gres is None or cpu_workers > 0)


def assert_clean(script: Path) -> None:
    checker = Path(sys.executable).with_name("shellcheck")
    checked = subprocess.run([str(checker), str(script)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
