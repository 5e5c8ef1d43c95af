"""What is drawn to be checked, and the folder that a review consists of."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from badc.errors import RequestError
from badc.reports.query.counts import choose
from badc.reports.query.tables import open_tables
from badc.reports.review.draw import allocate, draw
from badc.reports.review.folder import make_sample
from badc.reports.review.settings import SampleSettings
from badc.reports.study.privacy import keep_private
from badc.settings.model import settings_from
from tests.badc.reports.conftest import Found

NIGHT = "A-1_20230509_220000"
RATE = 16_000


def drawn_from(parquet: Path, **given: Any) -> list[Any]:
    """Return what is drawn with these settings."""
    settings = SampleSettings(parquet=parquet, **given)
    with open_tables(parquet) as database:
        choose(database, settings, settings.labels)
        keep_private(database, settings, settings.pad_ms)
        return draw(database, settings)


def season() -> list[Found]:
    """Return 600 detections of a species: at two stations, on three nights, of all scores, most of them low."""
    found: list[Found] = []
    for station, each in (("A-1", 80), ("B-2", 120)):
        for day in (9, 10, 11):
            recording = f"{station}_202305{day:02}_220000"
            found += [(recording, n * 9000, "Wren", round((n % 40 / 40) ** 2, 4)) for n in range(each)]
    return found


def test_bands_share_evenly_what_is_wanted() -> None:
    assert allocate([100, 100, 100], 9) == [3, 3, 3]
    assert allocate([1, 100, 2, 100], 20) == [1, 8, 2, 9]
    assert allocate([2, 3], 50) == [2, 3]
    assert allocate([5, 5, 5], 1) == [0, 0, 1]
    assert allocate([], 5) == []


def test_a_sample_has_every_band_station_and_night(write_detections: Callable[..., Path]) -> None:
    parquet = write_detections(season())
    drawn = drawn_from(parquet, per_species=60)
    by_band = Counter(one.stratum.low for one in drawn)

    assert len(drawn) == 60
    assert len({(one.sighting.recording_id, one.start_ms) for one in drawn}) == 60
    assert len(by_band) == 10
    assert max(by_band.values()) - min(by_band.values()) <= 1
    for one in drawn:
        assert one.stratum.low <= one.sighting.confidence < one.stratum.high
        assert by_band[one.stratum.low] == one.stratum.drawn
    in_table = Counter(min(int(found[3] * 10 + 1e-9), 9) / 10 for found in season() if found[3] is not None)
    assert {one.stratum.low: one.stratum.detections for one in drawn} == in_table
    # Stations and nights as they are in the table: 80 and 120 detections on each of three nights.
    cells = Counter((one.sighting.station, one.night.day) for one in drawn)
    assert sum(n for (station, _), n in cells.items() if station == "A-1") == pytest.approx(24, abs=4)
    assert len(cells) == 6
    assert max(cells.values()) <= 16


def test_the_seed_decides_the_sample(write_detections: Callable[..., Path]) -> None:
    parquet = write_detections(season())

    first = drawn_from(parquet, per_species=20)
    assert drawn_from(parquet, per_species=20) == first
    assert drawn_from(parquet, per_species=20, seed=2) != first
    assert [one.clip for one in first] == [f"{n:04}" for n in range(1, 21)]
    scores = [one.sighting.confidence for one in first]
    assert scores not in (sorted(scores), sorted(scores, reverse=True)), "the order gives the score away"


@pytest.mark.long
def test_every_detection_of_a_stratum_has_the_same_chance(write_detections: Callable[..., Path]) -> None:
    # Ten of 25, from two stations of which one has most: each must come up in two fifths of the draws.
    found = [("A-1_20230509_220000", n * 5000, "Wren", 0.55) for n in range(20)]
    found += [("B-2_20230509_220000", n * 5000, "Wren", 0.55) for n in range(5)]
    parquet = write_detections(found)
    times: Counter[Any] = Counter()
    with open_tables(parquet) as database:
        for seed in range(12):
            settings = SampleSettings(parquet=parquet, per_species=10, seed=seed)
            choose(database, settings)
            keep_private(database, settings, settings.pad_ms)
            times.update((one.sighting.recording_id, one.start_ms) for one in draw(database, settings))

    assert sum(times.values()) == 120
    assert len(times) == 25
    assert min(times.values()) >= 1, "4.8 expected"
    assert max(times.values()) <= 10


def test_near_a_threshold_and_the_strongest(write_detections: Callable[..., Path]) -> None:
    parquet = write_detections(season())
    near = drawn_from(parquet, per_species=10, near=0.5)
    strongest = drawn_from(parquet, per_species=6, strongest=True)

    assert len(near) == 10
    assert all(0.45 <= one.sighting.confidence <= 0.55 for one in near)
    assert {(one.stratum.low, one.stratum.high) for one in near} == {(0.45, 0.55)}
    assert {one.stratum.detections for one in near} == {sum(0.45 <= (f[3] or 0) <= 0.55 for f in season())}
    assert {(one.sighting.station, one.night.day) for one in strongest} == {
        (s, d) for s in ("A-1", "B-2") for d in (9, 10, 11)
    }
    assert {one.sighting.confidence for one in strongest} == {round((39 / 40) ** 2, 4)}
    assert all(one.stratum is None for one in strongest), "they are no sample of anything"
    third = drawn_from(parquet, per_species=8, strongest=True)
    assert Counter((one.sighting.station, one.night.day) for one in third).most_common(3)[-1][1] == 1
    assert len(third) == 8, "six best, and two of the second best"


def test_modes_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="exclude each other"):
        settings_from(SampleSettings, {"parquet": tmp_path / "d.parquet", "near": 0.5, "strongest": True})


def test_no_clip_has_a_voice_in_it_or_near_it(write_detections: Callable[..., Path]) -> None:
    # Clips reach three seconds beyond the detection, and must keep five seconds from the voice at 60 to 63 s.
    times = [48_900, 49_000, 52_000, 60_000, 66_000, 70_900, 71_000, 80_000]
    found: list[Found] = [(NIGHT, at, "Wren", 0.5) for at in times]
    found += [(NIGHT, 60_000, "Human vocal", 0.1), ("B-2_20230509_220000", 60_000, "Wren", 0.5)]
    parquet = write_detections(found)

    def wrens(**given: Any) -> list[tuple[str, int]]:
        drawn = drawn_from(parquet, labels=("wren",), min_confidence=0.3, **given)
        return sorted((one.sighting.recording_id[:1], one.start_ms) for one in drawn)

    assert wrens() == [("A", 48_900), ("A", 49_000), ("A", 71_000), ("A", 80_000), ("B", 60_000)]
    assert wrens(pad_s=2) == [("A", 48_900), ("A", 49_000), ("A", 70_900), ("A", 71_000), ("A", 80_000), ("B", 60_000)]
    assert len(wrens(include_speech=True)) == 9
    with open_tables(parquet) as database:
        settings = SampleSettings(parquet=parquet, private_labels=("Dog", "human WHISTLE"))
        choose(database, settings)
        privacy = keep_private(database, settings, 3000)
    assert privacy.left_out == 5, "four wrens, and the voice itself"
    assert privacy.words.startswith("5 detections left out")
    assert privacy.labels == ("Human vocal",)
    assert privacy.problems == ("no detection is labelled 'Dog'", "no detection is labelled 'human WHISTLE'")


def test_a_private_label_works_like_a_voice_also_in_overlapping_spans(write_detections: Callable[..., Path]) -> None:
    dogs: list[Found] = [(NIGHT, at, "Dog", 0.9) for at in (10_000, 10_500, 12_000, 40_000)]
    parquet = write_detections([*dogs, *((NIGHT, at, "Wren", 0.5) for at in (0, 22_000, 24_000, 30_000, 60_000))])
    drawn = drawn_from(parquet, private_labels=("dog",), pad_s=0)

    assert sorted(one.start_ms for one in drawn) == [0, 22_000, 24_000, 30_000, 60_000]
    assert {one.sighting.label for one in drawn} == {"Wren"}
    assert sorted(one.start_ms for one in drawn_from(parquet, private_labels=("dog",), pad_s=3)) == [24_000, 60_000]


@pytest.fixture
def study(write_detections: Callable[..., Path], tmp_path: Path) -> Path:
    """A table of two recordings of a minute, of which one is gone, and one damaged."""
    folder = tmp_path / "audio"
    folder.mkdir()
    time = np.arange(60 * RATE) / RATE
    steps = np.rint(8000 * np.sin(2 * np.pi * 1000 * time) * (time >= 30)).astype(np.int16)
    sf.write(folder / f"{NIGHT}.wav", steps, RATE, subtype="PCM_16")
    (folder / "C-3_20230509_220000.wav").write_bytes(b"RIFF, or so")
    found: list[Found] = [(NIGHT, n * 3000, "Wren", 0.95 - n / 100) for n in range(20)]
    found += [("B-2_20230509_220000", 0, "Wren", 0.15), ("C-3_20230509_220000", 0, "=Owl", 0.5)]
    return write_detections(found)


@pytest.mark.parametrize("form", ["flac", pytest.param("wav", marks=pytest.mark.long)])
def test_the_folder_has_the_very_samples_of_the_recording(study: Path, tmp_path: Path, form: str) -> None:
    done: list[tuple[int, int]] = []
    settings = SampleSettings(parquet=study, labels=("Wren",), format=form, audio_root=tmp_path)
    made = make_sample(settings, lambda n, total: done.append((n, total)))
    rows = list(csv.DictReader((made.folder / "sample.csv").open(encoding="utf-8")))

    assert made.folder == tmp_path / "d_review"
    assert made.drawn == {"Wren": 21}
    assert len(made.unread) == 1
    assert "B-2_20230509_220000.wav: no such audio file" in made.unread[0]
    assert str(tmp_path) not in (made.folder / "review.html").read_text(), "the folder travels"
    assert done[-1] == (21, 21)
    recording, _ = sf.read(tmp_path / "audio" / f"{NIGHT}.wav", dtype="int16")
    for row in rows:
        if row["problem"]:
            assert row["recording_id"] == "B-2_20230509_220000"
            assert row["audio"] == ""
            continue
        samples, rate = sf.read(made.folder / row["audio"], dtype="int16")
        start = int(row["start_ms"]) * RATE // 1000
        expected = recording[max(0, start - 3 * RATE) : start + 6 * RATE]
        assert rate == RATE
        np.testing.assert_array_equal(samples, expected)
        assert (made.folder / row["spectrogram"]).stat().st_size > 100
    best = next(row for row in rows if row["confidence"] == "0.95")
    assert (best["night"], best["station"], best["band_low"], best["band_high"]) == ("2023-05-09", "A-1", "0.9", "1.0")
    assert (best["band_detections"], best["band_drawn"]) == ("6", "6")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_review_that_is_cut_off_leaves_its_folder_free(study: Path, tmp_path: Path, error: BaseException) -> None:
    def cut_off(done: int, total: int) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        make_sample(SampleSettings(parquet=study, audio_root=tmp_path, output_dir=tmp_path / "new"), cut_off)
    assert list((tmp_path / "new").iterdir()) == []
    if isinstance(caught.value, OSError):
        assert caught.value.filename == str(tmp_path / "new")


def test_what_cannot_be_read_is_named_and_a_used_folder_is_left_alone(study: Path, tmp_path: Path) -> None:
    made = make_sample(SampleSettings(parquet=study, audio_root=tmp_path, per_species=1, strongest=True))

    assert made.drawn == {"=Owl": 1, "Wren": 1}
    assert len(made.unread) == 1
    assert "C-3_20230509_220000" in made.unread[0]
    page = (made.folder / "review.html").read_text()
    assert "Recordings of these detections could not be read" in page
    with pytest.raises(RequestError, match="may have verdicts in it"):
        make_sample(SampleSettings(parquet=study))
    with pytest.raises(
        RequestError, match="no detection with a confidence and a time to draw\nno detection is labelled 'Emu'"
    ):
        make_sample(SampleSettings(parquet=study, labels=("Emu",), output_dir=tmp_path / "new"))
    assert not (tmp_path / "new").exists()
