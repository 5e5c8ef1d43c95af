"""A real Slurm of two nodes with two simulated GPUs each, and datasets to run on it."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from badc.system import leash

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "scancel", "scontrol", "sinfo", "squeue")
NODES = 2


@dataclass(frozen=True)
class TaskEnd:
    """How a task ended, as `scontrol` tells it."""

    state: str
    exit_code: int


@dataclass(frozen=True)
class Slurm:
    """A Slurm that is running."""

    environment: dict[str, str]

    def call(self, *words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            list(map(str, words)), env=self.environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )

    def submit(self, line: str) -> int:
        """Run a submit line in a shell, as a user pastes it; return the job's number."""
        done = self.call("bash", "-c", line)
        assert done.returncode == 0, done.stderr
        return int(re.fullmatch(r"Submitted batch job (\d+)\n", done.stdout)[1])

    def ends(self, job: int, timeout_s: float = 400.0) -> dict[int, TaskEnd]:
        """Wait for all tasks of a job; return how each ended, by its index (0 where the job is no array)."""
        deadline = time.monotonic() + timeout_s
        while True:
            shown = self.call("scontrol", "show", "job", "-o", job).stdout.splitlines()
            tasks = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in shown]
            if tasks and all(task["JobState"] not in ("PENDING", "RUNNING", "COMPLETING") for task in tasks):
                return {
                    int(task.get("ArrayTaskId", 0)): TaskEnd(task["JobState"], int(task["ExitCode"].split(":")[0]))
                    for task in tasks
                }
            assert time.monotonic() < deadline, shown
            time.sleep(0.2)


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """A Slurm with its own ports and folders; its daemons are stopped at the end of the session."""
    # An ordinary user's PATH often lacks the folder of the daemons.
    environment = os.environ | {"PATH": f"{os.environ['PATH']}:/usr/local/sbin:/usr/sbin"}
    missing = [name for name in PROGRAMS if shutil.which(name, path=environment["PATH"]) is None]
    if missing:
        pytest.skip(f"Slurm is not installed ({', '.join(missing)} not found); .ci/run installs it where it may")
    folder = tmp_path_factory.mktemp("slurm")
    environment["SLURM_CONF"] = str(_configure(folder))
    commands = [["slurmctld", "-D", "-i"], *(["slurmd", "-D", "-N", f"node{number}"] for number in range(NODES))]
    daemons = [_start(command, environment, folder) for command in commands]
    slurm = Slurm(environment)
    try:
        _wait_until_idle(slurm, folder)
        yield slurm
    finally:
        slurm.call("scancel", "--signal=KILL", "--me")
        slurm.call("scancel", "--me")
        _wait_until_empty(slurm)
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
            leash.kill_group(daemon)


@pytest.fixture
def setup_file(tmp_path: Path, gpu_driver: dict[str, str]) -> Path:
    """The site's lines: this checkout's badc and dask, and a driver that knows two GPUs."""
    path = tmp_path / "site.sh"
    lines = [f"export {name}='{value}'" for name, value in gpu_driver.items()]
    lines += [f"badc=('{sys.executable}' -m flows)", f"dask=('{sys.executable}' -m dask)"]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def setup_with_server(setup_file: Path, prefect_api: str) -> Path:
    """The site's lines, with a Prefect server that all jobs share: starting one takes most of a short job's time."""
    auth = shlex.quote(os.environ["PREFECT_API_AUTH_STRING"])
    lines = f"export PREFECT_API_URL={prefect_api} PREFECT_API_AUTH_STRING={auth}\n"
    setup_file.write_text(setup_file.read_text() + lines)
    return setup_file


def _configure(folder: Path) -> Path:
    """Write the configuration of a cluster on this machine (man slurm.conf, man gres.conf); return its path."""
    host = socket.gethostname().split(".")[0]
    user = pwd.getpwuid(os.getuid()).pw_name
    ports = _free_ports(NODES + 1)
    # Without device files Slurm does not set CUDA_VISIBLE_DEVICES.
    for number in range(2):
        (folder / f"nvidia{number}").symlink_to("/dev/null")
    for name in ("state", *(f"spool-node{number}" for number in range(NODES))):
        (folder / name).mkdir()
    (folder / "gres.conf").write_text(f"AutoDetect=off\nName=gpu File={folder}/nvidia[0-1]\n")
    lines = [
        "ClusterName=tests",
        f"SlurmctldHost={host}(127.0.0.1)",
        f"SlurmctldPort={ports[0]}",
        f"SlurmUser={user}",
        f"SlurmdUser={user}",
        "AuthType=auth/none",
        "CredType=cred/none",
        "ProctrackType=proctrack/linuxproc",
        "TaskPlugin=task/none",
        "JobAcctGatherType=jobacct_gather/none",
        "AccountingStorageType=accounting_storage/none",
        "SwitchType=switch/none",
        "MpiDefault=none",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_CPU_Memory",
        "DefMemPerCPU=1000",
        "SlurmdParameters=config_overrides",
        "SchedulerParameters=bf_interval=1,sched_min_interval=0,batch_sched_delay=0",
        "ReturnToService=2",
        "KillWait=10",
        "GresTypes=gpu",
        f"StateSaveLocation={folder}/state",
        f"SlurmdSpoolDir={folder}/spool-%n",
        f"SlurmctldPidFile={folder}/slurmctld.pid",
        f"SlurmdPidFile={folder}/slurmd-%n.pid",
        f"SlurmctldLogFile={folder}/slurmctld.log",
        f"SlurmdLogFile={folder}/slurmd-%n.log",
        *(
            f"NodeName=node{number} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=16 RealMemory=128000 "
            "Gres=gpu:2"
            for number, port in enumerate(ports[1:])
        ),
        "PartitionName=gpu Nodes=ALL Default=YES State=UP",
    ]
    path = folder / "slurm.conf"
    path.write_text("\n".join(lines) + "\n")
    return path


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    try:
        for taken in sockets:
            taken.bind(("127.0.0.1", 0))
        return [taken.getsockname()[1] for taken in sockets]
    finally:
        for taken in sockets:
            taken.close()


def _start(command: Sequence[str], environment: dict[str, str], folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "daemons.log").open("ab") as log:
        daemon = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    leash.hold(daemon)
    return daemon


def _wait_until_idle(slurm: Slurm, folder: Path) -> None:
    deadline = time.monotonic() + 30
    while slurm.call("sinfo", "-h", "-o", "%T %D").stdout != f"idle {NODES}\n":
        if time.monotonic() > deadline:
            pytest.fail("Slurm does not come up:\n" + (folder / "daemons.log").read_text(errors="replace")[-3000:])
        time.sleep(0.1)


def _wait_until_empty(slurm: Slurm) -> None:
    deadline = time.monotonic() + 20
    while slurm.call("squeue", "-h").stdout.strip() and time.monotonic() < deadline:
        time.sleep(0.2)
