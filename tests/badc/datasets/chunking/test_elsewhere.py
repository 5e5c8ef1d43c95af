"""A manifest that git-annex keeps elsewhere is fetched, or answered with the line that brings it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from badc.chunks.status import ChunkState, ChunkStatus, status_path, write_chunk_status
from badc.datasets.chunking.decision import ChunkDecision
from badc.datasets.chunking.elsewhere import plan_with_manifests, require_room
from badc.datasets.chunking.plan import plan_dataset
from badc.datasets.chunking.settings import ChunkSettings
from badc.errors import RequestError
from badc.system.annex import ContentElsewhereError, content_is_elsewhere
from tests.conftest import shell_variables


def test_a_manifest_that_is_elsewhere_is_not_cut_again(tmp_path: Path, make_recording) -> None:
    make_recording("REC.wav", 2)
    manifest = tmp_path / "manifests" / "REC.csv"
    manifest.parent.mkdir()
    manifest.symlink_to("../.git/annex/objects/x/MD5E-s9--0a.csv")
    for folder in (".git", ".datalad"):
        (tmp_path / folder).mkdir()
    with pytest.raises(ContentElsewhereError, match=r"`datalad -C .* get manifests/REC\.csv` brings it"):
        plan_dataset(ChunkSettings(dataset=tmp_path), fetching=False)


@pytest.mark.datalad
def test_manifests_and_statuses_are_fetched_where_runs_are_recorded(datalad_dataset: Path, tmp_path: Path) -> None:
    with (datalad_dataset / ".gitattributes").open("a") as stream:
        stream.write("*.csv annex.largefiles=anything\n.chunk_status.json annex.largefiles=anything\n")
    manifest = datalad_dataset / "manifests" / "REC.csv"
    manifest.write_bytes(manifest.read_bytes() + b"\n")
    status = ChunkStatus("REC", "audio/REC.wav", "manifests/REC.csv", ChunkState.COMPLETED)
    write_chunk_status(status_path(datalad_dataset / "artifacts" / "chunks", "REC"), status)
    clone = tmp_path / "clone"
    for line in (
        f"datalad -C '{datalad_dataset}' save -m more",
        f"git clone -q '{datalad_dataset}' '{clone}' && cd '{clone}' && git annex init -q clone",
    ):
        subprocess.run(["sh", "-c", line], env=shell_variables(), check=True, capture_output=True)
    assert content_is_elsewhere(clone / "manifests" / "REC.csv")
    told: list[str] = []
    with pytest.raises(ContentElsewhereError, match="get manifests"):
        plan_with_manifests(ChunkSettings(dataset=clone), False, told.append)
    plan = plan_with_manifests(ChunkSettings(dataset=clone), True, told.append)
    assert plan.recordings[0].decision is ChunkDecision.SKIP
    assert told == ["2 manifests and chunk statuses fetched"]
    require_room(plan, 1)
    again = plan_with_manifests(ChunkSettings(dataset=clone, include_existing=True), True, told.append)
    require_room(again, None)
    with pytest.raises(RequestError, match="--disk-limit: 1 recording would be fetched to be chunked"):
        require_room(again, 1)
