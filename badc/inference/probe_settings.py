"""The settings of `badc chunk probe`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from badc.runners.interface import ChunkTimeout
from badc.runners.settings import RunnerSettings
from badc.settings.model import ARGUMENT

LEAST_WINDOW_S = 3.0


class ProbeSettings(RunnerSettings):
    """Settings of one search for the longest chunk that a runner can process (`badc chunk probe`)."""

    audio: Annotated[Path, Field(description="The recording: WAV, FLAC, OGG, MP3, …", json_schema_extra=ARGUMENT)]
    chunk_timeout_s: ChunkTimeout = None
    initial_duration_s: Annotated[
        float, Field(ge=LEAST_WINDOW_S, allow_inf_nan=False, description="Length of the first window in seconds.")
    ] = 60.0
    max_duration_s: Annotated[
        float | None,
        Field(
            ge=LEAST_WINDOW_S,
            allow_inf_nan=False,
            description="Try no window longer than this many seconds. Default: the recording's length.",
        ),
    ] = None
    tolerance_s: Annotated[
        float,
        Field(
            ge=0.01,
            allow_inf_nan=False,
            description="Stop once the longest window that works and the shortest that does not differ by at most this "
            "many seconds.",
        ),
    ] = 5.0
    max_seconds: Annotated[
        float | None,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="A window that takes longer than this many seconds is too slow, not counting the time to load "
            "a model that stays loaded. Default: no limit.",
        ),
    ] = None
    safety_margin: Annotated[
        float, Field(gt=0, le=1, description="Recommend this fraction of the longest window that works.")
    ] = 0.8
    gpu_index: Annotated[
        int | None,
        Field(
            ge=0,
            description="Use the GPU with this number, as `badc gpus` lists it. Default: the first that can be used, "
            "or the CPU where there is none.",
        ),
    ] = None
    log: Annotated[
        Path | None,
        Field(
            description="Log of the attempts (JSONL). Default: a new one named after recording and time, in "
            "artifacts/telemetry/probe of the dataset, or in data/telemetry/probe."
        ),
    ] = None
