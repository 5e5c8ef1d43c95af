"""Exports for Raven, Audacity and readers of BirdNET's CSV, read back as those tools read them."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile as sf

from badc.detections.tables import DETECTIONS_SCHEMA
from badc.errors import RequestError
from badc.reports.files.export import Export, export, file_name
from badc.reports.files.export_formats import BIRDNET_COLUMNS, RAVEN_COLUMNS, WILDTRAX_COLUMNS
from badc.reports.settings import ExportSettings

HOSTILE_LABELS = (
    "a, b",
    'say "hi"',
    "o'brien",
    "two\nlines",
    "car\r\nriage",
    "é漢",
    "tab\tbed",
    "nul\0l",
    "next\x85line",
)


def detection(
    recording: str | None = "REC", start: int | None = 0, label: str = "Ovenbird", **more: Any
) -> dict[str, Any]:
    return {
        "recording_id": recording,
        "chunk_id": f"{recording}_chunk_0_60000",
        "chunk_start_ms": 0,
        "timestamp_ms": start,
        "end_ms": None if start is None else start + 3000,
        "absolute_time_ms": start,
        "absolute_end_ms": None if start is None else start + 3000,
        "label": label,
        "confidence": 0.75,
        "source_path": f"audio/{recording}.wav",
        "merged_from": 1,
    } | more


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    def write(*rows: dict[str, Any], name: str = "all.parquet") -> Path:
        pq.write_table(pa.Table.from_pylist(list(rows), schema=DETECTIONS_SCHEMA), tmp_path / name)
        return tmp_path / name

    return write


def run(parquet: Path, form: str, **settings: Any) -> Export:
    return export(ExportSettings(parquet=parquet, format=form, **{"output_dir": Path("out"), **settings}))


def raven(path: Path) -> list[dict[str, str]]:
    """Read a selection table as Raven does: lines of tab-separated fields without any quoting."""
    header, *lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    assert header.split("\t") == list(RAVEN_COLUMNS)
    return [dict(zip(RAVEN_COLUMNS, line.split("\t"), strict=True)) for line in lines]


def audacity(path: Path) -> list[tuple[float, float, str]]:
    """Read a label track as Audacity does: two numbers, and the third field is the text."""
    found = []
    for line in path.read_text(encoding="utf-8").removesuffix("\n").split("\n"):
        start, end, text = line.split("\t")
        found.append((float(start), float(end), text))
    return found


def birdnet(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_selection_table_has_ravens_columns_and_the_times_in_the_recording(table: Callable[..., Path]) -> None:
    made = run(
        table(
            detection(start=57_000, label="Ovenbird", label_code="Seiurus aurocapilla"),
            detection(start=1500, label="Veery", confidence=None),
        ),
        "raven",
    )
    assert (made.files, made.detections, made.without_times) == (1, 2, 0)
    first, second = raven(Path("out/REC.selections.txt"))
    assert first == {
        "Selection": "1",
        "View": "Spectrogram 1",
        "Channel": "1",
        "Begin Time (s)": "1.500000",
        "End Time (s)": "4.500000",
        "Low Freq (Hz)": "0",
        "High Freq (Hz)": "15000",
        "Common Name": "Veery",
        "Species Code": "Veery",
        "Confidence": "",
        "Begin File": "REC.wav",
        "Begin Path": str(Path("audio/REC.wav").absolute()),
        "File Offset (s)": "1.500000",
    }
    assert (second["Selection"], second["Begin Time (s)"], second["Confidence"]) == ("2", "57.000000", "0.7500")
    assert second["Species Code"] == "Seiurus aurocapilla"


def test_a_selection_stays_below_half_the_rate_of_a_recording_that_is_here(
    table: Callable[..., Path], make_audio: Callable[..., Path]
) -> None:
    make_audio("audio/REC.wav", rate=16_000)
    run(table(detection()), "raven")
    assert raven(Path("out/REC.selections.txt"))[0]["High Freq (Hz)"] == "8000"


def test_a_chunk_that_is_a_file_of_its_own_is_named_with_the_time_in_it(table: Callable[..., Path]) -> None:
    own = detection(
        start=61_500, timestamp_ms=1500, end_ms=4500, chunk_id="REC_chunk_60000_120000", chunk_start_ms=60_000
    ) | {"source_path": "chunks/REC_chunk_60000_120000.wav"}
    parquet = table(own)
    run(parquet, "raven")
    (row,) = raven(Path("out/REC.selections.txt"))
    assert (row["Begin Time (s)"], row["Begin File"]) == ("61.500000", "REC_chunk_60000_120000.wav")
    assert row["File Offset (s)"] == "1.500000"
    run(parquet, "birdnet")
    (row,) = birdnet(Path("out/all.BirdNET.results.csv"))
    assert (row["Start (s)"], row["End (s)"], Path(row["File"]).name) == ("1.5", "4.5", "REC_chunk_60000_120000.wav")


def test_a_label_track_holds_start_end_and_label(table: Callable[..., Path]) -> None:
    run(table(detection(start=57_001), detection(start=0, label="Veery", confidence=None)), "audacity")
    assert audacity(Path("out/REC.labels.txt")) == [(0.0, 3.0, "Veery"), (57.001, 60.001, "Ovenbird (0.750)")]


def test_the_csv_has_birdnets_columns_first(table: Callable[..., Path]) -> None:
    run(
        table(
            detection(
                "GNWT-290_20230331_235938",
                57_000,
                label_code="Seiurus aurocapilla",
                label_name="Ovenbird",
                station="GNWT-290",
                recorded_at=datetime(2023, 3, 31, 23, 59, 38),
            )
        ),
        "birdnet",
    )
    path = Path("out/all.BirdNET.results.csv")
    assert path.read_text().splitlines()[
        0
    ] == "Start (s),End (s),Scientific name,Common name,Confidence,File," + ",".join(WILDTRAX_COLUMNS)
    assert birdnet(path) == [
        {
            "Start (s)": "57.0",
            "End (s)": "60.0",
            "Scientific name": "Seiurus aurocapilla",
            "Common name": "Ovenbird",
            "Confidence": "0.7500",
            "File": str(Path("audio/GNWT-290_20230331_235938.wav").absolute()),
            "location": "GNWT-290",
            "recording_date_time": "2023-03-31 23:59:38",
            "species_code": "Seiurus aurocapilla",
        }
    ]


@pytest.mark.parametrize(
    ("label", "code", "name", "scientific", "common"),
    [
        ("OVEN", "OVEN", "Ovenbird", "OVEN", "Ovenbird"),
        ("Seiurus aurocapilla", None, "Ovenbird", "Seiurus aurocapilla", "Ovenbird"),
        ("Ovenbird", "OVEN", "Seiurus aurocapilla", "Seiurus aurocapilla", "Ovenbird"),
        ("noise", None, None, "noise", "noise"),
    ],
)
def test_scientific_and_common_name_are_told_apart(
    table: Callable[..., Path], label: str, code: str | None, name: str | None, scientific: str, common: str
) -> None:
    run(table(detection(label=label, label_code=code, label_name=name)), "birdnet")
    (row,) = birdnet(Path("out/all.BirdNET.results.csv"))
    assert (row["Scientific name"], row["Common name"]) == (scientific, common)


def test_hostile_labels_break_no_line(table: Callable[..., Path]) -> None:
    parquet = table(*(detection(start=1000 * n, label=label) for n, label in enumerate(HOSTILE_LABELS)))
    for form in ("raven", "audacity", "birdnet", "kaleidoscope"):
        run(parquet, form)
    plain = ["a, b", 'say "hi"', "o'brien", "two lines", "car riage", "é漢", "tab bed", "nul l", "next line"]
    assert [row["Common Name"] for row in raven(Path("out/REC.selections.txt"))] == plain
    assert [text for _, _, text in audacity(Path("out/REC.labels.txt"))] == [f"{label} (0.750)" for label in plain]
    # A CSV can quote, so there every label is what it was.
    found = birdnet(Path("out/all.BirdNET.results.csv"))
    assert [row["Common name"] for row in found] == list(HOSTILE_LABELS)
    assert [row["AUTO ID"] for row in birdnet(Path("out/all.kaleidoscope.csv"))] == list(HOSTILE_LABELS)


def test_a_hostile_path_breaks_no_line(table: Callable[..., Path]) -> None:
    parquet = table(detection(source_path='audio/a\tb\n"c",d.wav'))
    run(parquet, "raven")
    (row,) = raven(Path("out/REC.selections.txt"))
    assert (row["Begin File"], row["File Offset (s)"]) == ('a b "c",d.wav', "0.000000")
    run(parquet, "birdnet")
    (row,) = birdnet(Path("out/all.BirdNET.results.csv"))
    assert row["File"].endswith('audio/a\tb\n"c",d.wav')


def test_recordings_are_apart_and_numbered_each_from_one(table: Callable[..., Path]) -> None:
    rows = [detection(recording, start) for start in (6000, 0, 3000) for recording in ("b", "a b", "é")]
    made = run(table(*rows), "raven")
    assert (made.files, made.detections) == (3, 9)
    for recording in ("b", "a b", "é"):
        found = raven(Path("out", f"{recording}.selections.txt"))
        assert [row["Selection"] for row in found] == ["1", "2", "3"]
        assert [float(row["Begin Time (s)"]) for row in found] == [0, 3, 6]


def test_many_recordings_and_detections_come_back_as_they_were(table: Callable[..., Path]) -> None:
    """More than one batch, and recordings that a batch's end cuts in two."""
    rows = [detection(f"R{n // 7000}", n % 7000 * 10, f"bird {n % 5}", confidence=n % 100 / 100) for n in range(50_000)]
    parquet = table(*reversed(rows))
    made = run(parquet, "audacity")
    assert (made.files, made.detections) == (8, 50_000)
    found = [label for n in range(8) for label in audacity(Path(f"out/R{n}.labels.txt"))]
    for row, (start, end, text) in zip(rows, found, strict=True):
        assert math.isclose(start * 1000, row["absolute_time_ms"])
        assert math.isclose(end * 1000, row["absolute_end_ms"])
        assert text == f"{row['label']} ({row['confidence']:.3f})"
    run(parquet, "birdnet")
    assert len(birdnet(Path("out/all.BirdNET.results.csv"))) == 50_000


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"min_confidence": 0.5}, ["a", "c, d"]),
        ({"min_confidence": 0.6}, ["c, d"]),
        ({"labels": "A,b"}, ["a", "b"]),
        ({"labels": ("a", "b")}, ["a", "b"]),
        ({"labels": '"C, D", x'}, ["c, d"]),
        ({"labels": "code"}, ["b"]),
        ({"labels": "b", "min_confidence": 0.9}, []),
        ({}, ["a", "b", "c, d", "n"]),
    ],
)
def test_detections_are_chosen_by_confidence_and_label(
    table: Callable[..., Path], settings: dict[str, Any], expected: list[str]
) -> None:
    parquet = table(
        detection(label="a", confidence=0.5),
        detection(label="b", confidence=0.1, label_code="CODE"),
        detection(label="c, d", confidence=0.9),
        detection(label="n", confidence=None),
    )
    made = run(parquet, "birdnet", **settings)
    assert sorted(row["Common name"] for row in birdnet(Path("out/all.BirdNET.results.csv"))) == expected
    assert made.detections == len(expected)


