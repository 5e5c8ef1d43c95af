"""What a flow run that Prefect started makes of its settings."""

from __future__ import annotations

import pytest

from flows.run.prefect_state import stop_of_own_run
from flows.run.stopping import StopReason


@pytest.mark.parametrize(("wanted_s", "given_s", "warned"), [(5, 5, False), (10, 10, False), (600, 10, True)])
def test_a_grace_period_ends_before_prefect_kills_the_run(
    monkeypatch: pytest.MonkeyPatch, wanted_s: float, given_s: float, warned: bool
) -> None:
    now = [1000.0]
    monkeypatch.setattr("flows.run.stopping.time.monotonic", lambda: now[0])
    said: list[str] = []
    stop = stop_of_own_run(wanted_s, said.append)
    stop.request(StopReason.CANCELLED)
    now[0] += given_s - 0.1
    assert not stop.out_of_patience
    now[0] += 0.2
    assert stop.out_of_patience
    assert ["10 s to finish, not 600 s" in line for line in said] == [True] * warned
