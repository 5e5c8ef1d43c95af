"""Records of inference in real DataLad datasets: they are reproduced, in clones, and whatever the names."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from badc.chunks.manifest import Chunk, write_manifest
from badc.datalad.environment import environment
from badc.datalad.record import record
from badc.datalad.worktree import require_clean
from badc.detections.result import result_path
from badc.inference.plan import plan_inference
from badc.inference.provenance import infer_run
from badc.inference.settings import InferSettings
from badc.inference.worker import infer_chunks
from tests.badc.datalad.test_record import datalad, files_of, git, is_clean
from tests.conftest import FAKES

pytestmark = pytest.mark.datalad


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.usefixtures("_fresh_runner")
def test_a_recorded_inference_is_reproduced_in_a_clone(
    datalad_dataset: Path, datalad_clone: Path, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (datalad_dataset / "code").mkdir()
    shutil.copy(FAKES / "detector.py", datalad_dataset / "code")
    datalad(datalad_dataset, "save", "-m", "code")
    monkeypatch.chdir(datalad_dataset / "code")
    monkeypatch.setenv("PATH", environment()["PATH"])
    settings = InferSettings(manifest=Path("../manifests/REC.csv"), runner_cmd="python detector.py", max_gpus=0)
    run = infer_run(settings, rerunnable=True)
    assert "code/detector.py" in run.inputs
    require_clean([run])
    plan = plan_inference(settings)
    assert all(attempt.ok for attempt in infer_chunks(plan.todo, plan.order, lambda attempt: None))
    commit = record(run)
    assert commit

    git(datalad_clone, "pull", "-q")
    assert not (datalad_clone / "audio/REC.wav").exists()
    before = {chunk.chunk_id: _detections(datalad_dataset, chunk) for chunk in plan.manifest.chunks}
    assert all(before.values())
    datalad(datalad_clone, "rerun", commit, PREFECT_API_URL=prefect_api)
    assert {chunk.chunk_id: _detections(datalad_clone, chunk) for chunk in plan.manifest.chunks} == before
    assert is_clean(datalad_clone)
    assert "artifacts/telemetry/infer/REC.jsonl" in files_of(datalad_clone, "HEAD")


def _detections(root: Path, chunk: Chunk) -> object:
    document = json.loads(result_path(root / "artifacts" / "infer", chunk).read_bytes())
    return document["detections"]


FAKE_BADC = f"""#!{sys.executable}
import csv, pathlib, sys
words = sys.argv[1:]
manifest, out = words[2], words[words.index("--output-dir") + 1]
for row in csv.DictReader(open(manifest, newline="")):
    audio = pathlib.Path(row["source_path"]).read_text()
    folder = pathlib.Path(out, row["recording_id"])
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "c.json"
    target.unlink(missing_ok=True)
    target.write_text(audio)
"""


def test_printed_lines_run_for_hostile_names_and_so_do_their_records(
    datalad_dataset: Path, datalad_clone: Path, tmp_path: Path, hostile_ids: tuple[str, ...]
) -> None:
    audio = {name: f"audio of {name}" * 100 for name in hostile_ids}
    for name in audio:
        (datalad_dataset / "audio" / f"{name}.wav").write_text(audio[name])
    manifest = "manifests/{all} 'of' them.csv"
    write_manifest(datalad_dataset / manifest, [Chunk(name, f"{name}_0", f"audio/{name}.wav", 0, 1) for name in audio])
    datalad(datalad_dataset, "save", "-m", "hostile")
    git(datalad_clone, "pull", "-q")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "badc").write_text(FAKE_BADC)
    (tmp_path / "bin" / "badc").chmod(0o755)
    env = os.environ | {"PATH": f"{tmp_path / 'bin'}:{environment()['PATH']}"}

    def outputs() -> dict[str, str]:
        return {name: (datalad_clone / "artifacts/infer" / name / "c.json").read_text() for name in audio}

    run = infer_run(InferSettings(manifest=datalad_clone / manifest))
    done = subprocess.run(["/bin/sh", "-c", run.line()], capture_output=True, text=True, check=False, cwd="/", env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert outputs() == audio
    assert is_clean(datalad_clone)

    git(datalad_clone, "reset", "-q", "--hard", "HEAD^")
    require_clean([run])
    subprocess.run([tmp_path / "bin" / "badc", *run.command[1:]], cwd=datalad_clone, check=True)
    commit = record(run)
    assert commit
    assert len(files_of(datalad_clone, commit)) == len(audio)
    git(datalad_clone, "rm", "-rq", "artifacts")
    git(datalad_clone, "commit", "-qm", "away")
    done = subprocess.run(["datalad", "rerun", commit], capture_output=True, check=False, cwd=datalad_clone, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert outputs() == audio
    assert is_clean(datalad_clone)
    assert not list(tmp_path.rglob("pwned"))
