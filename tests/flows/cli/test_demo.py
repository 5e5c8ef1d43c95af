"""`badc demo`: it finds the birds, and it leaves alone what is not its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import soundfile as sf

from badc.recordings.demo_study import write_demo_study

pytestmark = [pytest.mark.slow, pytest.mark.birdnet]


@pytest.mark.long
def test_the_demo_is_a_study_with_one_page_and_a_second_one_keeps_it(badc: Any, tmp_path: Path) -> None:
    process = badc("demo", "tour")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "Common Yellowthroat\tGeothlypis trichas\t7\t4\t2\t" in out
    assert "Tennessee Warbler\tLeiothlypis peregrina\t3\t3\t2\t" in out
    page = tmp_path / "tour" / "badc" / "report.html"
    assert out.splitlines()[-2:] == [f"Open {page}", f"in any browser, or with: xdg-open {page.relative_to(tmp_path)}"]
    assert sum(path.stat().st_size for path in (tmp_path / "tour").rglob("*") if path.is_file()) < 5_000_000
    (tmp_path / "tour" / "Pond" / "mine.txt").write_text("added")
    made_at = page.stat().st_mtime_ns
    process = badc("demo", "tour")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "Nothing to analyse: every recording is complete." in out
    assert (page.stat().st_mtime_ns, (tmp_path / "tour" / "Pond" / "mine.txt").read_text()) == (made_at, "added")


def test_the_recordings_of_the_demo_differ(tmp_path: Path) -> None:
    write_demo_study(tmp_path)
    recordings = sorted(tmp_path.rglob("*.flac"))
    assert {path.parent.name for path in recordings} == {"Burn", "Pond", "Spruce"}
    sounds = [sf.read(path)[0].tobytes() for path in recordings]
    assert len(set(sounds)) == len(recordings) == 10
    before = recordings[0].read_bytes()
    recordings[1].unlink()
    write_demo_study(tmp_path)
    assert recordings[1].exists()
    assert recordings[0].read_bytes() == before


def test_a_demo_touches_nothing_behind_a_link(badc: Any, tmp_path: Path) -> None:
    elsewhere, link = tmp_path / "elsewhere", tmp_path / "tour" / "Pond"
    elsewhere.mkdir()
    link.parent.mkdir()
    (tmp_path / "tour" / ".badc-demo").touch()
    link.symlink_to(elsewhere)
    process = badc("demo", "tour")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "Pond: is a link to" in err
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize(
    ("there", "said"),
    [
        ("thesis.txt", "tour: exists and is not a BADC demo; name another folder"),
        (".badc-demo audio/REC.wav", "tour: is the demo of an earlier BADC; name another folder, or remove it"),
    ],
)
def test_a_folder_of_other_things_is_refused(badc: Any, tmp_path: Path, there: str, said: str) -> None:
    for name in there.split():
        (tmp_path / "tour" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tour" / name).write_text("mine")
    before = sorted((tmp_path / "tour").rglob("*"))
    process = badc("demo", "tour")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said in err
    assert sorted((tmp_path / "tour").rglob("*")) == before
