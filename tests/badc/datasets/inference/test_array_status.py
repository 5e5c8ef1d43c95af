"""Why tasks of an array ended: what their logs say, and Slurm's accounts where the site keeps them."""

from __future__ import annotations

from pathlib import Path

import pytest

from badc.datasets.inference.array_status import TaskState, array_status
from badc.datasets.inference.plan import plan_orchestration
from badc.datasets.inference.scripts import write_slurm_scripts
from badc.datasets.inference.settings import OrchestrateSettings

# In the format that man sacct gives; the Slurm of the tests has no database for accounts, so a program answers.
ACCOUNTS = """\
71_0|TIMEOUT
71_1|OUT_OF_MEMORY
71_2|CANCELLED by 1000
71_3|FAILED
71_[4-9]|PENDING
72_4|NODE_FAIL
"""
NO_ACCOUNTS = 'echo "Slurm accounting storage is disabled" >&2; exit 1'


@pytest.mark.parametrize("has_accounts", [True, False])
def test_accounts_say_why_slurm_ended_a_task(
    dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_accounts: bool
) -> None:
    answers = f"case $* in *--jobs=71,72*) cat <<'END'\n{ACCOUNTS}END\n;; *) exit 1 ;; esac"
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "sacct").write_text(f"#!/bin/bash\n{answers if has_accounts else NO_ACCOUNTS}\n")
    (programs / "squeue").write_text("#!/bin/bash\n")  # nothing waits
    for program in programs.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    root = dataset(*(f"REC_{n}" for n in range(6)))
    script = tmp_path / "jobs" / "array.sh"
    settings = OrchestrateSettings(dataset=root, use_hawkears=False, slurm_script=script)
    plan = plan_orchestration(settings)
    write_slurm_scripts(plan)
    ended = "badc: no server answers\nbadc: task 3 (REC_3) ended with exit code 2; submit it again with: x\n"
    rows = {1: "recording\tstate\terror\nREC_1\tfailed\tthe worker died\n", 3: ended}
    for task in range(5):
        job = 72 if task == 4 else 71
        plan_row = f"recording\tdecision\treason\nREC_{task}\trun\tno chunk has an output\n"
        text = f"Script: {script}\nTask {task} on node: REC_{task}\n{plan_row}{rows.get(task, '')}"
        (tmp_path / "jobs" / "logs" / f"badc-infer_{job}_{task}.log").write_text(text)

    status = array_status(plan, script)
    why = [each.why for each in status.recordings]
    assert [each.state for each in status.recordings] == [TaskState.FAILED] * 5 + [TaskState.OPEN]
    assert why[3] == "the request is wrong, or the node is: no server answers"
    assert why[5] == "no task of it has a log"
    if has_accounts:
        assert why[0] == "Slurm: its time limit was over; --slurm-time asks for more"
        assert why[1] == "the worker died; Slurm: it ran out of memory; --slurm-mem asks for more"
        assert why[2] == "Slurm: it was cancelled"
        assert why[4] == "Slurm: its node failed"
    else:
        assert why[0] == why[2] == why[4] == "its task ended without a word, as after a kill"
        assert why[1] == "the worker died"


def test_what_other_scripts_left_is_not_taken_for_a_new_array(
    dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = dataset("REC_0", "REC_1")
    jobs = tmp_path / "disk" / "jobs"
    jobs.mkdir(parents=True)
    (tmp_path / "scratch").symlink_to("disk")
    script = tmp_path / "scratch" / "jobs" / "array.sh"
    plan = plan_orchestration(OrchestrateSettings(dataset=root, use_hawkears=False, slurm_script=script))
    first, second = (write_slurm_scripts(plan)[0].path for _ in range(2))
    log = f"Script: {first}\nTask 0 on node: REC_0\nbadc: task 0 (REC_0) ended with exit code 1; submit it again\n"
    (jobs / "logs" / "badc-infer_7_0.log").write_text(log)
    # Slurm names a script by the folder that it was submitted from, without links.
    (tmp_path / "squeue").write_text(f"#!/bin/bash\necho '0|PENDING|{jobs}/{first.name} 1'\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    for path in (first, jobs / first.name):
        assert [r.state for r in array_status(plan, path).recordings] == [TaskState.FAILED, TaskState.WAITING]
    assert {r.state for r in array_status(plan, second).recordings} == {TaskState.OPEN}
