"""What people heard, read from the files of every program that they label with."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from badc.errors import RequestError
from badc.reports.compare.matching import Labels, load_truth
from badc.reports.compare.truth import Heard, read_truth
from badc.reports.files.export import export
from badc.reports.files.label_files import id_of, recording_of_file
from badc.reports.query.tables import open_tables
from badc.reports.settings import ExportSettings
from badc.species.names import Names

A = "ST-1_20230509_055000"
RAVEN = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)"


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., list[tuple[Any, ...]]]:
    """Return a function that reads a file of this name and content: recording, start, end and names of each passage."""

    def reading(name: str, text: str, **more: Any) -> list[tuple[Any, ...]]:
        (tmp_path / name).write_text(text, encoding="utf-8")
        found = read_truth([tmp_path / name], **more)
        return [(h.recording, h.start_ms, h.end_ms, *h.names) for h in found]

    return reading


def test_selection_tables_are_of_the_recording_that_they_name_or_are_named_after(
    read: Callable[..., list[tuple[Any, ...]]],
) -> None:
    one = f"{RAVEN}\tSpecies\n1\tSpectrogram 1\t1\t1.5\t2.75\t0\t9000\tOVEN\n"
    assert read(f"{A}.Table.1.selections.txt", one) == [(A, 1500, 2750, "OVEN")]
    assert read("x.txt", one, recording="R 1") == [("R 1", 1500, 2750, "OVEN")]
    many = (
        f"\ufeff{RAVEN}\tBegin File\tFile Offset (s)\tAnnotation\tCommon Name\r\n"
        f"1\tSpectrogram 1\t1\t61.5\t62.5\t0\t9000\t{A}.WAV\t1.5\tOVEN\tOvenbird\r\n"
    )
    assert read("many.txt", many) == [(A, 1500, 2500, "Ovenbird", "OVEN")]
    assert read("many.txt", many, label_column="annotation") == [(A, 1500, 2500, "OVEN")]
    assert read(f"{A}.selections.txt", f"{RAVEN}\tSpecies\n") == [(A, None, None)]


def test_label_tracks(read: Callable[..., list[tuple[Any, ...]]]) -> None:
    text = "1.000000\t2.000000\tOvenbird (0.750)\n\\\t1000.0\t3000.0\n3,5\t4\tVeery (song)\n"
    assert read(f"{A}.labels.txt", text) == [(A, 1000, 2000, "Ovenbird"), (A, 3500, 4000, "Veery (song)")]
    assert read(f"{A}.txt", "") == [(A, None, None)]


def test_tags_of_wildtrax_have_their_task_and_its_method(tmp_path: Path) -> None:
    path = tmp_path / "tags.csv"
    path.write_text(
        "organization,location,recording_date_time,task_method,task_duration,species_code,detection_time,tag_duration\n"
        "X,ST-1,2023-05-09 05:50:00,1SPT,180,OVEN,12.5,1.25\n"
        "X,ST-2,2023-05-09 05:50:00,1SPT,60,NONE,,\n"
    )
    task = {"recorded_at": datetime(2023, 5, 9, 5, 50), "method": "1SPT"}
    assert read_truth([path]) == [
        Heard(None, 12_500, 13_750, ("OVEN",), "ST-1", listened_ms=180_000, place=f"{path}:2", **task),
        Heard(None, station="ST-2", listened_ms=60_000, place=f"{path}:3", **task),
    ]


def test_manual_ids_of_kaleidoscope(read: Callable[..., list[tuple[Any, ...]]]) -> None:
    text = f'INDIR,FOLDER,IN FILE,OFFSET,DURATION,AUTO ID,MANUAL ID\n/d,a,{A}.wav,3.0,3.0,Veery,"Wren, Winter"\n'
    assert read("k.csv", text + f"/d,a,{A}.wav,6.0,3.0,Veery,\n") == [(A, 3000, 6000, "Wren, Winter")]


def test_all_wrong_lines_are_listed(read: Callable[..., list[tuple[Any, ...]]]) -> None:
    with pytest.raises(RequestError) as caught:
        read("t.csv", "recording,start_s,end_s,label\nA,1,x,V\nA,3,2,V\n,1,2,V\nA,1,2,V\n")
    assert [line.partition(":")[2] for line in str(caught.value).splitlines()] == [
        "2: 'x' is not a number",
        "3: it ends at 2000 ms, which is not after its start at 3000 ms",
        "4: recording is empty",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "recording,start,end,label\nA,1,2,V\n",
            "neither a table of Raven, .* start_s and end_s or start_ms and end_ms",
        ),
        (f"{RAVEN}\tSpecies\n1\tS\t1\t1\n", ":2: '' is not a number"),
        ('recording,start_s,end_s,label\nA,1,2,"' + "x" * 200_000, ":2: the file of labels cannot be read"),
        ("recording;start_s;end_s;label\nA;1;2;V\n", "the columns are separated by ';'"),
        ("recording,start_s,end_s,remark\nA,1,2,V\n", "no column of species is known among .*--label-column"),
        (f"{RAVEN}\tSpecies\n1\tS\t1\t1\t2\t0\t9000\t\n", ":2: the label is empty"),
        ("location,recording_date_time,species_code\nS,2023-05-09 05:50:00,OVEN\n", "download that of tags"),
    ],
)
def test_what_cannot_be_understood_is_refused(read: Callable[..., list[tuple[Any, ...]]], text: str, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        read("t.csv", text)


@pytest.mark.parametrize("form", ["raven", "audacity", "kaleidoscope"])
def test_what_badc_exports_is_read_back(write_detections: Callable[..., Path], tmp_path: Path, form: str) -> None:
    parquet = write_detections([(A, 61_500, "Ovenbird", 0.75)])
    export(ExportSettings(parquet=parquet, format=form, output_dir=tmp_path / "out", combined=form == "raven"))
    if form == "kaleidoscope":
        path = tmp_path / "out" / "d.kaleidoscope.csv"
        path.write_text(path.read_text().replace("Ovenbird,\n", "Ovenbird,Ovenbird\n"))
    heard, *again = read_truth([tmp_path / "out"])
    assert len(again) == (form == "raven")  # in the combined table
    assert (heard.recording, heard.start_ms, heard.end_ms, heard.names[0]) == (A, 61_500, 64_500, "Ovenbird")


def test_names_of_files_and_recordings() -> None:
    assert recording_of_file(Path("a.b.Table.12.selections.txt")) == "a.b"
    assert recording_of_file(Path("a.BirdNET.selection.table.txt")) == "a.BirdNET.selection"
    assert id_of("C:\\audio\\a.b.WAV") == "a.b"
    assert id_of("/x/a.b") == "a.b"


def test_recordings_are_found_by_station_and_start_or_by_a_chunks_file(
    write_detections: Callable[..., Path], write_coverage: Callable[..., Path]
) -> None:
    parquet = write_detections([(A, 0, "OVEN", 0.75)], label_name="Ovenbird", label_code="OVEN")
    write_coverage(parquet, [(A, 60_000, 120_000, "ok")])
    names = Names([[{"common": "Ovenbird", "ebird": "ovenbi1", "de": "x"}]])
    heard = [
        Heard(None, 1000, 2000, ("ovenbi1",), "st-1", datetime(2023, 5, 9, 5, 50), 180_000, "1SPT"),
        Heard(f"{A}_chunk_60000_120000", 3000, 4000, ("OVENBIRD",)),
    ]
    with open_tables(parquet) as database:
        loaded = load_truth(database, heard, Labels(database, names), names, ())
        found = database.execute("SELECT recording_id, start_ms, end_ms, label FROM truth ORDER BY start_ms").fetchall()
        assert found == [(A, 1000, 2000, "OVEN"), (A, 63_000, 64_000, "OVEN")]
        assert database.execute("FROM listened").fetchall() == [(A, 0, 180_000)]
    assert loaded.notes == [
        "WildTrax' method 1SPT marks a species once a task, so only --by recording tells of false alarms and misses"
    ]
