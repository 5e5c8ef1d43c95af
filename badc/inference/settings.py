"""The settings of `badc infer run`: one frozen model that options, flow parameters, files and blocks all fill.

A field's description is the option's help; its default is documented nowhere else. `option_name` gives the option of a
field: `chunk_timeout_s` is `--chunk-timeout`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from badc.runners.interface import ChunkTimeout
from badc.runners.settings import RunnerSettings
from badc.settings.dataset import DatasetBlock
from badc.settings.model import ARGUMENT, number_or_auto
from badc.settings.redo import RedoBefore
from badc.settings.salvage import Salvage


def _channel(value: str | None) -> str | None:
    if value is None or value in ("mean", "loudest") or re.fullmatch(r"[1-9]\d{0,2}", value, re.ASCII):
        return value
    raise ValueError(f"{value!r} is neither the number of a channel, from 1 on, nor mean, nor loudest")


class InferOptions(RunnerSettings):
    """Settings of every inference run, whether of one manifest or of a whole dataset."""

    sections: ClassVar = {
        **{
            name: (*fields, "channel", "salvage") if name == "Runner" else fields
            for name, fields in RunnerSettings.sections.items()
        },
        "Workers": (
            *("max_gpus", "cpu_workers", "threads_per_worker", "chunks_at_once", "worker_memory_gib", "scheduler"),
            *("worker_timeout_s", "gpu_sample_interval_s"),
        ),
        "Retries": (
            *("resume_summary", "resume_completed", "keep_going", "fail_fast", "max_retries", "chunk_timeout_s"),
            *("replace_results", "redo_before", "infer_redo_before", "grace_period_s"),
        ),
        "Places": (
            *(
                "output_dir",
                "embeddings",
                "telemetry_log",
                "telemetry_dir",
                "dataset_root",
                "manifest_dir",
                "chunks_dir",
            ),
            *("bundle_aggregate_dir", "sockeye_log_dir", "save_config", "record_datalad", "print_datalad_run"),
        ),
        "Prefect": (
            *("runner_block", "cluster_block", "dataset_block", "chunks_per_task", "gpu_pool", "no_wait", "verbose"),
        ),
    }

    channel: Annotated[
        str | None,
        AfterValidator(_channel),
        Field(
            description="What to analyse of recordings with several channels: the channel of this number, from 1 on; "
            "their mean; or the loudest of each chunk. Default: BirdNET and ONNX models get the mean, others all."
        ),
    ] = None
    salvage: Salvage = False
    embeddings: Annotated[
        Path | None,
        Field(
            description="Also write the embedding of each window of the model to this folder, as Parquet: a file for "
            "each recording. For runners that give embeddings, such as BirdNET."
        ),
    ] = None

    cluster_block: Annotated[
        str | None,
        Field(
            description="Name of a Prefect block that holds the workers' settings. Options that you give as well "
            "override the block."
        ),
    ] = None
    max_gpus: Annotated[
        int | None,
        Field(ge=0, description="Use at most this many of the GPUs found; 0 uses none. Default: all, for BirdNET 0."),
    ] = None
    cpu_workers: Annotated[
        int | None,
        Field(
            ge=0,
            description="CPU workers, beside those of the GPUs. Default: none beside GPUs; without a GPU, one fewer "
            "than there are cores. Without a GPU there is at least one, even at 0.",
        ),
    ] = None
    threads_per_worker: Annotated[
        int | None,
        Field(
            ge=1,
            description="Threads of the processor that each worker's model may use. Default: the cores divided by the "
            "workers.",
        ),
    ] = None
    gpu_sample_interval_s: Annotated[
        float, Field(ge=0.1, description="Seconds between two readings of a GPU's load while a chunk runs.")
    ] = 1.0
    worker_timeout_s: Annotated[
        float,
        Field(
            ge=10,
            le=86_400,
            description="Give a worker up that has not reported for so many seconds, such as one that is frozen: its "
            "chunks run again on others. Not how long a chunk may take, which is --chunk-timeout. The workers of a "
            "--scheduler are given up by its own time; the scheduler itself when it has not answered for so long.",
        ),
    ] = 120.0
    worker_memory_gib: Annotated[
        float | None,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="Kill the runner when a worker and its processes together take more than this many GiB of the "
            "machine's memory; a failed attempt.",
        ),
    ] = None
    gpu_pool: Annotated[
        str | None,
        Field(
            description="Prefect's global concurrency limit that the run holds, so that runs take turns at the GPUs. "
            "Default: the one named gpu, if there is one and the run uses a GPU."
        ),
    ] = None
    no_wait: Annotated[bool, Field(description="Give up, rather than wait, when other runs hold the GPU pool.")] = False
    scheduler: Annotated[
        str | None,
        Field(
            description="Join the Dask scheduler at this address (tcp://host:8786), or whose scheduler file this is, "
            "instead of starting workers."
        ),
    ] = None
    chunks_per_task: Annotated[
        int | Literal["auto"],
        BeforeValidator(number_or_auto),
        Field(
            description="Chunks per Prefect task run, of which a retry redoes only those that failed. `auto` is 1, and "
            "more only where a run would have 1,000 task runs or more."
        ),
    ] = "auto"
    chunks_at_once: Annotated[
        int | None,
        Field(
            ge=1,
            le=16,
            description="Chunks that each worker gives its runner at once, if that can take several. Default: 3 for "
            "HawkEars 2.x and 2 for an ONNX model on a GPU, else 1. GPU memory that runs out lowers it.",
        ),
    ] = None
    max_retries: Annotated[
        int, Field(ge=0, le=20, description="How often a failed chunk is tried again, after 2 s, 4 s, 8 s, …")
    ] = 2
    chunk_timeout_s: ChunkTimeout = None
    replace_results: Annotated[
        bool,
        Field(
            description="Replace results that other settings made (another runner, model version, threshold, species "
            "list, …). Without it they are kept, and the run is refused."
        ),
    ] = False
    keep_going: Annotated[
        bool, Field(description="Run the other chunks even after one has failed for good. The run still fails.")
    ] = False
    grace_period_s: Annotated[
        float,
        Field(
            ge=0,
            description="After Ctrl-C, SIGTERM, SIGHUP or a cancellation, running chunks get this many seconds to "
            "finish. A second Ctrl-C ends them at once.",
        ),
    ] = 10.0


class InferSettings(InferOptions):
    """Settings of one inference run (`badc infer run`)."""

    manifest: Annotated[
        Path, Field(description="Chunk manifest, as `badc chunk` writes it.", json_schema_extra=ARGUMENT)
    ]
    resume_summary: Annotated[
        Path | None,
        Field(
            description="Skip the chunks that this run finished, if their outputs are still there. A *.summary.json, "
            "or the telemetry *.jsonl of a run that was killed."
        ),
    ] = None
    output_dir: Annotated[
        Path | None,
        Field(
            description="Folder for the detections. Default: artifacts/infer, in the dataset of the manifest, or else "
            "of its chunks, if there is one."
        ),
    ] = None
    telemetry_log: Annotated[
        Path | None,
        Field(
            description="Telemetry log (JSONL). Default: a new one named after manifest and time, in "
            "artifacts/telemetry of the dataset, or in data/telemetry/infer."
        ),
    ] = None
    redo_before: RedoBefore = None
    dataset_block: DatasetBlock = None
    dataset_root: Annotated[
        Path | None,
        Field(
            description="Dataset that the manifest's paths are relative to. Default: the folder above it with .datalad."
        ),
    ] = None
