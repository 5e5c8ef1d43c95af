"""The server that a run reports to asks who is there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


def test_a_server_that_lets_nobody_in_unasked_is_refused_with_the_way_out(prefect_api: str) -> None:
    # In a process of its own: Prefect reads its settings once.
    code = "from flows.server.local import PrefectApi; PrefectApi.begin().ready()"
    variables = os.environ | {"PREFECT_API_URL": prefect_api, "PREFECT_API_AUTH_STRING": "badc:of-another-server"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, timeout=100, check=False
    )
    assert "RequestError: PREFECT_API_URL" in done.stderr
    assert "does not let this shell in; give its authentication string as PREFECT_API_AUTH_STRING" in done.stderr
