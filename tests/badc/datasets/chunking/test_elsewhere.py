"""A manifest that git-annex keeps elsewhere is answered with the line that brings it."""

from __future__ import annotations

from pathlib import Path

import pytest

from badc.datasets.chunking.plan import plan_dataset
from badc.datasets.chunking.settings import ChunkSettings
from badc.system.annex import ContentElsewhereError


def test_a_manifest_that_is_elsewhere_is_not_cut_again(tmp_path: Path, make_recording) -> None:
    make_recording("REC.wav", 2)
    manifest = tmp_path / "manifests" / "REC.csv"
    manifest.parent.mkdir()
    manifest.symlink_to("../.git/annex/objects/x/MD5E-s9--0a.csv")
    for folder in (".git", ".datalad"):
        (tmp_path / folder).mkdir()
    with pytest.raises(ContentElsewhereError, match=r"`datalad -C .* get manifests/REC\.csv` brings it"):
        plan_dataset(ChunkSettings(dataset=tmp_path), fetching=False)
