"""Disks that fill up, and folders that become read-only, in the middle of a run."""

from __future__ import annotations

import os
import shutil
from collections import Counter

import pytest

from badc.errors import RequestError
from badc.inference.attempt import Attempt
from badc.inference.full_disk import FullDisk
from badc.inference.ledger import RunLedger
from badc.inference.plan import plan_inference
from badc.inference.settings import InferSettings
from badc.runners.interface import chunk_wav
from badc.telemetry.events import read_events
from badc.telemetry.summary import RunState
from tests.flows.conftest import read_summary, unended_starts
from tests.flows.test_infer_ends import successes, wait_until


@pytest.fixture
def ledger(small_disk, make_recording, make_manifest):
    """The books of a run on a small disk, and that disk."""
    disk = small_disk("telemetry")
    settings = InferSettings(
        manifest=make_manifest(make_recording(seconds=2)), output_dir="out", telemetry_log=disk.path / "run.jsonl"
    )
    return RunLedger(plan_inference(settings)), disk


def _begin_both(ledger: RunLedger) -> None:
    for key in ("REC_chunk_0_1000", "REC_chunk_1000_2000"):
        ledger.started(Attempt(key, None, None), "cpu-0")


def test_telemetry_of_a_disk_that_is_full_for_a_while_is_written_later(ledger) -> None:
    books, disk = ledger
    log, said = disk.path / "run.jsonl", []
    full = FullDisk(books, said.append)
    disk.fill()
    _begin_both(books)
    assert not full.is_final()
    assert list(read_events(log)) == []
    disk.free()
    full.wait(lambda: False)
    books.finish(RunState.INTERRUPTED)
    assert full.errors == []
    assert len(list(read_events(log))) == 4
    assert unended_starts(log) == []
    assert read_summary(log)["state"] == "interrupted"
    assert said == [
        f"{log}: the telemetry cannot be written (No space left on device); unless that ends within 60 s, the run "
        "stops",
        "The telemetry can be written again",
    ]


def test_a_disk_that_stays_full_is_given_up_and_named(ledger) -> None:
    books, disk = ledger
    full = FullDisk(books, lambda line: None, patience_s=0.5)
    disk.fill()
    _begin_both(books)
    full.wait(lambda: False)
    books.finish(RunState.COMPLETED)
    assert books.summary.state is RunState.FAILED, "a run without its books is not complete"
    assert full.errors == [f"{disk.path / 'run.jsonl'}: the telemetry could not be written (No space left on device)"]
    assert read_summary(disk.path / "run.jsonl")["state"] == "running"


@pytest.mark.long
@pytest.mark.parametrize("stays", [False, True])
def test_a_run_whose_telemetry_disk_fills_up(
    badc, small_disk, make_recording, make_manifest, fake, tmp_path, stays
) -> None:
    disk = small_disk("telemetry")
    log = disk.path / "run.jsonl"
    words = ["infer", "run", make_manifest(make_recording(seconds=400 if stays else 20)), "--output-dir", "out"]
    words += ["--runner-cmd", fake("detector", "--seconds", 0.3), "--max-gpus", 0, "--cpu-workers", 1]
    process = badc(*words, "--telemetry-log", log)
    wait_until(lambda: len(successes(log)) >= 2)
    disk.fill()
    assert any("the telemetry cannot be written (No space left on device)" in line for line in process.stderr)
    if not stays:
        disk.free()
    _, err = process.communicate(timeout=200)
    assert "Traceback" not in err
    if not stays:
        assert process.returncode == 0, err
        assert len(successes(log)) == 20
        assert unended_starts(log) == []
        return
    assert process.returncode == 1
    assert f"badc: {log}: the telemetry could not be written (No space left on device)\n" in err
    assert f"--resume-summary {log} " in err, "the summary is older"
    known = len(successes(log))
    disk.free()
    (tmp_path / "audio" / "REC.wav").unlink()  # the chunks that are known to be done are not asked for
    again = badc(*words, "--telemetry-log", tmp_path / "2.jsonl", "--resume-summary", log, "--keep-going")
    again.communicate(timeout=300)
    assert Counter(event.status.value for event in read_events(tmp_path / "2.jsonl"))["skipped"] == known


@pytest.mark.long
@pytest.mark.skipif(os.getuid() != 0 or shutil.which("setpriv") is None, reason="only root can give up its powers")
def test_outputs_that_become_unwritable_stop_a_run(badc, make_recording, make_manifest, fake, tmp_path) -> None:
    out, log = tmp_path / "out", tmp_path / "run.jsonl"
    words = ["infer", "run", make_manifest(make_recording(seconds=10)), "--output-dir", out, "--max-retries", 0]
    words += ["--runner-cmd", fake("detector", "--seconds", 0.3), "--max-gpus", 0, "--cpu-workers", 1]
    as_others = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]  # root, who heeds permissions
    process = badc(*words, "--telemetry-log", log, before=as_others)
    wait_until(lambda: len(successes(log)) >= 2)
    for folder in (out, out / "REC", out / ".badc-lock"):
        folder.chmod(0o555)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1
    assert f"Permission denied: {out}/REC/REC_chunk_" in err
    assert "Resume with: badc infer run" in err
    assert "Traceback" not in err
    assert read_summary(log)["state"] == "failed"
    assert unended_starts(log) == []
    for folder in (out, out / "REC", out / ".badc-lock"):
        folder.chmod(0o755)
    again = badc(*words, "--telemetry-log", tmp_path / "2.jsonl", "--resume-summary", f"{log}.summary.json")
    _, err = again.communicate(timeout=300)
    assert again.returncode == 0, err
    assert not successes(log) & successes(tmp_path / "2.jsonl")


def test_a_full_temporary_folder_is_named(small_disk, make_recording, make_manifest) -> None:
    disk = small_disk("tmp")
    settings = InferSettings(manifest=make_manifest(make_recording(seconds=4), chunk_s=2), output_dir="out")
    (first, *_) = plan_inference(settings).todo
    disk.fill()
    with pytest.raises(OSError, match="No space left") as full, chunk_wav(first.chunk, first.audio, disk.path):
        pass
    assert full.value.filename == str(disk.path / "REC_chunk_0_2000.wav")
    assert [path.name for path in disk.path.iterdir()] == ["filling"], "nor is anything left there"


def test_two_runs_do_not_share_a_telemetry_log(make_recording, make_manifest, tmp_path) -> None:
    log = tmp_path / "run.jsonl"
    first, second = (
        plan_inference(
            InferSettings(
                manifest=make_manifest(make_recording(f"{name}.wav")), output_dir=tmp_path / name, telemetry_log=log
            )
        )
        for name in ("A", "B")
    )
    taken = rf"another run is writing run\.jsonl: process {os.getpid()} on .* choose another --telemetry-log"
    with first.locked(print), pytest.raises(RequestError, match=taken), second.locked(print):
        pass
    with second.locked(print):
        pass
    assert not (tmp_path / ".badc-lock").exists()


@pytest.mark.long
def test_a_prefect_home_that_cannot_be_written_is_named(badc, small_disk, make_recording, make_manifest) -> None:
    home = small_disk("home")
    home.fill()
    words = ["infer", "run", make_manifest(make_recording(seconds=1)), "--max-gpus", 0, "--cpu-workers", 1]
    process = badc(*words, PREFECT_API_URL="", PREFECT_HOME=str(home.path))
    _, err = process.communicate(timeout=200)
    assert process.returncode == 1, err
    assert f"{home.path}: the database of Prefect's server (PREFECT_HOME) cannot be written (No space left" in err
    assert "Traceback" not in err
