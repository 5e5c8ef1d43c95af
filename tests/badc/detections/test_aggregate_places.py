"""Stations in the tables: by the dataset's rule, from outputs alone, and never left out in silence."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from badc.chunks.manifest import write_manifest
from badc.chunks.status import ChunkState, ChunkStatus, status_path, write_chunk_status
from badc.detections.settings import AggregateSettings
from badc.errors import RequestError
from badc.settings.model import settings_from
from tests.badc.detections.test_aggregate import MakeChunk, Write, assert_csv_and_parquet_agree, rows, table

CALL = ("bird", 0.5, 0, 10)
# As `badc chunk orchestrate` names them: only the last two need their folder to be unique.
RECORDINGS = {
    "20230509_050000": "SiteA/20230509/20230509_050000.WAV",
    "SiteA_20230510_050000": "SiteA/20230510/20230510_050000.WAV",
    "SiteB_20230510_050000": "SiteB/A/20230510_050000.WAV",
}


def stations(path: str = "t/all.csv") -> dict[str, tuple[str, str]]:
    return {row["recording_id"]: (row["station"], row["study_area"]) for row in rows(path)}


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("listed", [True, False])
def test_a_station_does_not_depend_on_what_an_id_needs(
    chunk: MakeChunk, detections_file: Write, tmp_path: Path, absolute: bool, listed: bool
) -> None:
    chunks = [
        chunk(name, source_path=f"{'/ds/' if absolute else ''}audio/North/{path}") for name, path in RECORDINGS.items()
    ]
    for one in chunks[:2] if listed else chunks:
        detections_file(one, CALL, dataset_root="/ds")
    write_manifest(tmp_path / "m.csv", chunks)
    made = table(manifest=(tmp_path / "m.csv",) if listed else ())
    assert stations("t/all_coverage.csv") == {name: (name_of(path), "North") for name, path in RECORDINGS.items()}
    assert made.notes == []
    assert_csv_and_parquet_agree()


def name_of(path: str) -> str:
    return path.partition("/")[0]


def test_outputs_of_a_part_have_the_stations_of_the_whole(
    chunk: MakeChunk, detections_file: Write, tmp_path: Path
) -> None:
    for site in ("SiteA", "SiteB"):
        (tmp_path / "ds/audio" / site).mkdir(parents=True)
        (tmp_path / "ds/audio" / site / "REC_20230509_050000.wav").touch()
    one = chunk("SiteA_REC_20230509_050000", source_path="audio/SiteA/REC_20230509_050000.wav")
    detections_file(one, CALL, dataset_root=str(tmp_path / "ds"))
    table()
    assert stations() == {"SiteA_REC_20230509_050000": ("SiteA", "")}
    (tmp_path / "ds/.badc.toml").write_text('layout = "{_}e{station}/{name}"\n')
    table()
    assert stations() == {"SiteA_REC_20230509_050000": ("A", "")}
    table(layout="name")
    assert stations() == {"SiteA_REC_20230509_050000": ("REC", "SiteA")}


def test_chunks_of_their_own_have_the_station_of_their_recording(
    chunk: MakeChunk, detections_file: Write, tmp_path: Path
) -> None:
    chunks = tmp_path / "ds/artifacts/chunks"
    for name, path in RECORDINGS.items():
        wav = f"artifacts/chunks/{name}/{name}_chunk_0_1000.wav"
        detections_file(chunk(name, source_path=wav), CALL, dataset_root=str(tmp_path / "ds"))
        status = ChunkStatus(name, f"audio/{path}", f"manifests/{name}.csv", ChunkState.COMPLETED)
        status_path(chunks, name).parent.mkdir(parents=True)
        write_chunk_status(status_path(chunks, name), status)
    table()
    assert stations() == {name: (name_of(path), "") for name, path in RECORDINGS.items()}


def test_folders_around_a_study_are_no_places(chunk: MakeChunk, detections_file: Write) -> None:
    detections_file(chunk("20230509_050000", source_path="/media/card/birds/20230509_050000.WAV"), CALL)
    table()
    assert stations() == {"20230509_050000": ("", "")}
    detections_file(chunk("SiteA_1", source_path="/media/card/birds/SiteA/SiteA_1.WAV"), CALL)
    table()
    assert stations() == {"20230509_050000": ("", ""), "SiteA_1": ("SiteA", "")}


def test_folders_that_differ_from_the_first_on_are_places(chunk: MakeChunk, detections_file: Write) -> None:
    for site in ("SiteA", "SiteB"):
        detections_file(chunk(f"{site}_x", source_path=f"/{site}/x.WAV"), CALL)
    table()
    assert stations() == {"SiteA_x": ("SiteA", ""), "SiteB_x": ("SiteB", "")}
    table(layout="{station}/{name}")
    assert stations() == {"SiteA_x": ("SiteA", ""), "SiteB_x": ("SiteB", "")}


def test_a_template_is_the_rule(chunk: MakeChunk, detections_file: Write) -> None:
    detections_file(chunk("x", source_path="audio/N/20221002_STUDY/S1/A/x.wav"), CALL)
    detections_file(chunk("y", source_path="audio/other/y.wav"), CALL)
    made = table(layout="{study_area}/{_}/{station}/{_}/{name}")
    assert stations() == {"x": ("S1", "N"), "y": ("", "")}
    assert made.notes[0] == (
        "no station: 1 detection and 1 recording (y); was looked for in the template --layout "
        "'{study_area}/{_}/{station}/{_}/{name}'; --layout says where it stands"
    )
    with pytest.raises(RequestError, match=r"--layout: '\{site\}' is not one of"):
        settings_from(AggregateSettings, {"detections_dir": Path("out"), "layout": "{site}/{name}"})


def test_what_has_no_station_or_time_is_counted_and_named(chunk: MakeChunk, detections_file: Write) -> None:
    for number in range(6):
        detections_file(chunk(f"r{number}"), *[CALL] * 2)
    detections_file(chunk("silent"))
    detections_file(chunk("P-1_20230509_050000"), CALL)
    station, time = table().notes
    named = "12 detections and 7 recordings (r0, r1, r2, r3, r4 and 2 more)"
    assert station.startswith(f"no station: {named}; ")
    assert time == f"no time: {named}; neither names nor headers say when the recordings began"


def test_names_are_written_in_one_form(chunk: MakeChunk, detections_file: Write, tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Forêt_20230509_050000") for form in ("NFC", "NFD"))
    detections_file(chunk(decomposed), (unicodedata.normalize("NFD", "Bécasse"), 0.5, 0, 10))
    write_manifest(tmp_path / "m.csv", [chunk(composed), chunk(composed, 1000, 2000)])
    made = table(manifest=(tmp_path / "m.csv",))
    assert (made.chunks, made.missing, made.unlisted) == (2, 1, 0), "the manifest's chunk is the output's"
    (row,) = rows()
    assert (row["recording_id"], row["station"], row["label"]) == (composed, "Forêt", "Bécasse")
    assert row["chunk_id"] == f"{composed}_chunk_0_1000"
