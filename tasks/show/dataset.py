"""What Prefect is told of a dataset: its name on the runs, its tables as assets, and that it has been analysed.

An automation can wait for these events (deployments/automations).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from prefect.assets import Asset
from prefect.events import emit_event
from prefect.runtime import flow_run
from prefect.types.names import MAX_ASSET_KEY_LENGTH, RESTRICTED_ASSET_CHARACTERS

from badc.datasets.inference.settings import OrchestrateSettings
from badc.detections.aggregate import Aggregation
from badc.detections.tables import coverage_path
from badc.telemetry.summary import RunState
from tasks.show.artifacts import folder_title, shown, tag_flow_run

ANALYSED = "badc.dataset.analysed"
_MATERIALIZED = "prefect.asset.materialization.succeeded"
_RESTRICTED = re.compile("[" + re.escape("".join(RESTRICTED_ASSET_CHARACTERS)) + "]")


def tag_dataset_run(dataset: str, patterns: Sequence[str]) -> None:
    """Tag this flow run with its dataset, and with the patterns of the recordings that it is limited to."""
    tags = [f"dataset:{dataset}", *(f"filter:{pattern}" for pattern in dict.fromkeys(patterns))]
    shown(lambda: tag_flow_run(str(flow_run.id), tags))


def tell_if_analysed(settings: OrchestrateSettings, state: RunState) -> None:
    """Emit the event that every recording of a run of a dataset is analysed, with its folders, if that is so."""
    if state is not RunState.COMPLETED:
        return
    name = settings.title
    folders = {"root": settings.root, "detections": settings.output_dir, "manifests": settings.manifest_dir}
    payload = {what: str(settings.below(folder)) for what, folder in folders.items()}
    resource = {"prefect.resource.id": f"badc.dataset.{name}", "prefect.resource.name": name}
    shown(lambda: emit_event(ANALYSED, resource=resource, payload=payload))


def show_tables(detections_dir: Path, made: Aggregation) -> None:
    """Tell Prefect of each table of an aggregation as an asset, with what is in it.

    With events rather than `@materialize`, which must know its assets before it knows whether a table was written.
    """
    title = folder_title(detections_dir)
    coverages = {coverage_path(path) for path in made.written}
    for path in made.written:
        is_coverage = path in coverages
        resource = {
            "prefect.resource.id": Asset(key=asset_key(path)).key,
            "prefect.resource.name": f"{title}: {path.name}",
            "badc.table": f"{'coverage' if is_coverage else 'detections'}{path.suffix}",
        }
        payload = {
            "path": str(path),
            "rows": made.chunks + made.not_chunked if is_coverage else made.detections,
            "hours": round(made.analysed_ms / 3_600_000, 3),
            "missing_chunks": made.missing,
            "fingerprints": made.fingerprints,
        }
        if not shown(lambda resource=resource, payload=payload: emit_event(_MATERIALIZED, resource, payload=payload)):  # type: ignore[misc]
            return


def asset_key(path: Path) -> str:
    """Return a file's key as a Prefect asset: its address, with what keys may not have replaced."""
    return f"file://{_RESTRICTED.sub('_', str(path))}"[:MAX_ASSET_KEY_LENGTH]
