"""Records that name files elsewhere: a chunk status, a summary, a telemetry log. What they name stays as it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from badc.chunks.status import STATUS_FILE
from badc.datasets.chunking.plan import plan_dataset
from badc.datasets.chunking.recording import chunk_recording
from badc.datasets.chunking.settings import ChunkSettings
from badc.inference.plan import plan_inference
from badc.inference.settings import InferSettings
from badc.inference.worker import infer_chunks
from tests.badc.elsewhere import is_untouched, make_elsewhere

NAMES = ("REC.csv", "REC_chunk_0_1000.json", "REC_chunk_0_3000.wav")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder outside, with files of the names that ours would have."""
    return make_elsewhere(tmp_path / "elsewhere", NAMES)


@pytest.mark.parametrize("status", ["failed", "in_progress", "completed"])
def test_a_chunk_status_leads_to_no_other_file(
    make_recording: Callable[..., Path], tmp_path: Path, elsewhere: Path, status: str
) -> None:
    make_recording("REC.wav")
    cut = plan_dataset(ChunkSettings(dataset=tmp_path, chunk_duration_s=1, virtual=False), False)
    assert [chunk_recording(r, cut.order).error for r in cut.todo] == [None]
    path = tmp_path / "artifacts" / "chunks" / "REC" / STATUS_FILE
    told = json.loads(path.read_text()) | {"status": status, "recording_id": "../../../elsewhere/REC"}
    for place in (elsewhere, Path("../../../elsewhere")):
        path.write_text(json.dumps(told | {"manifest_path": f"{place}/REC.csv"}))
        again = plan_dataset(
            ChunkSettings(dataset=tmp_path, chunk_duration_s=2, include_existing=True, virtual=False), False
        )
        assert [chunk_recording(r, again.order).recording_id for r in again.todo] == ["REC"]
        assert is_untouched(elsewhere, NAMES)


@pytest.mark.parametrize("name", ["run.jsonl.summary.json", "run.jsonl"])
def test_a_resumed_run_writes_nothing_that_its_record_names(
    make_recording: Callable[..., Path], make_manifest: Callable[..., Path], tmp_path: Path, elsewhere: Path, name: str
) -> None:
    key, output = "REC_chunk_0_1000", str(elsewhere / "REC_chunk_0_1000.json")
    job = {"status": "success", "recording_id": "REC", "output": output, "worker": "cpu-0"}
    event = {"chunk_id": key, "status": "success", "timestamp": "2026-05-09T07:18:55+00:00"}
    event |= {"recording_id": "REC", "details": {"output": output, "attempt": 1}}
    record = {"jobs": {key: job}, "telemetry_log": f"{elsewhere}/x"} if "summary" in name else event
    (tmp_path / name).write_text(json.dumps(record) + "\n")
    settings = InferSettings(
        manifest=make_manifest(make_recording()), output_dir=tmp_path / "out", resume_summary=tmp_path / name
    )
    plan = plan_inference(settings)
    assert all(attempt.ok for attempt in infer_chunks(plan.todo, plan.order, lambda attempt: None))
    assert len(list((tmp_path / "out" / "REC").iterdir())) == 4
    assert is_untouched(elsewhere, NAMES)
