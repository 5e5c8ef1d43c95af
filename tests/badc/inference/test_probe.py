"""Probing: where the search looks, how each end of an attempt is told, what is logged, and on which GPU it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from badc.detections.result import ChunkResult, ResultStatus
from badc.errors import RequestError, RunnerError
from badc.inference.probe import ProbeOutcome, ProbeReport, longest_that_fits, new_probe_log, probe, recommended
from badc.inference.probe_settings import ProbeSettings
from badc.runners.interface import RunnerOutput
from badc.settings.model import settings_from
from badc.system.memory import HostMemorySampler
from badc.telemetry.events import EventStatus, read_events

pytestmark = pytest.mark.usefixtures("_fresh_runner")


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the GPUs that this machine may have."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture
def probed(make_recording: Callable[..., Path], fake: Callable[..., str]) -> Callable[..., ProbeReport]:
    """Return a function that probes `tests/fakes/limited.py` with some options on 200 s of noise."""

    def run(*options: object, seconds: float = 200, **settings: Any) -> ProbeReport:
        command = fake("limited", *options)
        return probe(ProbeSettings(audio=make_recording(seconds=seconds), runner_cmd=command, **settings))

    return run


def windows_s(report: ProbeReport) -> list[float]:
    return [attempt.duration_ms / 1000 for attempt in report.attempts]


@pytest.mark.parametrize("limit_ms", [3000, 3001, 7900, 60_000, 61_000, 119_999, 777_123, 3_599_999])
@pytest.mark.parametrize("tolerance_ms", [10, 500, 5000])
@pytest.mark.parametrize("first_ms", [3000, 60_000, 3_600_000])
def test_the_search_ends_within_the_tolerance_of_the_limit(limit_ms: int, tolerance_ms: int, first_ms: int) -> None:
    tried: list[int] = []

    def fits(window_ms: int) -> bool:
        tried.append(window_ms)
        return window_ms <= limit_ms

    found_ms = longest_that_fits(fits, first_ms, 3_600_000, tolerance_ms)

    assert found_ms is not None
    assert limit_ms - tolerance_ms <= found_ms <= limit_ms
    assert found_ms in tried, "what is reported was run"
    assert len(set(tried)) == len(tried), "no window is run twice"
    assert len(tried) <= 35
    assert max(tried) <= 3_600_000


def test_without_a_limit_the_whole_length_is_run_and_ends_the_search() -> None:
    tried: list[int] = []
    assert longest_that_fits(lambda ms: not tried.append(ms), 60_000, 200_500, 5000) == 200_500  # type: ignore[func-returns-value]
    assert tried == [60_000, 120_000, 200_500]


def test_a_runner_that_works_on_nothing_is_found_out_in_two_attempts() -> None:
    tried: list[int] = []
    assert longest_that_fits(lambda ms: bool(tried.append(ms)), 60_000, 200_000, 5000) is None  # type: ignore[func-returns-value]
    assert tried == [60_000, 3000]


@pytest.mark.parametrize(
    ("longest_ms", "margin", "expected_ms"),
    [
        (94_000, 0.8, 75_000),
        (60_000, 1.0, 60_000),
        (30_000, 0.7, 21_000),
        (3750, 0.8, 3000),
        (3000, 0.8, 2400),
        (1500, 1, 1500),
    ],
)
def test_the_recommendation_is_whole_windows_of_3_s(longest_ms: int, margin: float, expected_ms: int) -> None:
    assert recommended(longest_ms, margin) == expected_ms


def test_the_limit_of_a_real_command_is_found(probed: Callable[..., ProbeReport], tmp_path: Path) -> None:
    report = probed("--limit-s", 97, "--record", tmp_path / "calls")

    assert report.longest_ms is not None
    assert 92_000 <= report.longest_ms <= 97_000
    assert report.recommended_ms == recommended(report.longest_ms, 0.8)
    calls = [float(line.split()[0]) for line in (tmp_path / "calls").read_text().splitlines()]
    assert calls == windows_s(report), "the command got just these windows"
    for attempt in report.attempts:
        fits = attempt.duration_ms <= 97_000
        assert attempt.outcome is (ProbeOutcome.OK if fits else ProbeOutcome.OUT_OF_MEMORY)
        assert (attempt.reason is None) == fits
    nearest = report.nearest_failure
    assert nearest is not None
    assert 97_000 < nearest.duration_ms <= report.longest_ms + 5000
    assert "CUDA out of memory" in str(nearest.reason)


@pytest.mark.parametrize(
    ("then", "reason"), [("exit", "ended with exit code 1: 60.0 s are too many"), ("kill", "was killed by signal 9")]
)
def test_another_end_is_a_failure_with_its_reason(probed: Callable[..., ProbeReport], then: str, reason: str) -> None:
    report = probed("--limit-s", 50, "--then", then, tolerance_s=60)

    assert report.attempts[0].outcome is ProbeOutcome.FAILED
    assert reason in str(report.attempts[0].reason)
    assert report.longest_ms == 3000, "the tolerance allows no more"


@pytest.mark.parametrize(
    ("limits", "option"),
    [
        ({"max_seconds": 1}, "--max-seconds 1 s"),
        ({"max_seconds": 1, "chunk_timeout_s": 60}, "--max-seconds 1 s"),
        ({"max_seconds": 60, "chunk_timeout_s": 1}, "--chunk-timeout 1 s"),
    ],
)
def test_a_window_that_takes_too_long_is_stopped(
    probed: Callable[..., ProbeReport], limits: dict[str, float], option: str
) -> None:
    report = probed("--limit-s", 70, "--then", "hang", tolerance_s=60, **limits)

    assert [attempt.outcome for attempt in report.attempts] == [ProbeOutcome.OK, ProbeOutcome.TOO_SLOW]
    assert report.attempts[1].reason == f"took longer than {option}"
    assert 1 <= report.attempts[1].runtime_s < 20
    assert report.longest_ms == 60_000


def test_a_runner_that_fails_from_the_start_has_no_longest(probed: Callable[..., ProbeReport]) -> None:
    report = probed("--limit-s", 1, "--then", "exit")

    assert windows_s(report) == [60, 3]
    assert (report.longest_ms, report.recommended_ms) == (None, None)
    assert "3.0 s are too many" in str(report.nearest_failure and report.nearest_failure.reason)


@pytest.mark.parametrize(
    ("seconds", "settings", "expected_s"),
    [
        (130.5, {}, [60, 120, 130.5]),
        (20, {}, [20]),
        (1.5, {}, [1.5]),
        (200, {"max_duration_s": 70}, [60, 70]),
        (50, {"max_duration_s": 70, "initial_duration_s": 10}, [10, 20, 40, 50]),
    ],
)
def test_no_window_is_longer_than_the_recording_or_the_maximum(
    probed: Callable[..., ProbeReport], seconds: float, settings: dict[str, float], expected_s: list[float]
) -> None:
    report = probed(seconds=seconds, **settings)

    assert windows_s(report) == expected_s
    assert report.longest_ms == report.most_ms == expected_s[-1] * 1000
    assert report.nearest_failure is None


def test_each_attempt_is_logged_when_it_starts_and_when_it_ends(
    probed: Callable[..., ProbeReport], lines_of: Callable[[Path], list[dict[str, Any]]], tmp_path: Path
) -> None:
    report = probed("--limit-s", 70, tolerance_s=30, log=tmp_path / "logs" / "p.jsonl")

    assert report.log == tmp_path / "logs" / "p.jsonl"
    lines = lines_of(report.log)
    assert [(line["details"]["duration_s"], line["status"]) for line in lines] == [
        (60, "start"),
        (60, "success"),
        (120, "start"),
        (120, "failure"),
        (90, "start"),
        (90, "failure"),
    ]
    for line, attempt in zip(lines[1::2], report.attempts, strict=True):
        details = line["details"]
        assert line["runtime_s"] == attempt.runtime_s > 0
        assert details["outcome"] == attempt.outcome.value
        assert details["peak_host_mib"] == attempt.peak_host_mib
        assert details["peak_gpu_mib"] is None
        assert details.get("error") == attempt.reason
    assert [event.status for event in read_events(report.log)][-1] is EventStatus.FAILURE, "`badc telemetry` reads it"


def test_an_attempt_is_told_when_it_has_ended_and_is_in_the_log_by_then(
    make_recording: Callable[..., Path], fake: Callable[..., str], tmp_path: Path
) -> None:
    log, seen = tmp_path / "p.jsonl", []
    settings = ProbeSettings(audio=make_recording(seconds=10), runner_cmd=fake("limited"), log=log)
    report = probe(settings, lambda attempt: seen.append((attempt, len(log.read_text().splitlines()))))

    assert seen == [(report.attempts[0], 2)]


def test_the_default_log_lies_in_the_dataset_or_here(probed: Callable[..., ProbeReport], tmp_path: Path) -> None:
    outside = probed(seconds=5)
    (tmp_path / ".datalad").mkdir()
    inside = probed(seconds=5)

    assert outside.log.parent == tmp_path / "data" / "telemetry" / "probe"
    assert inside.log.parent == tmp_path / "artifacts" / "telemetry" / "probe"
    assert inside.log.name.startswith("REC_")
    assert inside.log.is_file()


def test_two_searches_within_a_second_have_two_logs(tmp_path: Path) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    first = new_probe_log("REC", tmp_path, at)
    first.parent.mkdir(parents=True)
    first.touch()
    assert (first.name, new_probe_log("REC", tmp_path, at).name) == (
        "REC_20260102T030405Z.jsonl",
        "REC_20260102T030405Z_2.jsonl",
    )


def test_host_memory_is_that_of_the_command_too(probed: Callable[..., ProbeReport]) -> None:
    small = probed(seconds=5).attempts[0].peak_host_mib
    large = probed("--hold-mib", 300, seconds=5).attempts[0].peak_host_mib

    assert small is not None
    assert large is not None
    assert 250 <= large - small <= 400


def test_an_instant_is_sampled_too() -> None:
    with HostMemorySampler(60) as memory:
        pass
    assert memory.peak_mib


class _CountingRunner:
    """A runner that cannot be stopped: out of memory above 70 s, in whatever process it runs."""

    name = "stub"

    def __init__(self, seen: list[str]) -> None:
        self._seen = seen
        seen.append("open")

    def detect(self, chunk: Any, audio: Any) -> RunnerOutput:
        self._seen.append(f"{chunk.duration_ms // 1000}")
        if chunk.duration_ms > 70_000:
            raise RunnerError("CUDA out of memory")
        return RunnerOutput(ChunkResult(chunk, self.name, ResultStatus.STUB))

    def close(self) -> None:
        self._seen.append("close")


@dataclass(frozen=True)
class _CountingSpec:
    seen: list[str]
    keeps_model: bool = False
    name = "stub"

    def open(self, place: Any) -> _CountingRunner:
        return _CountingRunner(self.seen)


def test_only_a_failed_attempt_gets_a_fresh_runner(
    make_recording: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(ProbeSettings, "runner_spec", lambda self: _CountingSpec(seen))
    probe(ProbeSettings(audio=make_recording(seconds=200), initial_duration_s=30, tolerance_s=15))

    assert seen == ["open", "30", "60", "120", "close", "open", "90", "close", "open", "75", "close"]


def test_a_runner_that_keeps_its_model_loads_it_before_it_is_timed(
    make_recording: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(ProbeSettings, "runner_spec", lambda self: _CountingSpec(seen, keeps_model=True))
    report = probe(ProbeSettings(audio=make_recording(seconds=90), initial_duration_s=40, tolerance_s=20))

    assert seen == ["open", "3", "40", "80", "close", "open", "3", "60", "close"]
    assert windows_s(report) == [40, 80, 60], "what is only run to load the model is no attempt"


def test_a_runner_that_cannot_be_stopped_is_timed(
    make_recording: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ProbeSettings, "runner_spec", lambda self: _CountingSpec([]))
    report = probe(ProbeSettings(audio=make_recording(seconds=5), max_seconds=1e-9))

    assert [attempt.outcome for attempt in report.attempts] == [ProbeOutcome.TOO_SLOW] * 2
    assert report.longest_ms is None


def test_a_bug_in_a_runner_is_a_failed_attempt(
    make_recording: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ProbeSettings, "runner_spec", lambda self: _CountingSpec([]))
    monkeypatch.setattr(_CountingRunner, "detect", lambda self, chunk, audio: [][1])
    report = probe(ProbeSettings(audio=make_recording(seconds=5)))

    assert report.attempts[0].outcome is ProbeOutcome.FAILED
    assert report.attempts[0].reason == "IndexError: list index out of range"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"audio": "none.wav"}, "none.wav: no such audio file"),
        ({"gpu_index": 0}, "--gpu-index 0: "),
        ({"log": "."}, "--log is a folder"),
        ({"log": "REC.txt/p.jsonl"}, "the telemetry folder cannot be made"),
        ({"initial_duration_s": 2}, "--initial-duration: "),
        ({"max_duration_s": 2}, "--max-duration: "),
        ({"tolerance_s": 0}, "--tolerance: "),
        ({"max_seconds": 0}, "--max-seconds: "),
        ({"safety_margin": 1.1}, "--safety-margin: "),
        ({"safety_margin": 0}, "--safety-margin: "),
        ({"runner_cmd": "x", "use_birdnet": True}, "--runner-cmd and --use-birdnet exclude each other"),
    ],
)
def test_a_wrong_request_runs_nothing(
    values: dict[str, Any], message: str, make_recording: Callable[..., Path], tmp_path: Path
) -> None:
    audio = make_recording(seconds=5)
    (tmp_path / "REC.txt").touch()
    with pytest.raises(RequestError) as caught:
        probe(settings_from(ProbeSettings, {"audio": audio, **values}))

    assert message in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {"audio", "REC.txt"}, "nothing is written"


def test_without_a_gpu_the_runner_sees_none(probed: Callable[..., ProbeReport], tmp_path: Path) -> None:
    report = probed("--record", tmp_path / "calls", seconds=5)

    assert report.gpu is None
    assert (tmp_path / "calls").read_text().split() == ["5.0", "''"]
