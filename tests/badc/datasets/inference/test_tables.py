"""The tables of one folder of detections are never replaced by those of another, nor is anybody else's file."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from badc.chunks.cutting import plan_chunks, write_virtual_manifest
from badc.chunks.manifest import read_manifest
from badc.datasets.inference.bundles import bundle_recording
from badc.datasets.inference.plan import OrchestrationPlan, plan_orchestration, require_ready, require_runnable
from badc.datasets.inference.settings import OrchestrateSettings
from badc.datasets.inference.tables import has_older_tables
from badc.detections.result import ChunkResult, ResultStatus, result_path, write_result
from badc.errors import RequestError


@pytest.fixture
def root(tmp_path: Path, make_audio: Callable[..., Path]) -> Path:
    """Return a dataset of two recordings with results in `artifacts/infer`."""
    found = tmp_path / "ds"
    for name in "AB":
        audio = make_audio(f"ds/audio/{name}.wav", seconds=2)
        write_virtual_manifest(plan_chunks(audio, 1), found / "manifests" / f"{name}.csv", hash_chunks=False)
        for chunk in read_manifest(found / "manifests" / f"{name}.csv").chunks:
            path = result_path(found / "artifacts" / "infer", chunk)
            write_result(path, ChunkResult(chunk, "stub", ResultStatus.STUB))
    return found


def settings(root: Path, **others: Any) -> OrchestrateSettings:
    chosen = {"use_hawkears": False, "allow_partial_chunks": True, "bundle": True} | others
    return OrchestrateSettings(dataset=root, **chosen)


def plan(root: Path, **others: Any) -> OrchestrationPlan:
    return plan_orchestration(settings(root, **others))


def make_tables(root: Path) -> None:
    made = plan(root)
    for recording in made.to_report:
        bundle_recording(made, recording)


@pytest.mark.parametrize("wanted", ["bundle", "bundle_rollup", "slurm_bundle"])
def test_tables_of_another_output_folder_are_kept(root: Path, wanted: str) -> None:
    make_tables(root)
    other: dict[str, Any] = {"bundle": False, "output_dir": Path("artifacts/low"), wanted: True}
    if wanted == "slurm_bundle":
        other["slurm_script"] = root / "job.sh"
    said = r"A\.parquet: is the table of the detections in \S+/ds/artifacts/infer/A\. .* of artifacts/low a folder of "
    with pytest.raises(RequestError, match=said):
        require_runnable(plan(root, **other))
    with pytest.raises(RequestError, match=said):
        require_ready(settings(root, **other))
    # Complete ones, whose tables would pass as theirs, too.
    shutil.copytree(root / "artifacts" / "infer", root / "artifacts" / "low")
    with pytest.raises(RequestError, match=said):
        require_runnable(plan(root, **other))
    option = "slurm_bundle_aggregate_dir" if wanted == "slurm_bundle" else "bundle_aggregate_dir"
    require_runnable(plan(root, **other, **{option: Path("artifacts/low-tables")}))
    require_runnable(plan(root))
    require_runnable(plan(root, include_existing=True))


def test_tables_that_a_run_without_them_leaves_are_known(root: Path) -> None:
    assert not has_older_tables(settings(root), "AB")
    make_tables(root)
    assert has_older_tables(settings(root), "AB")
    assert not has_older_tables(settings(root, output_dir=Path("artifacts/low")), "AB"), "they are of other results"


def test_tables_are_known_again_where_a_dataset_was_moved_to(root: Path, tmp_path: Path) -> None:
    make_tables(root)
    root.rename(tmp_path / "elsewhere")
    require_runnable(plan(tmp_path / "elsewhere", include_existing=True))


def test_tables_of_results_that_were_there_before_are_made_again(root: Path) -> None:
    make_tables(root)
    assert not plan(root).to_report
    for path in (root / "artifacts" / "infer").rglob("*.json"):
        document = json.loads(path.read_bytes()) | {"fingerprint": "0123", "settings": {"runner": "birdnet"}}
        path.write_text(json.dumps(document | {"runner": "birdnet", "status": "no_detections"}))
    for page in (root / "artifacts" / "aggregate").glob("*.html"):
        os.utime(page)  # newer than the results, as where those come from a backup
    made = plan(root, use_hawkears=None, use_birdnet=True)
    assert [r.reason for r in made.to_report] == [
        "complete; its tables and reports are of results of other settings"
    ] * 2
    for recording in made.to_report:
        bundle_recording(made, recording)
    assert not plan(root, use_hawkears=None, use_birdnet=True).to_report
    assert not plan(root, use_hawkears=None, use_birdnet=True, channel="1").to_report, "there is one channel"


@pytest.mark.parametrize("moved", ["infer", "aggregate"])
def test_tables_are_known_again_where_a_folder_became_a_link(root: Path, tmp_path: Path, moved: str) -> None:
    make_tables(root)
    (tmp_path / "disk" / "deep").mkdir(parents=True)
    (root / "artifacts" / moved).rename(tmp_path / "disk" / "deep" / moved)
    (root / "artifacts" / moved).symlink_to(tmp_path / "disk" / "deep" / moved)
    require_runnable(plan(root, include_existing=True))
    make_tables(root)
    require_runnable(plan(root, include_existing=True))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("A.csv", b"mine\n", r"A\.csv: is no table of detections"),
        ("B.parquet", b'{"mine": 1}', r"B\.parquet: cannot be read as a table of detections"),
    ],
)
def test_a_file_of_somebody_else_is_kept(root: Path, name: str, content: bytes, said: str) -> None:
    path = root / "artifacts" / "aggregate" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(RequestError, match=said):
        require_runnable(plan(root))
    require_runnable(plan(root, bundle=False))
    path.unlink()
    require_runnable(plan(root))
