"""The flow of reporting, on a real Prefect server."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import ROOT

TABLE = {"recording_id": ["R"], "chunk_id": ["c"], "absolute_time_ms": [0], "label": ["Ovenbird"], "confidence": [0.5]}


def test_with_a_server_the_bundle_is_a_flow_run_there(badc, tmp_path, prefect_api):
    pq.write_table(pa.table(TABLE), tmp_path / "a table.parquet")
    done = badc("report", "bundle", "--parquet", "a table.parquet", "--no-html")
    out, err = done.communicate(timeout=120)
    assert done.returncode == 0, err
    assert str(tmp_path / "a table_quicklook" / "labels.csv") in out
    assert (tmp_path / "a table.duckdb").is_file()
    assert _run_names(prefect_api)["report a table.parquet"] == "COMPLETED"


def test_a_wrong_request_stays_a_clear_error_inside_of_a_flow(badc):
    done = badc("report", "bundle", "--parquet", "none.parquet")
    _, err = done.communicate(timeout=120)
    assert done.returncode == 2
    assert "badc: none.parquet: no such table of detections" in err
    assert "Traceback" not in err


@pytest.mark.long
def test_the_module_takes_the_options_of_its_command(tmp_path):
    pq.write_table(pa.table(TABLE), tmp_path / "t.parquet")
    done = subprocess.run(
        [sys.executable, "-m", "flows.report", "--parquet", tmp_path / "t.parquet", "--no-html", "--no-duckdb-report"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "t_parquet_report" / "summary.json").is_file()


def _run_names(api: str) -> dict[str, str]:
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    async def read() -> dict[str, str]:
        async with get_client() as client:
            return {run.name: run.state_type.value for run in await client.read_flow_runs()}

    with temporary_settings({PREFECT_API_URL: api}):
        return asyncio.run(read())
