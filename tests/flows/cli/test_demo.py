"""`badc demo`: it finds the birds, and it leaves alone what is not its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows.cli.commands.demo import RECORDING

pytestmark = [pytest.mark.slow, pytest.mark.birdnet]


@pytest.mark.long
@pytest.mark.parametrize("times", [1, 2])
def test_a_second_demo_keeps_what_was_added_to_the_first(badc: Any, tmp_path: Path, times: int) -> None:
    for _ in range(times):
        process = badc("demo", "tour")
        out, err = process.communicate(timeout=180)
        assert process.returncode == 0, err
        assert "Tennessee Warbler\tLeiothlypis peregrina\t30" in out
        (tmp_path / "tour" / "audio" / "mine.txt").write_text("added")
    assert (tmp_path / "tour" / "audio" / "mine.txt").read_text() == "added"


@pytest.mark.parametrize("place", ["audio", "artifacts/infer"])
def test_a_demo_touches_nothing_behind_a_link(badc: Any, tmp_path: Path, place: str) -> None:
    elsewhere, link = tmp_path / "elsewhere", tmp_path / "tour" / place
    (elsewhere / RECORDING).mkdir(parents=True)
    for name in (f"{RECORDING}.wav", f"{RECORDING}/{RECORDING}_chunk_0_30000.json"):
        (elsewhere / name).write_text("precious")
    link.parent.mkdir(parents=True)
    (tmp_path / "tour" / ".badc-demo").touch()
    link.symlink_to(elsewhere)
    process = badc("demo", "tour")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert f"{place}: is a link to" in err
    assert {path.read_text() for path in elsewhere.rglob("*") if path.is_file()} == {"precious"}


def test_a_folder_of_other_things_is_refused(badc: Any, tmp_path: Path) -> None:
    (tmp_path / "tour").mkdir()
    (tmp_path / "tour" / "thesis.txt").write_text("mine")
    process = badc("demo", "tour")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "tour: exists and is not a BADC demo; name another folder" in err
    assert [path.name for path in (tmp_path / "tour").iterdir()] == ["thesis.txt"]
