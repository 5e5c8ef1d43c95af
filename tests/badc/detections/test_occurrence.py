"""The column `occurrence`: each detection has the score of its own station, week and species, or none."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from badc.detections import occurrence, tables
from badc.detections.result import ChunkResult, Detection, ResultStatus, result_path, write_result
from badc.errors import RequestError
from badc.species.birdnet_files import model_folder
from badc.species.names import Names
from badc.species.range_model import RangeModel
from tests.badc.detections.test_aggregate import MakeChunk, Write, assert_csv_and_parquet_agree, parquet, table

pytest.importorskip("ai_edge_litert", reason="the extra birdnet is not installed")
pytestmark = pytest.mark.birdnet
NORTH, SOUTH = (55.1, -115.2), (48.2, 16.4)
SITES = Path("sites.csv")


@pytest.fixture(autouse=True)
def _sites(tmp_path: Path) -> None:
    (tmp_path / SITES).write_text(
        "station,latitude,longitude,timezone,clock\n"
        f"N-1,{NORTH[0]},{NORTH[1]},America/Edmonton,UTC\nS-1,{SOUTH[0]},{SOUTH[1]},,\n"
    )


def expected(place: tuple[float, float], week: int, label: str) -> float:
    model = RangeModel()
    (species,) = model.find([(label,)])
    assert species is not None
    return round(float(model.scores([(*place, week)], [species])[0, 0]), 4)


def test_each_row_has_the_score_of_its_station_week_and_species(chunk: MakeChunk, detections_file: Write) -> None:
    both = (("Song Thrush", 0.9, 0, 3000), ("Tennessee Warbler", 0.5, 3000, 6000))
    detections_file(chunk("N-1_20230601_050000", 0, 60_000), *both)  # the evening of 31 May there
    detections_file(chunk("N-1_20230601_070000", 0, 60_000), *both)
    detections_file(chunk("S-1_20230601_050000", 0, 60_000), *both)
    made = table(sites=SITES)
    assert made.notes == []
    found = {(row["recording_id"], row["label"]): row["occurrence"] for row in parquet()}
    assert found == {
        ("N-1_20230601_050000", "Song Thrush"): expected(NORTH, 20, "Song Thrush"),
        ("N-1_20230601_050000", "Tennessee Warbler"): expected(NORTH, 20, "Tennessee Warbler"),
        ("N-1_20230601_070000", "Song Thrush"): expected(NORTH, 21, "Song Thrush"),
        ("N-1_20230601_070000", "Tennessee Warbler"): 0.6002,
        ("S-1_20230601_050000", "Song Thrush"): expected(SOUTH, 21, "Song Thrush"),
        ("S-1_20230601_050000", "Tennessee Warbler"): expected(SOUTH, 21, "Tennessee Warbler"),
    }
    assert found["N-1_20230601_070000", "Song Thrush"] < 0.001
    assert found["S-1_20230601_050000", "Song Thrush"] > 0.3
    assert len(set(found.values())) == 5
    assert_csv_and_parquet_agree()


def test_it_is_null_where_place_time_or_species_is_unknown(chunk: MakeChunk, detections_file: Write) -> None:
    robin = ("American Robin", 0.9, 0, 3000)
    detections_file(
        chunk("N-1_20230601_050000", 0, 60_000), robin, ("Coyote", 0.9, 0, 3000), ("Mock Nightjar", 0.9, 0, 3000)
    )
    detections_file(chunk("N-9_20230601_050000", 0, 60_000), robin)
    detections_file(chunk("N-1", 0, 60_000, source_path="N-1/x.wav"), robin)
    made = table(sites=SITES, layout="folder")
    assert {(row["recording_id"], row["label"]) for row in parquet() if row["occurrence"] is not None} == {
        ("N-1_20230601_050000", "American Robin")
    }
    notes = [note for note in made.notes if not note.startswith("no time")]
    assert notes == [
        "the sites do not list the station 'N-9'",
        "2 labels have no occurrence, as the range model does not know them: Coyote, Mock Nightjar",
    ]
    assert_csv_and_parquet_agree()


def test_species_of_hawkears_are_known_by_their_names_or_those_of_its_classes(
    chunk: MakeChunk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes = Names([[{"alpha4": "NHWR", "common": "Northern House Wren", "scientific": "Troglodytes aedon"}]])
    monkeypatch.setattr(occurrence, "_other_names", lambda: classes)
    one = chunk("S-1_20230601_050000", 0, 60_000)
    found = (
        Detection("TEWA", 0.9, 0, 3000, label_code="TEWA", label_name="Tennessee Warbler"),
        Detection("Grive", 0.9, 3000, 6000, label_code="Turdus philomelos", label_name="Grive"),
        Detection("NHWR", 0.9, 6000, 9000),
    )
    write_result(result_path(tmp_path / "out", one), ChunkResult(one, "hawkears", ResultStatus.OK, found))
    table(sites=SITES)
    scores = [expected(SOUTH, 21, name) for name in ("Tennessee Warbler", "Song Thrush", "House Wren")]
    assert [row["occurrence"] for row in parquet()] == scores


def test_pieces_of_any_length_keep_the_order(
    chunk: MakeChunk, detections_file: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    species = ("American Robin", "Song Thrush", "Tennessee Warbler")
    for hour in range(8):
        calls = [(species[n % 3], 0.5, 1000 * n, 1000 * n + 900) for n in range(5)]
        detections_file(chunk(f"N-1_20230601_{8 + hour:02}0000", 0, 60_000), *calls)
    monkeypatch.setattr(occurrence, "_ROWS_PER_READ", 7)
    monkeypatch.setattr(tables, "_ROWS_PER_READ", 3)
    table(sites=SITES)
    scores = {name: expected(NORTH, 21, name) for name in species}
    assert [row["occurrence"] for row in parquet()] == [scores[row["label"]] for row in parquet()]
    assert len(parquet()) == 40


def test_without_birdnet_the_tables_are_made_and_say_what_they_lack(
    chunk: MakeChunk, detections_file: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    detections_file(chunk("N-1_20230601_050000", 0, 60_000), ("American Robin", 0.9, 0, 3000))
    model_folder.cache_clear()
    try:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        made = table(sites=SITES)
    finally:
        model_folder.cache_clear()
    assert [row["occurrence"] for row in parquet()] == [None]
    assert len(made.notes) == 1
    assert made.notes[0].startswith("the occurrence of species is not known: BirdNET is not installed")


def test_sites_that_cannot_be_read_are_refused_before_anything_is_written(
    chunk: MakeChunk, detections_file: Write
) -> None:
    detections_file(chunk("N-1_20230601_050000", 0, 60_000), ("American Robin", 0.9, 0, 3000))
    with pytest.raises(RequestError, match=r"none\.csv: no such CSV of sites"):
        table(sites=Path("none.csv"))
    assert not Path("t").exists()
