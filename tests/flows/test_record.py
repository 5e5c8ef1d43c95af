"""Runs that were computed without DataLad, recorded afterwards: `datalad rerun` repeats them in a fresh clone."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from badc.chunks.cutting import plan_chunks, write_virtual_manifest
from badc.chunks.status import ChunkState, ChunkStatus, status_path, write_chunk_status
from badc.datasets.inference.after_the_fact import record_runs
from badc.datasets.inference.record_settings import RecordSettings
from badc.errors import RequestError
from tests.conftest import shell_variables
from tests.flows.test_chunk_orchestrate import ended


@pytest.mark.long
@pytest.mark.datalad
def test_what_tasks_computed_is_recorded_and_can_be_run_again_in_a_clone(badc, datalad_dataset, tmp_path, fake):
    root = datalad_dataset
    names = ("REC", "half", "o'brien", "saved")

    def run(folder, *words) -> str:
        done = subprocess.run(
            [*map(str, words)], cwd=folder, env=shell_variables(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    for name in names:
        if name != "REC":
            shutil.copy(root / "audio" / "REC.wav", root / "audio" / f"{name}.wav")
            plan = plan_chunks(root / "audio" / f"{name}.wav", 1.0)
            write_virtual_manifest(plan, root / "manifests" / f"{name}.csv", hash_chunks=False)
        status = ChunkStatus(name, None, None, ChunkState.COMPLETED)
        write_chunk_status(status_path(root / "artifacts" / "chunks", name), status)
    run(root, "datalad", "save", "-m", "chunked")
    command = fake("detector", "--only", "half_chunk_1000", "--then", "crash")
    words = ("infer", "orchestrate", root, "--apply", "--no-record-datalad", "--runner-cmd", command)
    code, _, err = ended(badc(*words, "--max-gpus", 0, "--cpu-workers", 1, "--max-retries", 0, "--keep-going"))
    assert code == 1, err
    run(root, "datalad", "save", "-m", "by hand", "artifacts/infer/saved", "artifacts/telemetry/infer")

    code, out, err = ended(badc("infer", "record", root))
    assert code == 0, err
    rows = {line.split("\t")[0]: line.split("\t")[1:] for line in out.splitlines()[1:]}
    assert {name: bool(commit) for name, (commit, _) in rows.items()} == {name: name != "half" for name in names}
    assert rows["half"][1] == "its run is failed"
    assert "3 recordings recorded, 1 not" in err
    assert run(root, "git", "status", "--porcelain", "artifacts/infer/REC", "artifacts/infer/o'brien") == ""
    again = {r.recording_id: r.reason for r in record_runs(RecordSettings(dataset=root))}
    assert again == dict.fromkeys(names, "recorded already") | {"half": "its run is failed"}

    # Results that were saved later, such as of other settings, are not what the record of before made.
    summary = root / "artifacts/telemetry/infer/REC.jsonl.summary.json"
    text = json.dumps(json.loads(summary.read_text()) | {"later": True})
    summary.unlink()  # a link of git-annex
    summary.write_text(text)
    run(root, "datalad", "save", "-m", "another run", "artifacts/telemetry/infer")
    with ThreadPoolExecutor() as pool:
        both = [pool.submit(record_runs, RecordSettings(dataset=root, pattern=("REC*",))) for _ in range(2)]
    assert sum(bool(each.result()[0].commit) for each in both) == 1, [each.result() for each in both]
    subjects = run(root, "git", "log", "--format=%s").splitlines()
    assert subjects.count("[DATALAD RUNCMD] Infer REC") == 2

    clone = tmp_path / "clone"
    run(tmp_path, "datalad", "clone", root, clone)
    for name in ("REC", "saved"):
        before = (root / "artifacts" / "infer" / name / f"{name}_chunk_0_1000.json").read_bytes()
        run(clone, "datalad", "rerun", rows[name][0])
        after = (clone / "artifacts" / "infer" / name / f"{name}_chunk_0_1000.json").read_bytes()
        assert json.loads(after)["detections"] == json.loads(before)["detections"] != []
        assert json.loads(after)["dataset_root"] == str(clone), "it was computed here"
    assert run(clone, "git", "status", "--porcelain") == ""


@pytest.mark.long
@pytest.mark.datalad
def test_later_results_of_another_folder_get_a_record_of_their_own(badc, datalad_dataset, fake):
    root, other = datalad_dataset, Path("artifacts/other")
    settings = RecordSettings(dataset=root, output_dir=other)
    words = ("infer", "orchestrate", root, "--apply", "--no-record-datalad", "--output-dir", other)
    code, _, err = ended(badc(*words, "--runner-cmd", fake("detector"), "--allow-partial-chunks", "--cpu-workers", 1))
    assert code == 0, err
    assert record_runs(settings)[0].commit is not None
    assert record_runs(settings)[0].reason == "recorded already"
    summary = root / "artifacts/telemetry/other/REC.jsonl.summary.json"
    text = json.dumps(json.loads(summary.read_text()) | {"later": True})
    summary.unlink()  # a link of git-annex
    summary.write_text(text)
    time.sleep(1.1)  # git's times are in seconds
    saved = ["datalad", "save", "-m", "another run", str(summary)]
    subprocess.run(saved, cwd=root, env=shell_variables(), capture_output=True, check=True)
    assert record_runs(settings)[0].commit is not None


@pytest.mark.datalad
def test_what_cannot_be_recorded_is_said(datalad_dataset, tmp_path):
    (only,) = record_runs(RecordSettings(dataset=datalad_dataset))
    assert (only.recording_id, only.commit, only.failed) == ("REC", None, False)
    assert only.reason.startswith("it has no summary (")
    with pytest.raises(RequestError, match="has no manifest that matches"):
        record_runs(RecordSettings(dataset=datalad_dataset, pattern=("x*",)))
    (tmp_path / "plain" / "manifests").mkdir(parents=True)
    with pytest.raises(RequestError, match="is not a DataLad dataset"):
        record_runs(RecordSettings(dataset=tmp_path / "plain"))
