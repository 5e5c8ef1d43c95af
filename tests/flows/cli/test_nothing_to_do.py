"""A request with nothing to do is answered before Prefect or Dask start."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from badc.chunks.cutting import plan_chunks, write_virtual_manifest
from badc.chunks.manifest import read_manifest
from badc.chunks.status import ChunkState, ChunkStatus, status_path, write_chunk_status
from badc.detections.result import ChunkResult, ResultStatus, result_path, write_result
from flows.cli.main import build

# Runs a command, and says which of what takes long to start has been imported.
_COMMAND = """
import sys
from flows.cli.main import build
try:
    build([sys.argv[1]])(sys.argv[1:])
finally:
    print(*(name for name in ("prefect", "distributed") if name in sys.modules), file=sys.stderr)
"""


@pytest.fixture
def finished(make_recording, tmp_path):
    """A dataset whose only recording is cut and analysed, by the stub."""
    cut = plan_chunks(make_recording("A.wav", 2), 1.0)
    write_virtual_manifest(cut, tmp_path / "manifests/A.csv", hash_chunks=False)
    chunks = read_manifest(tmp_path / "manifests/A.csv", tmp_path).chunks
    status = ChunkStatus("A", "audio/A.wav", "manifests/A.csv", ChunkState.COMPLETED)
    write_chunk_status(status_path(tmp_path / "artifacts/chunks", "A"), status)
    for chunk in chunks:
        result = ChunkResult(chunk, "stub", ResultStatus.STUB, settings={"runner": "stub"})
        write_result(result_path(tmp_path / "artifacts/infer", chunk), result)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "told", "code"),
    [
        (("pipeline", "run", ".", "--stub-runner", "--no-report"), "Nothing to analyse", 0),
        (("pipeline", "run", "none", "--stub-runner"), "none", 2),
        (("infer", "run", "manifests/A.csv", "--max-retries", "-1"), "--max-retries", 2),
    ],
)
def test_nothing_starts_for_nothing(finished, words, told, code):
    done = subprocess.run([sys.executable, "-c", _COMMAND, *words], cwd=finished, capture_output=True, text=True)
    assert (done.returncode, told in done.stdout + done.stderr) == (code, True), done.stderr
    assert done.stderr.splitlines()[-1] == ""


def test_plans_as_json_are_printed_alone(finished, monkeypatch):
    monkeypatch.chdir(finished)
    for words in (("infer", "orchestrate", ".", "--stub-runner"), ("chunk", "orchestrate", ".")):
        run = CliRunner().invoke(build([words[0]]), [*words, "--json"])
        assert [row["recording"] for row in json.loads(run.stdout)] == ["A"]
        refused = CliRunner().invoke(build([words[0]]), [*words, "--json", "--apply"])
        assert (refused.exit_code, refused.stdout) == (2, "")
