"""`badc review compare`: counts by hand, of small tables whose every detection and label is known."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from badc.errors import RequestError
from badc.reports.compare import comparison
from badc.reports.compare.comparison import Comparison, compare
from badc.reports.compare.settings import CompareSettings
from badc.settings.model import settings_from
from badc.species import names

A, B = "ST-1_20230509_055000", "ST-2_20230509_055000"
MINUTE = 60_000


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No classifier is installed that would bring names."""
    monkeypatch.setattr(names, "classes_file", lambda: None)
    monkeypatch.setattr(names, "read_labels", list)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Nothing is drawn, which takes longer than all else, unless a test asks for the pictures."""
    if "pictures" not in request.fixturenames:
        for draws in ("draw_curves", "draw_confidences"):
            monkeypatch.setattr(comparison, draws, lambda *_: None)


@pytest.fixture
def pictures() -> None:
    """Ask for the pictures."""


def run(parquet: Path, truth: Path | None, **settings: Any) -> Comparison:
    told = {"parquet": parquet, "truth": () if truth is None else (truth,), "output_dir": Path("out"), "clips": 0}
    return compare(settings_from(CompareSettings, told | settings))


def rows(name: str) -> list[dict[str, str]]:
    with Path("out", f"{name}.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def counts(unit: str, label: str, name: str = "species", **of: str) -> dict[str, float]:
    shown = ("detected", "correct", "false_alarms", "heard", "found", "missed", "precision", "recall", "f1")
    (row,) = [r for r in rows(name) if (r["unit"], r["label"]) == (unit, label) and of.items() <= r.items()]
    return {key: float(row[key]) for key in shown if row[key]}


@pytest.fixture
def study(
    write_detections: Callable[..., Path], write_coverage: Callable[..., Path], tmp_path: Path
) -> tuple[Path, Path]:
    """Two minutes of A in chunks of 30 s, of which the third was not analysed, and a silent minute of B."""
    parquet = write_detections(
        [
            (A, 0, "Ovenbird", 0.9),  # heard from 1 to 2 s
            (A, 3000, "Ovenbird", 0.3),  # heard from 5.7 to 7 s: 0.3 s are too few
            (A, 6000, "Ovenbird", 0.4),  # the same label
            (A, 20_000, "Ovenbird", 0.8),  # nobody heard it
            (A, 91_000, "Ovenbird", 0.2),  # nobody heard it
            (A, 12_000, "Veery", 0.7),
            (B, 0, "Ovenbird", 0.6),
        ],
        chunk_ms=30_000,
    )
    write_coverage(
        parquet,
        [(A, start, start + 30_000, "ok" if start != 60_000 else "missing") for start in range(0, 120_000, 30_000)]
        + [(B, 0, MINUTE, "ok")],
    )
    truth = tmp_path / "truth.csv"
    truth.write_text(
        "recording,start_s,end_s,label\n"
        f"{A},1,2,ovenbird\n"
        f"{A}.wav,5.7,7,Ovenbird\n"
        f"{A},30.5,31.5,Ovenbird\n"
        f"{A},65,66,Ovenbird\n"  # was not analysed
        f"{A},95,96,Robin\n"
        "C,1,2,Ovenbird\n",
        encoding="utf-8",
    )
    return parquet, truth


def test_windows_are_right_or_false_and_labels_found_or_missed(study: tuple[Path, Path]) -> None:
    made = run(*study, min_confidence=0.35)
    # 0.9 and 0.4 are right, 0.8 is not; 0.3 and 0.2 are below. Labels: 2 found, 1 missed.
    expected = {"detected": 3, "correct": 2, "false_alarms": 1, "heard": 3, "found": 2, "missed": 1}
    found = counts("window", "Ovenbird")
    assert {key: found[key] for key in expected} == expected
    assert found["precision"] == pytest.approx(2 / 3)
    assert found["recall"] == pytest.approx(2 / 3)
    assert found["f1"] == pytest.approx(2 / 3)
    assert counts("window", "Robin") == {"detected": 0, "correct": 0, "false_alarms": 0} | {
        "heard": 1, "found": 0, "missed": 1, "recall": 0,
    }  # fmt: skip
    assert made.notes == [
        "1 recording of the truth is not in the tables: C",
        "no detection is labelled 'Robin': 1 label of it can only be missed",
        "1 of 5 labels of the truth do not count: a copy, or in audio that was not analysed",
        "1 other label was detected there; --complete says that the truth would name what was heard, and "
        "counts the rest as false alarms",
    ]
    assert [(r["start_ms"], r["label"], r["confidence"], r["place"][-2:]) for r in rows("misses")] == [
        ("30500", "Ovenbird", "", ":4"),
        ("95000", "Robin", "", ":6"),
    ]
    assert [(r["start_ms"], r["confidence"]) for r in rows("false_alarms")] == [("20000", "0.8")]
    assert made.scores is not None
    assert made.scores.as_dicts()[0]["best_threshold"] == 0.4


@pytest.mark.usefixtures("pictures")
def test_no_picture_of_an_earlier_comparison_stays(study: tuple[Path, Path]) -> None:
    Path("out").mkdir()
    Path("out/precision_recall.png").touch()
    run(*study, labels=("Robin",))
    assert not Path("out/precision_recall.png").exists(), "a robin was heard, and none detected"


@pytest.mark.usefixtures("pictures")
def test_curves_count_at_each_threshold(study: tuple[Path, Path]) -> None:
    run(*study)
    everything = counts("window", "Ovenbird", "curves", threshold="0.0")
    assert (everything["detected"], everything["correct"], everything["found"]) == (5, 2, 2)
    # At 0.85 only 0.9 is left: precision 1, recall 1/3, F1 = 2 * 1 * 1/3 / (4/3).
    high = counts("window", "Ovenbird", "curves", threshold="0.85")
    assert (high["precision"], high["recall"], high["f1"]) == pytest.approx((1, 1 / 3, 0.5))
    assert counts("window", "Ovenbird", "curves", threshold="0.95")["detected"] == 0
    assert Path("out/precision_recall.png").read_bytes().startswith(b"\x89PNG")


def test_a_species_is_heard_or_detected_in_chunks_minutes_and_recordings(study: tuple[Path, Path]) -> None:
    run(*study)
    # Chunks 0 and 30 s: both heard and only heard. 90 s: only detected.
    found = counts("chunk", "Ovenbird")
    assert (found["detected"], found["correct"], found["heard"], found["found"]) == (2, 1, 2, 1)
    found = counts("minute", "Ovenbird")
    assert (found["detected"], found["correct"], found["heard"], found["missed"]) == (2, 1, 1, 0)
    assert counts("recording", "Ovenbird")["f1"] == 1


def test_only_what_was_listened_to_counts(study: tuple[Path, Path]) -> None:
    parquet, truth = study
    truth.write_text(f"file,start_ms,end_ms,label\n{A},0,10000,\n{A},1000,2000,Ovenbird\n{B},,,\n")
    run(parquet, truth)
    found = counts("window", "Ovenbird")
    assert (found["detected"], found["correct"], found["false_alarms"]) == (4, 1, 3)  # three in A, one in B
    run(parquet, truth, complete=True)
    assert not [row for row in rows("species") if row["label"] == "Veery"]  # at 12 s
    truth.write_text(f"file,start_ms,end_ms,label\n{A},1000,2000,Ovenbird\n")
    run(parquet, truth, complete=True)
    assert counts("window", "Veery")["precision"] == 0


@pytest.mark.usefixtures("pictures")
def test_two_tables_agree_by_minute_and_by_window(
    write_detections: Callable[..., Path], write_coverage: Callable[..., Path]
) -> None:
    def table(name: str, found: list[tuple[str, int, str, float | None]], **same: Any) -> Path:
        parquet = write_detections(found, name, **same)
        write_coverage(parquet, [(A, start * MINUTE, (start + 1) * MINUTE, "ok") for start in range(10)])
        return parquet

    # By minute: both in 0 and 1, only the first in 2, only the second in 3, neither in six.
    first = table("a.parquet", [(A, minute * MINUTE, "Ovenbird", 0.8) for minute in (0, 1, 2)])
    code = [(A, 0, "OVEN", 0.6), (A, MINUTE + 20_000, "OVEN", 0.5), (A, 3 * MINUTE, "OVEN", 0.4), (B, 0, "OVEN", 0.9)]
    second = table("b.parquet", code, label_name="Ovenbird")
    made = run(first, None, other=second)
    (row,) = rows("agreement")
    assert [row[f"minutes_{cell}"] for cell in ("both", "only_first", "only_second", "neither")] == ["2", "1", "1", "6"]
    # Observed 8/10; by chance (3 * 3 + 7 * 7) / 100; kappa = (0.8 - 0.58) / 0.42.
    assert float(row["kappa"]) == pytest.approx(0.22 / 0.42)
    assert float(row["positive_agreement"]) == pytest.approx(4 / 6)
    told = ("detections_first", "matched_first", "detections_second", "matched_second")
    assert [row[name] for name in told] == ["3", "1", "3", "1"]
    assert [r["start_ms"] for r in rows("only_in_first")] == ["60000", "120000"]
    assert [r["start_ms"] for r in rows("only_in_second")] == ["80000", "180000"]
    assert [(r["minute"], r["confidence_first"], r["confidence_second"]) for r in rows("confidences")] == [
        ("0", "0.8", "0.6"),
        ("1", "0.8", "0.5"),
        ("2", "0.8", ""),
        ("3", "", "0.4"),
    ]
    assert made.scores is None
    assert Path("out/confidences.png").read_bytes().startswith(b"\x89PNG")


def test_mistakes_come_with_clips(study: tuple[Path, Path], make_audio: Callable[..., Path]) -> None:
    make_audio(f"audio/{A}.wav", seconds=120)
    made = run(*study, clips=1)
    assert made.problems == []
    (alarm,) = [row for row in rows("false_alarms") if row["clip"]]
    assert alarm["start_ms"] == "20000"  # the strongest
    assert Path("out", alarm["clip"]).stat().st_size > 1000
    assert [Path("out", row["clip"]).is_file() for row in rows("misses")] == [True, True]
    Path(f"audio/{A}.wav").unlink()
    made = run(*study, clips=5)
    assert [problem.partition(":")[0] for problem in made.problems] == [str(Path(f"audio/{A}.wav").absolute())]
    assert not any(row["clip"] for row in rows("misses"))


def test_no_clip_is_made_where_people_may_be_heard(
    write_detections: Callable[..., Path], make_audio: Callable[..., Path], tmp_path: Path
) -> None:
    found = [(A, 0, "Ovenbird", 0.9), (A, 30_000, "Ovenbird", 0.8), (A, 7000, "Human vocal", 0.1)]
    parquet = write_detections(found, chunk_ms=MINUTE)
    make_audio(f"audio/{A}.wav", seconds=60)
    (tmp_path / "t.csv").write_text(f"recording,start_s,end_s,label\n{A},15,16,Ovenbird\n{A},50,51,Ovenbird\n")
    made = run(parquet, tmp_path / "t.csv", clips=5)
    assert [bool(row["clip"]) for name in ("misses", "false_alarms") for row in rows(name)] == [False, True] * 2
    assert "2 mistakes without a clip, because people may be heard there: Human vocal" in made.notes
    run(parquet, tmp_path / "t.csv", clips=5, include_speech=True)
    assert all(row["clip"] for row in (*rows("misses"), *rows("false_alarms")))


def test_a_wrong_request_is_refused(study: tuple[Path, Path]) -> None:
    with pytest.raises(RequestError, match="name what to compare with: --truth FILE, or --other TABLE"):
        run(study[0], None)
    with pytest.raises(RequestError, match=r"none\.csv: no such file of labels"):
        run(study[0], Path("none.csv"))
    assert not Path("out").exists()


def test_a_truth_of_other_recordings_and_tables_of_other_audio_are_refused(
    study: tuple[Path, Path], write_detections: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "C.labels.txt").write_text("1\t2\tOvenbird\n")
    with pytest.raises(RequestError, match=r"no recording of the truth is in the tables \(C\)"):
        run(study[0], tmp_path / "C.labels.txt")
    with pytest.raises(RequestError, match="no minute of audio is in both tables"):
        run(study[0], None, other=write_detections([("Z", 0, "Veery", 0.5)], "z.parquet"))