def test_a_label_that_the_table_does_not_have_is_named(table: Callable[..., Path]) -> None:
    made = run(table(detection(label="Ovenbird")), "raven", labels="ovenbrid,Ovenbird")
    assert made.detections == 1
    assert made.notes == ("no detection is labelled 'ovenbrid'; did you mean 'Ovenbird'?",)


def test_detections_without_times_are_counted_and_left_out(table: Callable[..., Path]) -> None:
    made = run(
        table(detection(start=None), detection(start=0), detection(absolute_end_ms=None, end_ms=None)), "audacity"
    )
    assert (made.detections, made.without_times) == (1, 2)


NAMES = ("../x", "/etc/passwd", "a/b", "..", ".", "", "nul\0byte", "x" * 300, "é" * 140, "a:b", "what?", "end.", "a\\b")


def test_no_recording_id_leads_out_of_the_folder(table: Callable[..., Path], tmp_path: Path) -> None:
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    parquet = table(*(detection(name) for name in NAMES), detection(None, 60_000))
    made = run(parquet, "raven")
    written = {path for path in tmp_path.rglob("*") if path.is_file()} - before - {parquet}
    assert made.detections == len(NAMES) + 1
    assert made.files == len(written) == len(NAMES)  # an id that is null, and one that is empty, are the same
    assert all(path.parent == tmp_path / "out" for path in written)
    assert sum(len(raven(path)) for path in written) == len(NAMES) + 1


