"""A flow run that Prefect tries again goes on with what it did before."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from badc.inference.settings import InferSettings
from badc.telemetry.events import EventStatus, read_events

pytestmark = pytest.mark.slow

# Fails at one chunk, and no more once the file is there.
FLAKY = """
import argparse, json, pathlib
parser = argparse.ArgumentParser()
parser.add_argument("--input"), parser.add_argument("--output"), parser.add_argument("--mended", type=pathlib.Path)
given = parser.parse_args()
if "chunk_2000" in given.output and not given.mended.exists():
    given.mended.touch()
    raise SystemExit("not yet")
json.dump({"detections": []}, open(given.output, "w"))
"""


@pytest.mark.parametrize(("named_log", "resumed"), [(True, False), (False, False), (False, True)])
def test_only_what_failed_is_done_again(
    prefect_api: str,
    dask_scheduler: str,
    make_recording: Any,
    make_manifest: Any,
    tmp_path: Path,
    monkeypatch: Any,
    named_log: bool,
    resumed: bool,
) -> None:
    from prefect.client.orchestration import get_client
    from prefect.flow_engine import run_flow

    from flows.infer import infer

    monkeypatch.chdir(tmp_path)
    (tmp_path / "flaky.py").write_text(FLAKY)
    manifest = make_manifest(make_recording(seconds=4))
    earlier = tmp_path / "earlier.summary.json"
    earlier.write_text('{"jobs": {"REC_chunk_0_1000": {"status": "success"}}}')  # whose output is gone
    settings = InferSettings(
        manifest=manifest,
        runner_cmd=f"{sys.executable} {tmp_path / 'flaky.py'} --mended {tmp_path / 'mended'}",
        scheduler=dask_scheduler,
        output_dir=tmp_path / "out",
        telemetry_log=tmp_path / "run.jsonl" if named_log else None,
        resume_summary=earlier if resumed else None,
        max_retries=0,
        keep_going=True,
    )
    # Retries of a flow that ends as Failed are scheduled at the server; a worker then starts the same flow run again.
    with_a_retry = infer.with_options(retries=1)
    state = with_a_retry(settings, return_state=True)
    assert state.name == "AwaitingRetry", state.message
    with get_client(sync_client=True) as client:
        again = client.read_flow_run(state.state_details.flow_run_id)
    state = run_flow(with_a_retry, flow_run=again, parameters={"settings": settings}, return_type="state")
    assert state.is_completed(), state.message
    log = tmp_path / "run.jsonl" if named_log else next((tmp_path / "data" / "telemetry" / "infer").glob("REC_*.jsonl"))
    events = list(read_events(log))
    starts = [event.chunk_id for event in events if event.status is EventStatus.START]
    assert len(starts) == 5, "four chunks, and one of them again"
    assert [chunk for chunk in starts if starts.count(chunk) == 2] == ["REC_chunk_2000_3000"] * 2
    summary = orjson.loads(log.with_name(f"{log.name}.summary.json").read_bytes())
    assert summary["state"] == "completed"
    assert [job["status"] for job in summary["jobs"].values()] == ["success"] * 4
