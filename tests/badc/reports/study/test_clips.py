"""A detection to see and to hear: the right passage of the right file, its spectrogram, and its MP3."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from PIL import Image

from badc.recordings.audio import AudioError
from badc.recordings.locate import audio_bases, locate_audio
from badc.reports.study.clips import Passage, mp3_bytes, read_passage, spectrogram, webp_bytes
from badc.reports.study.data import Sighting

RATE = 16_000


@pytest.fixture
def tone(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes ten seconds of faint noise with a 3 kHz tone from second 4 to 5."""

    def write(name: str = "REC.wav", rate: int = RATE, channels: int = 1, **how: Any) -> Path:
        time = np.arange(10 * rate) / rate
        samples = np.random.default_rng(1).normal(0, 1e-4, len(time))
        samples += np.where((time >= 4) & (time < 5), 0.01 * np.sin(2 * np.pi * 3000 * time), 0)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        sf.write(path, np.repeat(samples[:, None], channels, axis=1), rate, **how)
        return path

    return write


def sighting(source: Path | str | None, **changed: Any) -> Sighting:
    """Return the detection of the tone, in the second of two chunks of five seconds, unless changed."""
    made = Sighting(
        label="Tone",
        label_name=None,
        confidence=0.9,
        recording_id="REC",
        station=None,
        local_time=None,
        source_path=None if source is None else str(source),
        dataset_root=None,
        chunk_start_ms=3000,
        chunk_end_ms=8000,
        timestamp_ms=1000,
        end_ms=2000,
    )
    return replace(made, **changed)


def loudest_second(samples: np.ndarray[Any, Any], rate: int) -> int:
    """Return the second in which a signal is loudest."""
    seconds = [float(np.abs(samples[n * rate : (n + 1) * rate]).sum()) for n in range(len(samples) // rate)]
    return int(np.argmax(seconds))


def test_a_passage_is_the_detection_and_a_second_around_it(tone):
    passage = read_passage(sighting(tone()), [])

    assert passage.length_s == 3
    assert passage.marked_s == (1, 2)
    assert loudest_second(passage.samples, passage.rate) == 1


def test_a_chunk_that_has_its_own_wav_gives_the_same_sound(tone, tmp_path):
    samples, rate = sf.read(tone(), dtype="int16")
    sf.write(tmp_path / "chunk.wav", samples[3 * rate : 8 * rate], rate, subtype="PCM_16")
    of_recording = read_passage(sighting(tmp_path / "REC.wav"), [])
    of_chunk = read_passage(sighting(tmp_path / "chunk.wav"), [])

    assert of_chunk.marked_s == of_recording.marked_s
    np.testing.assert_array_equal(of_chunk.samples, of_recording.samples)


@pytest.mark.parametrize(
    ("changed", "length_s", "marked_s"),
    [
        ({"chunk_start_ms": 0, "chunk_end_ms": 5000, "timestamp_ms": 0, "end_ms": 1000}, 2.0, (0.0, 1.0)),
        ({"chunk_start_ms": 5000, "chunk_end_ms": 10_000, "timestamp_ms": 4500, "end_ms": 6000}, 1.5, (1.0, 1.5)),
        ({"chunk_start_ms": None, "chunk_end_ms": None, "timestamp_ms": 4000, "end_ms": None}, 5.0, (1.0, 4.0)),
        ({"chunk_start_ms": 0, "chunk_end_ms": 10_000, "timestamp_ms": 0, "end_ms": 10_000}, 10.0, (0.0, 10.0)),
        ({"end_ms": 500}, 2.0, (1.0, 1.0)),
    ],
    ids=["at the start", "beyond the end", "without chunk and end", "whole recording", "ends before it starts"],
)
def test_a_passage_stays_within_the_recording(tone, changed, length_s, marked_s):
    passage = read_passage(sighting(tone(), **changed), [])

    assert passage.length_s == pytest.approx(length_s, abs=0.01)
    assert passage.marked_s == pytest.approx(marked_s, abs=0.01)


def test_a_long_detection_is_cut_off(make_audio):
    path = make_audio(seconds=60)
    passage = read_passage(
        sighting(path, chunk_start_ms=0, chunk_end_ms=60_000, timestamp_ms=20_000, end_ms=59_000), []
    )

    assert passage.length_s == 12
    assert passage.marked_s == (1, 11)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"chunk_end_ms": 70_000}, "neither the recording nor the chunk"),
        ({"timestamp_ms": 9000, "end_ms": 9500}, "ends before the detection"),
        ({"timestamp_ms": None}, "does not say where"),
        ({"source_path": None}, "does not say where"),
        ({"source_path": "/nowhere/x.wav"}, "no such audio file"),
    ],
)
def test_what_cannot_be_read_says_why(tone, changed, said):
    with pytest.raises(AudioError, match=said):
        read_passage(replace(sighting(tone()), **changed), [])