def test_file_names_are_the_ids_where_they_can_be(hostile_id: str) -> None:
    portable = not set(hostile_id) & set('<>:"|?*')
    assert (file_name(hostile_id, ".labels.txt") == f"{hostile_id}.labels.txt") is portable


def test_file_names_that_are_changed_stay_apart() -> None:
    names = {file_name(identifier, ".labels.txt") for identifier in (*NAMES, "a_b", "what_")}
    assert len(names) == len(NAMES) + 2
    assert all(len(name.encode()) <= 255 and "/" not in name for name in names)


@pytest.mark.parametrize("name", ["a[1].parquet", "star*.parquet", "o'brien.parquet"])
def test_tables_of_any_name_work(table: Callable[..., Path], name: str) -> None:
    made = run(table(detection(), name=name), "birdnet", output_dir=None)
    assert made.folder == Path(name).absolute().with_name(f"{name.removesuffix('.parquet')}_birdnet")
    assert len(list(made.folder.iterdir())) == 1


def test_a_table_of_another_tool_needs_only_times_and_label(tmp_path: Path) -> None:
    other = {"recording_id": ["R"], "chunk_id": ["c"], "label": ["x"], "confidence": [None]}
    other |= {"absolute_time_ms": [0.0], "absolute_end_ms": [3000.0]}
    pq.write_table(pa.table(other), tmp_path / "other.parquet")
    for form in ("raven", "audacity", "birdnet"):
        assert run(tmp_path / "other.parquet", form).detections == 1
    assert raven(Path("out/R.selections.txt"))[0]["Begin Path"] == ""
    assert list(birdnet(Path("out/other.BirdNET.results.csv"))[0])[:6] == list(BIRDNET_COLUMNS)


