"""`badc chunk probe`: the longest chunk that a runner can process."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Any

from badc.inference.probe_settings import ProbeSettings
from flows.cli.console import print_table, warn_of_stub
from flows.cli.options import options_of

if TYPE_CHECKING:
    from badc.inference.probe import ProbeAttempt, ProbeReport


@options_of(ProbeSettings)
def probe(settings: ProbeSettings) -> int:
    """Find the longest chunk that a runner can process, by running it on windows of a recording.

    The window grows until the runner fails, runs out of memory or is too slow; then the search closes in on the limit.
    Detections are discarded. Exit codes: 0; 1 not even the shortest window works; 2 the request is wrong; 130
    interrupted.
    """
    from badc.inference.probe import probe as find_longest

    warn_of_stub(settings)
    report = find_longest(settings, lambda attempt: print(_progress(attempt), file=sys.stderr, flush=True))
    print_table([_row(attempt) for attempt in report.attempts], "Attempts")
    code = _recommend(settings, report)
    print(f"log\t{report.log}")
    return code


def _recommend(settings: ProbeSettings, report: ProbeReport) -> int:
    worst = report.nearest_failure
    if report.longest_ms is None or report.recommended_ms is None:
        assert worst is not None
        print(f"badc: the runner does not work on {_s(worst.duration_ms)} s either: {worst.reason}", file=sys.stderr)
        return 1
    where = f"GPU {report.gpu.index} ({report.gpu.name})" if report.gpu else "the CPU"
    if worst is None:
        bound = "the whole recording" if settings.max_duration_s is None else "the longest that was to be tried"
        beyond = f"{bound}; the limit, if there is one, is beyond it"
    else:
        beyond = f"{_s(worst.duration_ms)} s is {worst.outcome.value}"
    print(f"longest\t{_s(report.longest_ms)} s on {where}: {beyond}")
    print(f"recommended\t{_s(report.recommended_ms)} s (safety margin {settings.safety_margin:g})")
    audio = f"./{settings.audio}" if str(settings.audio).startswith("-") else str(settings.audio)
    print(shlex.join(["badc", "chunk", "manifest", audio, "--chunk-duration", str(_s(report.recommended_ms))]))
    return 0


def _progress(attempt: ProbeAttempt) -> str:
    memory = [
        f"{what} {peak_mib} MiB"
        for what, peak_mib in (("GPU", attempt.peak_gpu_mib), ("host", attempt.peak_host_mib))
        if peak_mib is not None
    ]
    line = f"{_s(attempt.duration_ms)} s: {attempt.outcome.value} after {attempt.runtime_s:.2f} s"
    return ", ".join([line, *memory]) + (f" ({attempt.reason})" if attempt.reason else "")


def _row(attempt: ProbeAttempt) -> dict[str, Any]:
    return {
        "window s": _s(attempt.duration_ms),
        "outcome": attempt.outcome.value,
        "seconds": attempt.runtime_s,
        "peak GPU MiB": attempt.peak_gpu_mib,
        "peak host MiB": attempt.peak_host_mib,
        "reason": " ".join((attempt.reason or "").split()),
    }


def _s(duration_ms: int) -> int | float:
    """Return a length in seconds for display, without `.0`."""
    return duration_ms / 1000 if duration_ms % 1000 else duration_ms // 1000