def test_a_dropped_annex_file_is_named_as_such(tmp_path):
    (tmp_path / "REC.wav").symlink_to(".git/annex/objects/gone")
    with pytest.raises(AudioError, match="the content of the audio file is not here"):
        read_passage(sighting("REC.wav"), [tmp_path])


def test_audio_is_found_where_it_is_now(tmp_path, monkeypatch):
    moved = tmp_path / "moved"
    dataset = tmp_path / "dataset"
    for folder in (moved / "audio", dataset / "audio"):
        folder.mkdir(parents=True)
        (folder / "REC.wav").touch()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    assert locate_audio("audio/REC.wav", str(dataset), []) == dataset / "audio/REC.wav"
    assert locate_audio("audio/REC.wav", str(dataset), [moved]) == moved / "audio/REC.wav", "the user's folder first"
    assert locate_audio("audio/REC.wav", "/gone", [tmp_path, moved]) == moved / "audio/REC.wav"
    assert locate_audio("/gone/audio/REC.wav", None, [moved, moved / "audio"]) == moved / "audio/REC.wav"
    assert locate_audio("audio/none.wav", "/gone", [moved]) == moved / "audio/none.wav", "named in the message"


def test_the_dataset_around_the_table_is_looked_into(tmp_path):
    (tmp_path / ".datalad").mkdir()
    table = tmp_path / "artifacts" / "d.parquet"
    table.parent.mkdir()

    assert audio_bases(table, None) == [tmp_path, table.parent]
    assert audio_bases(table, tmp_path / "a")[0] == tmp_path / "a"


@pytest.mark.parametrize(
    ("name", "rate", "channels", "how"),
    [
        ("a.wav", 8000, 1, {}),
        ("b.flac", 48_000, 2, {}),
        ("c.wav", 44_100, 2, {"subtype": "FLOAT"}),
        ("d.wav", 384_000, 1, {}),
    ],
)
def test_the_tone_is_at_its_time_and_frequency(tone, name, rate, channels, how):
    picture = spectrogram(read_passage(sighting(tone(name, rate, channels, **how)), []))

    rows, columns = picture.levels.shape
    row, column = np.unravel_index(int(picture.levels.argmax()), picture.levels.shape)
    assert (row + 0.5) / rows * picture.top_hz == pytest.approx(3000, abs=1.5 * picture.top_hz / rows)
    assert 1 <= column / columns * picture.length_s <= 2
    assert picture.levels[:, : columns // 4].mean() < picture.levels[row, columns // 3 + 5 : columns // 2].mean() / 2
    assert picture.top_hz == (192_000 if rate == 384_000 else min(rate / 2, 12_000))
    assert rows <= 192
    assert columns <= 490


@pytest.mark.parametrize("samples", [np.zeros(32_000), np.zeros(3), np.full(500, 0.5)], ids=["silence", "tiny", "dc"])
def test_silence_and_scraps_are_no_error(samples):
    passage = Passage(samples.astype(np.float32), 32_000, (0.0, 0.1))

    assert not np.isnan(spectrogram(passage).levels).any()
    assert len(webp_bytes(spectrogram(passage))) > 0
    assert sf.info(io.BytesIO(mp3_bytes(passage))).samplerate == 32_000


def test_the_image_is_dark_where_it_is_loud_and_low_at_the_bottom(tone):
    picture = spectrogram(read_passage(sighting(tone()), []))
    image = np.asarray(Image.open(io.BytesIO(webp_bytes(picture))).convert("L"))

    assert image.shape == picture.levels.shape
    row, column = np.unravel_index(int(image.argmin()), image.shape)
    assert (len(image) - row) / len(image) * picture.top_hz == pytest.approx(3000, abs=200)
    assert 1 <= column / image.shape[1] * 3 <= 2


@pytest.mark.parametrize(("rate", "expected"), [(16_000, 16_000), (8000, 32_000), (48_000, 32_000), (44_100, 32_000)])
def test_the_clip_plays_the_passage_at_an_even_loudness(tone, rate, expected):
    clip = mp3_bytes(read_passage(sighting(tone("x.wav", rate)), []))
    samples, got = sf.read(io.BytesIO(clip))

    assert got == expected
    assert samples.ndim == 1
    assert len(samples) / got == pytest.approx(3, abs=0.15)
    assert loudest_second(samples, got) == 1
    assert np.abs(samples).max() == pytest.approx(0.5, abs=0.1)
    assert len(clip) < 40_000