def test_what_is_no_table_of_detections_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no such table"):
        run(tmp_path / "none.parquet", "raven")
    (tmp_path / "text.parquet").write_text("recording_id\n")
    with pytest.raises(RequestError, match=r"text\.parquet: cannot be read as Parquet"):
        run(tmp_path / "text.parquet", "raven")
    pq.write_table(pa.table({"recording_id": ["R"]}), tmp_path / "other.parquet")
    with pytest.raises(RequestError, match=r"other\.parquet: the columns chunk_id, label, confidence"):
        run(tmp_path / "other.parquet", "raven")
    assert not Path("out").exists()


def test_a_folder_that_is_a_file_is_refused(table: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(RequestError, match="taken"):
        run(table(detection()), "raven", output_dir=tmp_path / "taken" / "deeper")


def test_real_detections_of_a_real_run_line_up_with_the_audio(
    table: Callable[..., Path], make_audio: Callable[..., Path]
) -> None:
    """Begin Path and File Offset lead to the samples of the detection."""
    audio = make_audio("audio/REC.wav", seconds=9, rate=8000)
    run(table(detection(start=3000)), "raven")
    (row,) = raven(Path("out/REC.selections.txt"))
    assert Path(row["Begin Path"]) == audio
    with sf.SoundFile(row["Begin Path"]) as stream:
        stream.seek(round(float(row["File Offset (s)"]) * stream.samplerate))
        length = float(row["End Time (s)"]) - float(row["Begin Time (s)"])
        assert len(stream.read(round(length * stream.samplerate))) == 24_000


@pytest.mark.parametrize("form", ["raven", "audacity", "birdnet"])
def test_files_for_spreadsheets_mark_what_would_be_run(tmp_path: Path, form: str) -> None:
    source = {"source_path": "audio/=x.wav"}
    rows = [
        detection("REC", 0, "=cmd()", station="@home", **source),
        detection("REC", 5000, "-x", label_code="+1-800", **source),
        detection("REC", 9000, "plain", station="-1", **source),
    ]
    pq.write_table(pa.Table.from_pylist(rows, DETECTIONS_SCHEMA), tmp_path / "t.parquet")
    texts = {}
    for chosen in (False, True):
        made = export(ExportSettings(parquet=tmp_path / "t.parquet", format=form, for_spreadsheets=chosen))
        (file,) = made.folder.iterdir()
        texts[chosen] = file.read_text()
    assert "'" not in texts[False]
    for text in ("=cmd()", "-x") if form == "audacity" else ("=cmd()", "-x", "+1-800"):
        assert f"'{text}" in texts[True]
    assert ("'@home" in texts[True]) == (form == "birdnet"), "only the CSV has the station"
    assert ("'=x.wav" in texts[True]) == (form == "raven"), "the CSV has whole paths, which nothing runs"
    assert texts[True].replace("'", "") == texts[False]
