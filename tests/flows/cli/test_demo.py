"""`badc demo`: it finds the birds, and it leaves alone what is not its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.birdnet]


def test_a_second_demo_keeps_what_was_added_to_the_first(badc: Any, tmp_path: Path) -> None:
    for _ in range(2):
        process = badc("demo", "tour")
        out, err = process.communicate(timeout=180)
        assert process.returncode == 0, err
        assert "Tennessee Warbler\tLeiothlypis peregrina\t30" in out
        (tmp_path / "tour" / "audio" / "mine.txt").write_text("added")
    assert (tmp_path / "tour" / "audio" / "mine.txt").read_text() == "added"


def test_a_folder_of_other_things_is_refused(badc: Any, tmp_path: Path) -> None:
    (tmp_path / "tour").mkdir()
    (tmp_path / "tour" / "thesis.txt").write_text("mine")
    process = badc("demo", "tour")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "tour: is there already and no demo of BADC; name another folder" in err
    assert [path.name for path in (tmp_path / "tour").iterdir()] == ["thesis.txt"]
