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
    ended = "badc: task 3 (REC_3) ended with exit code 1; submit it again with: x\n"
    rows = {1: "REC_1\tfailed\t0\t3\t0\t\tthe worker died\n", 3: ended}
    for task in range(5):
        job = 72 if task == 4 else 71
        text = f"Task {task} on node: REC_{task}\n{rows.get(task, '')}"
        (tmp_path / "jobs" / "logs" / f"badc-infer_{job}_{task}.log").write_text(text)

    status = array_status(plan, script)
    why = [each.why for each in status.recordings]
    assert [each.state for each in status.recordings] == [TaskState.FAILED] * 5 + [TaskState.OPEN]
    assert why[3] == "a recording failed"
    assert why[5] == "no task of it has a log"
    if has_accounts:
        assert why[0] == "Slurm: its time limit was over; --slurm-time asks for more"
        assert why[1] == "the worker died; Slurm: it ran out of memory; --slurm-mem asks for more"
        assert why[2] == "Slurm: it was cancelled"
        assert why[4] == "Slurm: its node failed"
    else:
        assert why[0] == why[2] == why[4] == "its task ended without a word, as after a kill"
        assert why[1] == "the worker died"
