"""A species has one label, whether a table names it by its code or by its name."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from badc.reports.files.database import make_database
from badc.reports.files.export import export
from badc.reports.files.frames import load_detections
from badc.reports.query.species import joined_labels
from badc.reports.rankings.rollup import roll_up
from badc.reports.rankings.summary import summarise
from badc.reports.settings import DatabaseSettings, ExportSettings, RollupSettings, SummarySettings

NAME = "Hermit Thrush"
CODED = ("HETH", "HETH", NAME)
NAMED = (NAME, "HETH", NAME)
BIRDNET = (NAME, "Catharus guttatus", NAME)


def write(path: str, *labels: tuple[str, str | None, str | None], recording: str = "ST-1_20230509_055000") -> Path:
    """Write a table with a detection of each label, code and name, every second of a recording."""
    rows = [
        {
            "recording_id": recording,
            "chunk_id": f"{recording}_chunk_{n * 3000}_{n * 3000 + 3000}",
            "chunk_start_ms": n * 3000,
            "timestamp_ms": 0,
            "end_ms": 3000,
            "label": label,
            "label_code": code,
            "label_name": name,
            "confidence": 0.5,
            "source_path": f"audio/{recording}.wav",
        }
        for n, (label, code, name) in enumerate(labels)
    ]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return Path(path)


@pytest.mark.parametrize(
    ("spellings", "expected"),
    [
        ([CODED, NAMED], {NAME: "HETH"}),
        ([CODED, BIRDNET], {NAME: "HETH"}),
        ([NAMED, ("HETH", None, None)], {NAME: "HETH"}),
        ([CODED, (NAME, None, None)], {NAME: "HETH"}),
        ([BIRDNET, ("Catharus guttatus", None, None)], {"Catharus guttatus": NAME}),
        ([CODED, NAMED, BIRDNET, ("OVEN", "OVEN", "Ovenbird")], {NAME: "HETH"}),
        # Each kind alone stays as it is.
        ([CODED], {}),
        ([NAMED, BIRDNET], {}),
        # Codes of two classifiers that only count their classes mean nothing to each other.
        ([("Wolf", "3", "Wolf"), ("Owl", "3", "Owl")], {}),
        # A command's own finer labels stay apart.
        ([("robin song", "AMRO", "American Robin"), ("robin call", "AMRO", "American Robin")], {}),
        ([("A1", "A1", "Treefrog"), ("A2", "A2", "Treefrog")], {}),
    ],
)
def test_which_labels_are_one_species(spellings, expected):
    assert joined_labels(spellings) == expected
    assert joined_labels(spellings[::-1]) == expected


@pytest.mark.parametrize("word", ["HETH", "heth", NAME])
def test_a_table_of_both_kinds_has_one_row_a_species_and_takes_either_word(word):
    table = write("d.parquet", CODED, NAMED, BIRDNET, ("OVEN", "OVEN", "Ovenbird"))
    made = summarise(SummarySettings(parquet=table))
    assert [(row["label"], row["detections"]) for row in made.groups.as_dicts()] == [("HETH", 3), ("OVEN", 1)]
    chosen = summarise(SummarySettings(parquet=table, labels=(word,)))
    assert [(row["label"], row["detections"]) for row in chosen.groups.as_dicts()] == [("HETH", 3)]
    assert chosen.notes[0].startswith("no table of coverage"), "no note that the label is unknown"
    frame = load_detections(table, labels=[word])
    assert list(frame["label"]) == ["HETH"] * 3
    assert list(frame["label_code"]) == ["HETH", "HETH", "Catharus guttatus"]


@pytest.mark.parametrize("kind", [CODED, NAMED])
@pytest.mark.parametrize("word", ["HETH", NAME])
def test_a_table_of_one_kind_takes_either_word(kind, word):
    made = summarise(SummarySettings(parquet=write("d.parquet", kind, ("x", None, None)), labels=(word,)))
    assert [(row["label"], row["detections"]) for row in made.groups.as_dicts()] == [(kind[0], 1)]


def test_a_database_has_one_row_a_species():
    made = make_database(DatabaseSettings(parquet=write("d.parquet", CODED, NAMED), database=Path("d.duckdb")))
    assert made.labels.rows == (("HETH", NAME, 2, 0.5, 1),)


def test_a_rollup_of_old_and_new_tables_has_one_row_a_species():
    write("data/new.parquet", CODED, recording="A_20230509_055000")
    write("data/old.parquet", NAMED, recording="B_20230509_055000")
    write("data/users.parquet", ("HETH", None, None), recording="C_20230509_055000")
    write("data/birdnet.parquet", BIRDNET, recording="D_20230509_055000")
    made = roll_up(RollupSettings(folder=Path("data"), export_dir=Path("e")))
    assert [(row["label"], row["label_name"], row["detections"]) for row in made.labels.as_dicts()] == [
        ("HETH", NAME, 4)
    ]
    assert Path("e/label_summary.csv").read_text().splitlines()[1].startswith(f"HETH,{NAME},4,")


def test_an_export_chooses_by_either_word_and_says_the_name():
    table = write("d.parquet", CODED, NAMED, BIRDNET)
    made = export(ExportSettings(parquet=table, format="raven", labels=("HETH",)))
    rows = [line.split("\t") for line in next(made.folder.iterdir()).read_text().splitlines()]
    names = [dict(zip(rows[0], row, strict=True))["Common Name"] for row in rows[1:]]
    assert names == ["Hermit Thrush"] * 3
