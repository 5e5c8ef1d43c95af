"""The embeddings of a run (`--embeddings`) while it goes: written by chunk, put together by recording.

Imports of `badc.detections.embeddings` are not at the top: without the option, nothing needs its libraries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from badc.chunks.manifest import Chunk
from badc.errors import BadcError, RunnerError
from badc.inference.embeddings import OPTION, embedded_with
from badc.inference.plan import InferOrder, InferPlan
from badc.runners.interface import RunnerOutput
from badc.system.output_lock import output_lock
from badc.system.paths import require_inside


def write_embeddings(output: RunnerOutput, chunk: Chunk, made: Mapping[str, Any], order: InferOrder) -> None:
    """Write the embeddings of a chunk, which its runner has analysed; RunnerError if it gave none."""
    from badc.detections.embeddings import Windows, write_chunk

    assert order.embeddings is not None
    if (given := output.embeddings) is None:
        raise RunnerError(f"{order.runner.title} gave no embeddings; {OPTION} asks for them")
    window_s = made.get("window_s")
    length_ms = None if window_s is None else round(float(window_s) * 1000)
    if late := [start_ms for start_ms in given.start_ms if start_ms >= chunk.duration_ms]:
        raise RunnerError(f"embeddings: a window at {late[0]} ms is not in the chunk of {chunk.duration_ms} ms")
    windows = Windows(given.start_ms, length_ms, given.values)
    root = None if order.dataset_root is None else str(order.dataset_root)
    require_inside(order.embeddings, order.embeddings / chunk.recording_id)
    write_chunk(order.embeddings, chunk, root, windows, embedded_with(made, order.runner))


def gather_embeddings(plan: InferPlan) -> list[str]:
    """Put the embeddings of a run's chunks together, by recording; return why that failed, if it did."""
    folder = plan.order.embeddings
    if folder is None:
        return []
    from badc.detections.embeddings import file_of, gather

    problems = []
    for recording_id in sorted(plan.gathered):
        try:
            gather(folder, recording_id, plan.settings.replace_results)
        except BadcError as error:
            problems.append(str(error))
        except OSError as error:
            path = file_of(folder, recording_id)
            problems.append(f"{path}: the embeddings cannot be put together ({error.strerror or error})")
    return problems


def require_gathered(plan: InferPlan) -> None:
    """Put together what a run left that was killed after its last chunk; BadcError if that fails."""
    folder = plan.order.embeddings
    if folder is None or not any(any((folder / recording_id).glob("*.parquet")) for recording_id in plan.gathered):
        return
    with output_lock(folder, plan.gathered, plan.telemetry_log):
        problems = gather_embeddings(plan)
    if problems:
        raise BadcError("\n".join(problems))
