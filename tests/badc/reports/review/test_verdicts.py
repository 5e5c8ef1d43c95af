"""Verdicts from every program, of one and of several people, and the report on them."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from badc.errors import RequestError
from badc.reports.files.export import export
from badc.reports.review.report import report_on_verdicts
from badc.reports.review.samples import agreements, checks_of
from badc.reports.review.settings import VerdictSettings
from badc.reports.review.verdicts import Answer, Verdict, read_verdicts
from badc.reports.settings import ExportSettings

SAMPLE = (
    "clip,label,label_code,label_name,confidence,recording_id,start_ms,end_ms,band_low,band_high,band_detections,"
    "band_drawn\n"
)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a file, and its folder."""

    def written(text: str | bytes, name: str = "verdicts.csv") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return written


def brief(verdicts: list[Verdict]) -> list[tuple[object, ...]]:
    return [(v.recording_id, v.label, v.start_ms, str(v.answer), v.confidence, v.other_label) for v in verdicts]


def test_a_csv_typed_by_hand_is_forgiven_much(write: Callable[..., Path]) -> None:
    words = ["Y", " yes ", "TRUE", "1", "correct", "n", "No", "0", "wrong", "?", "unsure", ""]
    rows = "".join(f'"A, 1",{n}000,Owl,{word}\r\n' for n, word in enumerate(words))
    read = read_verdicts(write(b"\xef\xbb\xbf" + f" Recording_ID,start_MS ,label,Verdict\r\n\r\n{rows}".encode()))

    assert [str(v.answer) for v in read] == ["y"] * 5 + ["n"] * 4 + ["?"] * 2
    assert read[0].recording_id == "A, 1"
    assert read[-1].start_ms == 10_000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("clip;verdict\n1;y\n", "verdicts.csv:1: the columns are separated by ';'; a CSV of verdicts uses commas"),
        ("clip,answer\n1,y\n", "the column verdict is missing"),
        ("label,verdict\nOwl,y\n", "without the column clip, it needs recording_id, start_ms too"),
        ("clip,verdict\n1,y\n2,perhaps\n3,da\n", "verdicts.csv:3: the verdict 'perhaps' is not y, n or ?\n"),
        ("clip,verdict,confidence\n1,y,high\n", "confidence 'high' is not a number"),
        ("clip,verdict,confidence\n1,y,85\n", "confidence '85' is not between 0 and 1"),
        ("clip,verdict,label\n,y,Owl\n", "verdicts.csv:2: neither a clip, nor a recording"),
        ("Selection\tBegin Time (s)\tEnd Time (s)\n1\t1\t4\n", "has no column Verdict"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(write: Callable[..., Path], text: str, said: str) -> None:
    with pytest.raises(RequestError) as error:
        read_verdicts(write(text))
    assert said in str(error.value)


def test_verdicts_come_back_from_raven_and_audacity(
    write: Callable[..., Path], write_detections: Callable[..., Path], tmp_path: Path
) -> None:
    name = "A-1_20230509_220000"
    table = write_detections(
        [(name, 3000, "Hermit Thrush", 0.7908), (name, 9000, "Wren", 0.5), (name, 12_500, "Wren", 0.4)]
    )
    for form in ("raven", "audacity"):
        export(ExportSettings(parquet=table, format=form, output_dir=tmp_path / form))
    raven = tmp_path / "raven" / f"{name}.selections.txt"
    header, *rows = raven.read_text().splitlines()
    verdicts = ("y", "N", "")
    raven.write_text(
        f"{header}\tVerdict\tOther Species\tReviewer\n"
        + "".join(f"{row}\t{v}\t{'Jay' if v == 'N' else ''}\tAnn\n" for row, v in zip(rows, verdicts, strict=True))
    )
    audacity = tmp_path / "audacity" / f"{name}.labels.txt"
    labels = audacity.read_text().splitlines()
    audacity.write_text(f"{labels[0]} = y\n\\\t1000\t2000\n{labels[1]} = no: Jay\n{labels[2]}\n")

    assert brief(read_verdicts(raven)) == [
        (name, "Hermit Thrush", 3000, "y", 0.7908, ""),
        (name, "Wren", 9000, "n", 0.5, "Jay"),
    ]
    assert brief(read_verdicts(audacity)) == [
        (name, "Hermit Thrush", 3000, "y", 0.791, ""),
        (name, "Wren", 9000, "n", 0.5, "Jay"),
    ]
    assert {v.reviewer for v in read_verdicts(raven)} == {"Ann"}


def test_a_selection_table_of_many_recordings_says_where_in_each(write: Callable[..., Path]) -> None:
    header = "Selection\tBegin Time (s)\tEnd Time (s)\tCommon Name\tBegin Path\tFile Offset (s)\tVerdict\n"
    rows = "1\t3.0\t6.0\tWren\t/x/A.v1.wav\t3.0\ty\n2\t63.0\t66.0\tWren\tD:\\x\\B.WAV\t3,5\tn\n"

    assert brief(read_verdicts(write(header + rows, "all.txt"))) == [
        ("A.v1", "Wren", 3000, "y", None, ""),
        ("B", "Wren", 3500, "n", None, ""),
    ]


def sample(rows: int = 40) -> str:
    """Return a sample of an owl: 20 from a band of 980 detections, 20 from one of 20."""
    lines = []
    for n in range(rows):
        low = n < rows // 2
        score = 0.2 + n / 1000 if low else 0.8 + n / 1000
        band = "0.2,0.3,980,20" if low else "0.8,0.9,20,20"
        lines.append(f"{n + 1:04},OWL,OWL,Great Owl,{score:.3f},REC,{n * 3000},{n * 3000 + 3000},{band}\n")
    return SAMPLE + "".join(lines)


def test_the_report_weights_fits_and_writes(write: Callable[..., Path], tmp_path: Path) -> None:
    write(sample(), "sample.csv")
    # Of the low band 5 of 20 right, of the high one 18 of 19, and one unsure; clips as a spreadsheet leaves them.
    answers = ["y" if n % 4 == 0 else "n" for n in range(20)] + ["n", "?", *["y"] * 18]
    write("clip,verdict\n" + "".join(f"{n + 1},{answer}\n" for n, answer in enumerate(answers)))
    made = report_on_verdicts(VerdictSettings(verdicts=(tmp_path / "verdicts.csv",)))
    (row,) = made.species

    assert (row.label, row.checked, row.correct, row.wrong, row.unsure) == ("OWL", 39, 23, 16, 1)
    assert row.sampled_from == 1000
    assert row.precision == pytest.approx(0.98 * 0.25 + 0.02 * 18 / 19, abs=1e-4)
    assert row.low is not None
    assert row.high is not None
    assert row.low < row.precision < row.high
    assert row.threshold_90 is not None
    assert 0.3 < row.threshold_90 < 0.84
    assert row.intercept is not None
    assert row.slope is not None
    assert [(b.band_low, b.detections, b.checked, b.correct, b.unsure) for b in made.bands] == [
        (0.2, 980, 20, 5, 0),
        (0.8, 20, 19, 18, 1),
    ]
    assert made.bands[1].precision == pytest.approx(18 / 19, abs=1e-4)
    assert [path.name for path in made.written] == ["thresholds.csv", "precision.csv"]
    (written,) = csv.DictReader((tmp_path / "thresholds.csv").open())
    assert written["label"] == "OWL"
    assert written["precision"] == str(row.precision)


def test_too_few_and_extrapolated_thresholds_are_not_given(write: Callable[..., Path], tmp_path: Path) -> None:
    rows = [("Few", 0.1 * n, n % 2 == 0) for n in range(1, 10)]
    rows += [("High", 0.3 + n / 200, n % 3 > 0) for n in range(100)]
    rows += [("Sure", 0.5 + n / 300, n not in (20, 60)) for n in range(100)]
    text = "".join(
        f"R,{number * 3000},{label},{score:.4f},{'y' if right else 'n'}\n"
        for number, (label, score, right) in enumerate(rows)
    )
    path = write("recording_id,start_ms,label,confidence,verdict\n" + text)
    made = report_on_verdicts(VerdictSettings(verdicts=(path,), output_dir=tmp_path / "out"))
    few, high, sure = made.species

    assert few.min_confidence is None
    assert "too few checked: 9 with a confidence" in few.note
    assert "too few checked: the precision is between" in few.note
    assert (high.min_confidence, high.threshold_99) == (None, None)
    assert "above every checked confidence" in high.note or "not more often correct" in high.note
    assert sure.min_confidence == 0.5, "the lowest that was checked"
    assert "the threshold is the lowest checked confidence" in sure.note
    assert (sure.kept_checked, sure.kept_precision) == (100, 0.98)
    assert sure.sampled_from is None
    assert any("not from a sample over bands" in note for note in made.notes)
    assert made.written[0].parent == tmp_path / "out"


def test_two_people_agree_as_in_cohens_example(write: Callable[..., Path], tmp_path: Path) -> None:
    # The usual example: 20 and 15 alike of 50, 5 and 10 not; kappa 0.4.
    pairs = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    header = "recording_id,start_ms,label,confidence,verdict,other_label,reviewer\n"
    files = []
    for who, place in (("ann", 0), ("bob", 1)):
        lines = [
            f"R,{n * 3000},Owl,0.{n + 10},{pair[place]},{'Jay' * (pair[place] == 'n')},\n"
            for n, pair in enumerate(pairs)
        ]
        files.append(write(header + "".join(lines), f"{who}/verdicts.csv"))
    made = report_on_verdicts(VerdictSettings(verdicts=tuple(files), output_dir=tmp_path))
    (pair,) = made.agreements

    assert (pair.both, pair.agreed) == (50, 35)
    assert pair.kappa == pytest.approx(0.4)
    assert len(made.conflicts) == 15
    assert made.conflicts[0].counted_as == "?"
    assert "y; " in made.conflicts[0].verdicts
    assert "n (Jay)" in made.conflicts[0].verdicts
    (row,) = made.species
    assert (row.checked, row.correct, row.unsure) == (35, 20, 15)
    assert [path.name for path in made.written] == ["thresholds.csv", "precision.csv", "conflicts.csv"]
    assert pair.first.endswith("ann/verdicts.csv"), "nobody gave a name, so the file stands for the person"


def said(who: str, answer: str, at: str = "", start_ms: int = 0) -> Verdict:
    return Verdict(Answer(answer), None, "R", "Owl", start_ms, 0.5, "", who, at, "v.csv:2")


def test_the_majority_counts_and_the_later_word_of_one_person() -> None:
    (check,) = checks_of(
        [said("a", "y", "2026-01-02"), said("b", "y"), said("c", "n"), said("a", "n", "2026-01-01")], {}
    )
    assert check.answer is Answer.YES
    assert check.is_disputed
    (changed,) = checks_of([said("a", "y", "2026-01-01"), said("a", "n", "2026-01-02")], {})
    assert changed.answer is Answer.NO
    assert not changed.is_disputed
    (same,) = agreements(checks_of([said("a", "y"), said("b", "y")], {}))
    assert same.kappa is None


def test_a_species_outside_the_sample_has_one_name(write: Callable[..., Path], tmp_path: Path) -> None:
    write(sample(), "sample.csv")
    rows = "".join(f"X,{label},{n},y,0.5\n" for n, label in enumerate(("owl", "Great Owl", "wren", "Wren")))
    path = write("recording_id,label,start_ms,verdict,confidence\n" + rows)
    write("", "conflicts.csv")
    made = report_on_verdicts(VerdictSettings(verdicts=(path,)))

    assert [(row.label, row.checked) for row in made.species] == [("OWL", 2), ("wren", 2)]
    assert not (tmp_path / "conflicts.csv").exists(), "it was that of earlier verdicts"


def test_without_a_verdict_the_earlier_thresholds_stay(write: Callable[..., Path], tmp_path: Path) -> None:
    write("label,min_confidence\nOWL,0.7\n", "thresholds.csv")
    made = report_on_verdicts(VerdictSettings(verdicts=(write("recording_id,label,start_ms,verdict\nR,OWL,0,\n"),)))

    assert made.written == ()
    assert "nothing is written" in made.notes[0]
    assert "0.7" in (tmp_path / "thresholds.csv").read_text()


def test_a_clip_without_its_sample_is_refused(write: Callable[..., Path]) -> None:
    path = write("clip,verdict\n7,y\n")
    with pytest.raises(RequestError, match=r"verdicts.csv:2: no sample has a clip 7; --sample names the sample.csv"):
        report_on_verdicts(VerdictSettings(verdicts=(path,)))


def test_raven_rows_find_their_row_of_the_sample(write: Callable[..., Path], tmp_path: Path) -> None:
    write(sample(), "sample.csv")
    header = "Selection\tBegin Time (s)\tEnd Time (s)\tCommon Name\tBegin File\tVerdict\n"
    rows = [f"{n}\t{n * 3 + 0.2:.6f}\t{n * 3 + 3:.6f}\tGreat Owl\tREC.wav\ty\n" for n in range(3)]
    path = write(header + "".join(rows), "REC.selections.txt")
    (row,) = report_on_verdicts(VerdictSettings(verdicts=(path,))).species

    assert (row.label, row.checked, row.sampled_from) == ("OWL", 3, 1000)
    assert "1 band of the confidence without a verdict" in row.note
