"""Job arrays: what their tasks do, with a recorder in badc's place, and what the scripts say to Slurm."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from badc.datasets.slurm.array_script import WrittenArray, submit_lines, write_array
from badc.datasets.slurm.dask_script import write_dask_script
from badc.datasets.slurm.rendering import WrittenScript
from badc.datasets.slurm.settings import SlurmSettings
from badc.datasets.slurm.tasks import TaskRow, packed
from badc.errors import RequestError
from badc.system.row_files import read_plan
from tests.badc.conftest import HOSTILE_IDS
from tests.conftest import FAKES

WORDS = ("badc", "infer", "orchestrate", "/data/a b", "--stub-runner", "--apply")
RECORDER = FAKES / "recording_badc.py"


@pytest.fixture
def setup_file(tmp_path: Path) -> Path:
    path = tmp_path / "site.sh"
    path.write_text(f"badc=({shlex.join([sys.executable, str(RECORDER)])})\n")
    return path


@pytest.fixture
def write(tmp_path: Path, setup_file: Path) -> Callable[..., WrittenArray]:
    """Return a function that writes an array, whose badc is the recorder, of tasks with these recordings each."""

    def call(*tasks: Sequence[str], words: Sequence[str] = WORDS, **settings: Any) -> WrittenArray:
        values = {"slurm_script": tmp_path / "array.sh", "slurm_setup": setup_file, **settings}
        return write_array(SlurmSettings(**values), rows_of(*tasks), words, [["infer", "status"]], tmp_path)

    return call


def rows_of(*tasks: Sequence[str]) -> list[TaskRow]:
    return [
        TaskRow(
            task=number,
            recording_id=name,
            manifest_path=f"./manifests/{name}.csv",
            telemetry_log=f"{name}.jsonl",
            chunks=4,
            audio_h=0.5,
        )
        for number, names in enumerate(tasks)
        for name in names
    ]


class Run:
    """A task of a script, run by bash."""

    def __init__(
        self, script: WrittenScript, index: object = 0, *words: str, calls: str = "calls.jsonl", **environment: str
    ) -> None:
        self._calls = script.path.with_name(calls)
        self._calls.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            ["bash", str(script.path), *words],
            env=os.environ | {"SLURM_ARRAY_TASK_ID": str(index), "FAKE_BADC_CALLS": str(self._calls), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for_a_call(self) -> Run:
        deadline = time.monotonic() + 20
        while not self.calls:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return self

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


def test_each_task_runs_the_words_on_its_own_rows_whatever_the_names(
    write: Callable[..., WrittenArray], tmp_path: Path
) -> None:
    words = (*WORDS, "--runner-cmd", "x 'y' \"$HOME\" é $(touch pwned)")
    script = write(*([name] for name in HOSTILE_IDS), words=words, slurm_job_name="o'brien's $(touch pwned) é")

    for index, name in enumerate(HOSTILE_IDS):
        run = Run(script, index).end()
        assert run.code == 0, run.err
        assert run.words == [[*words[1:], "--chunk-plan", str(script.tasks_path), "--slurm-task", str(index)]]
        assert {r.recording_id for r in read_plan(script.tasks_path, TaskRow) if r.task == index} == {name}
    assert not list(tmp_path.rglob("*pwned"))


@pytest.mark.parametrize("code", [1, 2, 130])
def test_a_failed_task_says_of_what_and_how_it_is_submitted_again(
    write: Callable[..., WrittenArray], code: int
) -> None:
    script = write(["A"], ["two, words", 'o"b', "C", "D", "E"], ["F"], slurm_max_array=2)
    codes = json.dumps({"infer orchestrate": code})
    run = Run(script, 1, FAKE_BADC_CODES=codes).end()
    assert run.code == code
    assert f'badc: task 1 ("two, words", "o""b", C and 2 more) ended with exit code {code}; submit' in run.err
    assert resubmitted(run) == ["sbatch", "--array=1", str(script.path)]
    assert run.calls[0]["resume_with"] == shlex.join(resubmitted(run))
    # The third task is the first of the second array, whose script gets the number.
    run = Run(script, 0, "2", FAKE_BADC_CODES=codes).end()
    assert "badc: task 2 (F) ended" in run.err
    assert resubmitted(run) == ["sbatch", "--array=0", str(script.path), "2"]


def resubmitted(run: Run) -> list[str]:
    return shlex.split(run.err.strip().rpartition("submit it again with: ")[2])


def test_a_task_that_asked_for_a_gpu_and_has_none_runs_nothing(write: Callable[..., WrittenArray]) -> None:
    none = json.dumps({"gpus": 1})
    run = Run(write(["A"], slurm_gres="gpu:a100:1"), FAKE_BADC_CODES=none).end()
    assert (run.code, run.words) == (2, [["gpus"]])
    assert "the task asked Slurm for gpu:a100:1 and can use no GPU on" in run.err
    assert resubmitted(run)[:2] == ["sbatch", "--array=0"]
    assert [words[0] for words in Run(write(["A"], slurm_gres="gpu:1")).end().words] == ["gpus", "infer"]
    for values in ({"slurm_gres": "gpu:1", "slurm_allow_cpu": True}, {"slurm_gres": "tmpfs:50G"}, {}):
        assert [words[0] for words in Run(write(["A"], **values)).end().words] == ["infer"]


def test_what_cannot_be_started_is_told_in_words(write: Callable[..., WrittenArray], setup_file: Path) -> None:
    setup_file.write_text("badc=(no-such-program)\n")
    run = Run(write(["A"])).end()
    assert run.code == 127
    assert "badc: 'no-such-program' cannot be started on" in run.err
    setup_file.write_text("true\nno_such_module load x\n")
    script = write(["A"])
    run = Run(script).end()
    assert run.code == 127
    line = script.path.read_text().splitlines().index("no_such_module load x") + 1
    assert f"line {line} of {script.path}, from the file of --slurm-setup, failed" in run.err
    assert "put 'source /etc/profile' in front of it" in run.err


def test_what_a_killed_job_left_on_the_node_goes_with_the_next_one(
    write: Callable[..., WrittenArray], tmp_path: Path
) -> None:
    script, scratch = write(["A"]), tmp_path / "scratch" / "new"
    run = Run(script, FAKE_BADC_WAITS="1", TMPDIR=str(scratch)).wait_for_a_call()
    (left,) = scratch.iterdir()
    run.process.kill()
    run.process.wait()
    busy = Run(script, calls="busy.jsonl", FAKE_BADC_WAITS="1", TMPDIR=str(scratch)).wait_for_a_call()
    assert left.exists()  # what the killed shell had started still runs
    os.kill(run.calls[0]["pid"], signal.SIGKILL)
    while_it_runs = set(scratch.iterdir()) - {left}
    deadline = time.monotonic() + 20
    while left.exists():
        assert time.monotonic() < deadline
        assert Run(script, 0, calls="others.jsonl", TMPDIR=str(scratch)).end().code == 0
    assert set(scratch.iterdir()) == while_it_runs
    busy.process.terminate()
    busy.end()
    assert list(scratch.iterdir()) == []


def test_a_signal_reaches_badc_and_the_script_waits_for_its_end(write: Callable[..., WrittenArray]) -> None:
    run = Run(write(["A"]), FAKE_BADC_WAITS="1").wait_for_a_call()
    run.process.send_signal(signal.SIGTERM)
    run.end()

    assert run.code == 130
    assert [call.get("signals") for call in run.calls] == [None, "SIGTERM"]


def test_each_task_has_a_prefect_home_of_its_own_that_goes_with_it(write: Callable[..., WrittenArray]) -> None:
    script = write(["A"])
    homes = [Path(Run(script).end().calls[0]["prefect_home"]) for _ in range(2)]
    assert homes[0] != homes[1]
    assert not any(home.parent.exists() for home in homes)


def test_lines_of_the_site_may_read_variables_that_are_not_set_but_must_not_fail(
    write: Callable[..., WrittenArray], setup_file: Path
) -> None:
    lines = setup_file.read_text()
    setup_file.write_text(lines + 'echo "site $NOT_SET_ANYWHERE"\n')
    assert "\nsite \n" in Run(write(["A"])).end().out
    setup_file.write_text(lines + "false\n")
    script = write(["A"])
    run = Run(script).end()
    assert run.code == 1
    assert run.words == []
    # Such a task has a log like any other, with why and the line to submit it again.
    assert run.out.startswith(f"Script: {script.path}\nTask 0 on ")
    assert "from the file of --slurm-setup, failed on" in run.err
    assert run.err.endswith(
        f"badc: task 0 (A) ended with exit code 1; submit it again with: sbatch --array=0 {script.path}\n"
    )


@pytest.mark.parametrize(("index", "first"), [("1", "0"), ("none", "0"), ("0", "1"), ("0", "x")])
def test_an_index_beyond_the_array_is_refused(write: Callable[..., WrittenArray], index: str, first: str) -> None:
    run = Run(write(["A"]), index, first).end()
    assert run.code == 2
    assert f"task {first} + {index} is none of the 0 to 0 of this script" in run.err


def test_many_tasks_are_several_arrays_of_one_script(write: Callable[..., WrittenArray], tmp_path: Path) -> None:
    script = write(*([f"REC{n}"] for n in range(5)), slurm_max_array=2, slurm_array_throttle=1)
    (tmp_path / "bin").mkdir()
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.write_text('#!/bin/bash\necho "$*" >>"$CALLS"\necho "$(wc -l <"$CALLS");cluster"\n')
    sbatch.chmod(0o755)
    calls = tmp_path / "calls"
    environment = os.environ | {"PATH": f"{sbatch.parent}:{os.environ['PATH']}", "CALLS": str(calls)}
    done = subprocess.run(shlex.split(script.submit_all), env=environment, capture_output=True, text=True, check=True)
    assert (script.tasks, script.arrays) == (5, 3)
    # No more than the throttle says run at once, also of two arrays.
    assert calls.read_text().splitlines() == [
        f"--parsable --array=0-1%1 {script.path} 0",
        f"--parsable --dependency=afterany:1 --array=0-1%1 {script.path} 2",
        f"--parsable --dependency=afterany:2 --array=0-0%1 {script.path} 4",
        f"--parsable --dependency=afterany:1:2:3 {tmp_path / 'array.finish.sh'}",
    ]
    assert done.stdout.splitlines()[1] == "job 2: tasks from 2 on"
    ran = [Run(script, index, str(first)).end().words[0][-1] for first, index in ((0, 1), (2, 0), (4, 0))]
    assert ran == ["1", "2", "4"]
    assert submit_lines(script.path, [0, 1, 3, 4], 2) == [
        f"sbatch --array=0-1 {script.path}",
        f"sbatch --array=1 {script.path} 2",
        f"sbatch --array=0 {script.path} 4",
    ]
    finish = WrittenScript(tmp_path / "array.finish.sh", 1, script.log_dir)
    assert Run(finish).end().words == [["infer", "status"]]


def test_a_script_keeps_its_tasks_when_another_is_written(write: Callable[..., WrittenArray]) -> None:
    first, second, third = write(["A"], ["B"]), write(["B"]), write(["B"])
    assert [script.path.name for script in (first, second, third)] == ["array.sh", "array-2.sh", "array-3.sh"]
    assert [row.recording_id for row in read_plan(first.tasks_path, TaskRow)] == ["A", "B"]
    assert Run(second).end().words[0][-3:] == [str(second.tasks_path), "--slurm-task", "0"]


def test_a_script_of_very_many_tasks_is_as_small_as_one_of_ten(write: Callable[..., WrittenArray]) -> None:
    few, many = write(*([f"R{n}"] for n in range(10))), write(*([f"R{n}"] for n in range(20_000)))
    sizes = [script.path.stat().st_size for script in (few, many)]
    assert abs(sizes[1] - sizes[0]) < 100
    assert Run(many, 999, "19000").end().words[0][-1] == "19999"


@pytest.mark.parametrize(
    ("hours", "limit", "tasks"),
    [
        ([1, 1, 1], None, [0, 1, 2]),
        ([1, 1, 1, 1, 1], 2, [0, 0, 1, 1, 2]),
        ([0.5, 3, 0.5, 0.5], 1, [0, 1, 2, 2]),
        ([0, 0, 0], 1, [0, 0, 0]),
    ],
)
def test_a_task_gets_recordings_up_to_its_hours(hours: list[float], limit: float | None, tasks: list[int]) -> None:
    assert packed(hours, limit) == tasks


def test_the_head_has_what_was_asked_for_and_nothing_else(write: Callable[..., WrittenArray], tmp_path: Path) -> None:
    def head(**settings: Any) -> list[str]:
        lines = write(["A"], **settings).path.read_text().splitlines()
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
    script = write_array(settings, rows_of(["A"]), WORDS, [], tmp_path, grace_period_s=600)
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
            write_array(settings, rows_of(["A"]), WORDS, [], tmp_path)
        assert message in str(caught.value)
        assert not (tmp_path / "new").exists()
    with pytest.raises(RequestError, match="--slurm-script: no file"):
        write_array(SlurmSettings(), rows_of(["A"]), WORDS, [], tmp_path)
    with pytest.raises(ValueError, match="not the words of a dataset's inference"):
        write_array(SlurmSettings(slurm_script=tmp_path / "a.sh"), rows_of(["A"]), ("badc", "gpus"), [], tmp_path)


@pytest.mark.parametrize("gres", [None, "gpu:1"])
@pytest.mark.parametrize("with_setup", [False, True])
def test_shellcheck_finds_nothing_in_an_array(
    write: Callable[..., WrittenArray], setup_file: Path, gres: str | None, with_setup: bool
) -> None:
    script = write(
        *([name] for name in HOSTILE_IDS),
        words=(*WORDS, "--runner-cmd", "x $y"),
        slurm_gres=gres,
        slurm_max_array=1 if with_setup else 1000,
        slurm_array_throttle=2 if with_setup else None,
        slurm_setup=setup_file if with_setup else None,
    )
    for path in (script.path, script.submit, script.path.with_suffix(".finish.sh")):
        assert_clean(path)


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


@pytest.mark.parametrize("name", ["$(touch pwned)", "`touch pwned`", 'a"; touch pwned; "', "a'; touch pwned; '"])
def test_no_message_runs_the_name_of_a_folder(tmp_path: Path, setup_file: Path, name: str) -> None:
    settings = SlurmSettings(slurm_script=tmp_path / name / "array.sh", slurm_setup=setup_file)
    good = setup_file.read_text()
    for setup, index in ((good, "none"), (good, 0), (f"{good}false\n", 0), ("badc=(no-such-program)\n", 0)):
        setup_file.write_text(setup)
        script = write_array(settings, rows_of([name]), WORDS, [["infer", "status"]], tmp_path)
        run = Run(script, index, FAKE_BADC_CODES='{"infer orchestrate": 1}').end()
        assert run.code != 0
        assert "badc: " in run.err
    assert not [path for path in tmp_path.rglob("*pwned") if path.name == "pwned"]


def test_whoever_may_read_a_script_may_run_it(write: Callable[..., WrittenArray]) -> None:
    mine = os.umask(0o027)
    try:
        assert write(["A"]).path.stat().st_mode & 0o777 == 0o750
    finally:
        os.umask(mine)
