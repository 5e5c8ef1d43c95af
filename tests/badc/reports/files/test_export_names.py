"""Exports with names of the user's choice, one table of many recordings for Raven, and Kaleidoscope's CSV."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from badc.errors import RequestError
from badc.reports.files.export import export
from badc.reports.settings import ExportSettings
from badc.settings.model import settings_from

FIRST, SECOND = "ST-1_20230509_055000", "ST-2_20230509_055000"


def rows(path: str, delimiter: str = ",") -> list[dict[str, str]]:
    quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    with Path(path).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter=delimiter, quoting=quoting))


def run(parquet: Path, form: str, **settings: Any) -> Any:
    return export(
        settings_from(ExportSettings, {"parquet": parquet, "format": form, "output_dir": Path("out")} | settings)
    )


@pytest.fixture
def names(tmp_path: Path) -> Path:
    path = tmp_path / "names.csv"
    path.write_text(
        "scientific,common,ebird,alpha4,de\nSeiurus aurocapilla,Ovenbird,ovenbi1,OVEN,Pieperwaldsänger\n", "utf-8"
    )
    return path


def test_species_code_holds_the_code_that_was_asked_for(write_detections: Callable[..., Path], names: Path) -> None:
    parquet = write_detections([(FIRST, 0, "Ovenbird", 0.75), (FIRST, 3000, "noise", 0.5)])
    made = run(parquet, "raven", names="EBIRD", names_table=names)
    assert made.notes == ("no name in 'ebird' for 1 label, which stay as they are: noise",)
    found = rows(f"out/{FIRST}.selections.txt", "\t")
    assert [(row["Common Name"], row["Species Code"]) for row in found] == [("Ovenbird", "ovenbi1"), ("noise", "noise")]
    run(parquet, "raven", names="alpha4", language="DE", names_table=names)
    row = rows(f"out/{FIRST}.selections.txt", "\t")[0]
    assert (row["Common Name"], row["Species Code"]) == ("Pieperwaldsänger", "OVEN")
    run(parquet, "audacity", language="de", names_table=names)
    assert Path(f"out/{FIRST}.labels.txt").read_text("utf-8").startswith("0.000000\t3.000000\tPieperwaldsänger (0.750)")
    run(parquet, "birdnet", names="ebird", names_table=names)
    row = rows("out/d.BirdNET.results.csv")[0]
    told = ("Scientific name", "Common name", "species_code")
    assert [row[name] for name in told] == ["Seiurus aurocapilla", "Ovenbird", "ovenbi1"]


def test_names_that_no_table_has_are_refused(write_detections: Callable[..., Path], names: Path) -> None:
    parquet = write_detections([(FIRST, 0, "Ovenbird", 0.75)])
    with pytest.raises(RequestError, match=r"no table of names has the column 'fi' \(there are: .*de.*\); name one"):
        run(parquet, "raven", language="fi", names_table=names)
    assert not Path("out").exists()


def test_a_combined_table_counts_from_the_start_of_the_first_file(
    write_detections: Callable[..., Path], write_coverage: Callable[..., Path], make_audio: Callable[..., Path]
) -> None:
    parquet = write_detections(
        [(FIRST, 3000, "Ovenbird", 0.5), (SECOND, 6000, "Veery", 0.5), ("X", 1000, "Veery", 0.5)]
    )
    run(parquet, "raven", combined=True)
    assert rows("out/d_combined.selections.txt", "\t")[1]["Begin Time (s)"] == "66.000000", "the chunk was 60 s"
    write_coverage(
        parquet, [(FIRST, 0, 60_000, "ok"), (FIRST, 60_000, 90_000, "no_detections"), (SECOND, 0, 9000, "ok")]
    )
    make_audio(f"audio/{SECOND}.wav", seconds=20)  # longer than what was analysed of it
    made = run(parquet, "raven", combined=True)
    assert (made.files, made.detections) == (5, 3)
    assert made.notes[-1].startswith("the lengths of 2 files are not known, as they are not on this machine")
    found = rows("out/d_combined.selections.txt", "\t")
    times = [(row["Selection"], row["Begin Time (s)"], row["End Time (s)"], row["File Offset (s)"]) for row in found]
    assert times == [
        ("1", "3.000000", "6.000000", "3.000000"),
        ("2", "96.000000", "99.000000", "6.000000"),  # 90 s of the first file
        ("3", "111.000000", "114.000000", "1.000000"),  # and 20 s of the second
    ]
    assert Path("out/d_combined.list.txt").read_text().splitlines() == [row["Begin Path"] for row in found]
    with pytest.raises(RequestError, match="--combined is for --format raven"):
        run(parquet, "audacity", combined=True)


def test_kaleidoscope_gets_folders_offsets_and_room_for_an_id(
    write_detections: Callable[..., Path], tmp_path: Path
) -> None:
    parquet = write_detections([(FIRST, 61_500, 'a "b", c', 0.75)], label_code="Genus species")
    run(parquet, "kaleidoscope")
    (row,) = rows("out/d.kaleidoscope.csv")
    assert row == {
        "INDIR": str(tmp_path),
        "FOLDER": "audio",
        "IN FILE": f"{FIRST}.wav",
        "OFFSET": "61.5",
        "DURATION": "3.0",
        "scientific_name": "Genus species",
        "common_name": 'a "b", c',
        "confidence": "0.7500",
        "DATE": "2023-05-09",
        "TIME": "05:51:01",
        "AUTO ID": 'a "b", c',
        "MANUAL ID": "",
    }
