"""When a run that is to stop loses its patience with the chunks that still run."""

from __future__ import annotations

import signal

import pytest

from flows.run.stopping import Stop, StopReason


@pytest.mark.parametrize(
    ("reason", "number", "out_of_patience"),
    [
        (StopReason.INTERRUPTED, signal.SIGINT, True),
        (StopReason.INTERRUPTED, signal.SIGTERM, True),
        (StopReason.CANCELLED, signal.SIGINT, True),
        # Prefect's worker sends it to a run that may have heard of its cancellation already.
        (StopReason.CANCELLED, signal.SIGTERM, False),
    ],
)
def test_a_signal_to_a_run_that_stops_already(
    reason: StopReason, number: signal.Signals, out_of_patience: bool
) -> None:
    stop = Stop(grace_period_s=600, say=lambda line: None)
    part = stop.part()
    with stop.while_running(lambda: False):
        stop.request(reason)
        assert not stop.out_of_patience
        signal.raise_signal(number)
        assert (stop.out_of_patience, part.out_of_patience) == (out_of_patience, out_of_patience)


def test_the_first_signal_gives_running_chunks_their_grace_period() -> None:
    said: list[str] = []
    stop = Stop(grace_period_s=600, say=said.append)
    with stop.while_running(lambda: False):
        signal.raise_signal(signal.SIGTERM)
    assert stop.reason is StopReason.INTERRUPTED
    assert not stop.out_of_patience
    assert "running ones get 600 s to finish" in said[0]


def test_a_step_that_has_ended_leaves_the_run_its_stop_and_the_end_of_the_run_hears_nothing_more() -> None:
    said: list[str] = []
    stop = Stop(grace_period_s=600, say=said.append)
    with stop.heeding_signals():
        with stop.while_running(lambda: None):
            with stop.while_running(lambda: None):
                pass
            assert stop.reason is None
            signal.raise_signal(signal.SIGINT)
            assert stop.reason is StopReason.INTERRUPTED
        said.clear()
        signal.raise_signal(signal.SIGINT)
    assert said == []
