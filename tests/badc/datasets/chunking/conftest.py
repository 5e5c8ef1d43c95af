"""The dataset that tests of chunking start from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.badc.datasets.chunking.planning import SITES


@pytest.fixture
def dataset(make_audio: Callable[..., Path], tmp_path: Path) -> Path:
    """A dataset with three recordings, two of which have the same name."""
    for name in (*SITES, "north/c.flac"):
        make_audio(f"ds/audio/{name}", seconds=2.5)
    (tmp_path / "ds" / ".datalad").mkdir()
    return tmp_path / "ds"
