"""Audio windows: exact frames of every format, and files that cannot be used."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from badc.recordings.audio import (
    AudioError,
    AudioInfo,
    AudioWindow,
    frame_at,
    probe,
    read_samples,
    require_unchanged,
    wav_bytes,
    window_of,
)
from badc.recordings.names import AUDIO_SUFFIXES

MakeAudio = Callable[..., Path]
FORMATS = [
    ("a.wav", "PCM_16"),
    ("a.wav", "PCM_24"),
    ("a.wav", "PCM_32"),
    ("a.wav", "PCM_U8"),
    ("a.wav", "FLOAT"),
    ("a.wav", "DOUBLE"),
    ("a.wav", "ULAW"),
    ("a.flac", "PCM_16"),
    ("a.flac", "PCM_24"),
    ("a.flac", "PCM_S8"),
    ("a.ogg", "VORBIS"),
    ("a.mp3", None),
    ("a.aiff", "PCM_16"),
]


def decoded(data: bytes) -> tuple[np.ndarray[Any, Any], int]:
    samples, rate = sf.read(io.BytesIO(data), dtype="float32", always_2d=True)
    return samples, rate


@pytest.mark.parametrize(("name", "subtype"), FORMATS)
@pytest.mark.parametrize("channels", [1, 2])
def test_the_wav_of_a_window_equals_the_window_sample_for_sample(
    make_audio: MakeAudio, name: str, subtype: str | None, channels: int
) -> None:
    path = make_audio(name, seconds=2.0, rate=16_000, channels=channels, subtype=subtype)
    info = probe(path)
    assert (info.rate, info.channels) == (16_000, channels)
    window = window_of(path, info, 500, 1250)
    samples, rate = read_samples(window)
    from_wav, wav_rate = decoded(wav_bytes(window))
    assert samples.shape == (12_000, channels)
    assert samples.dtype == np.float32
    assert (rate, wav_rate) == (16_000, 16_000)
    np.testing.assert_array_equal(from_wav, samples)


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [(".snd", "AU"), (".sph", "NIST"), (".bwf", "WAV"), (".bw64", "RF64"), (".amb", "WAVEX"), (".voc", "VOC")],
)
def test_every_kind_that_counts_as_a_recording_is_read(tmp_path: Path, suffix: str, kind: str) -> None:
    assert suffix in AUDIO_SUFFIXES
    path = tmp_path / f"a{suffix}"
    written = np.linspace(-0.9, 0.9, 32_000).reshape(-1, 2)
    sf.write(path, written, 16_000, "PCM_16", format=kind)
    samples, rate = read_samples(window_of(path, probe(path), 0, 1000))
    assert rate == 16_000
    np.testing.assert_allclose(samples, written, atol=1e-4)


def test_mpeg_layer_2_is_read(tmp_path: Path) -> None:
    # Frames of silence: 48 kHz, one channel, 128 kbit/s, all allocations 0. libsndfile does not write them.
    frame = bytes.fromhex("fffd84c0") + bytes(380)
    (tmp_path / "a.mp2").write_bytes(50 * frame)
    info = probe(tmp_path / "a.mp2")
    assert (info.frames, info.rate, info.channels) == (50 * 1152, 48_000, 1)
    assert ".mp2" in AUDIO_SUFFIXES


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "DOUBLE"])
def test_the_wav_keeps_the_sample_format(make_audio: MakeAudio, subtype: str) -> None:
    path = make_audio(subtype=subtype)
    info = sf.info(io.BytesIO(wav_bytes(window_of(path, probe(path), 0, 1000))))
    assert (info.format, info.subtype) == ("WAV", subtype)


@pytest.mark.parametrize("rate", [8000, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000, 250_000, 384_000])
def test_neighbouring_windows_of_any_rate_share_no_frame_and_miss_none(make_audio: MakeAudio, rate: int) -> None:
    path = make_audio(seconds=0.5, rate=rate)
    info = probe(path)
    pieces = [read_samples(window_of(path, info, ms, min(ms + 33, 500)))[0] for ms in range(0, 500, 33)]
    np.testing.assert_array_equal(np.concatenate(pieces), read_samples(window_of(path, info, 0, 500))[0])
    assert sum(map(len, pieces)) == round(0.5 * rate)


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT", "DOUBLE"])
def test_the_wav_is_the_same_in_another_second(make_audio: MakeAudio, subtype: str) -> None:
    path = make_audio(subtype=subtype)
    window = window_of(path, probe(path), 0, 1000)
    second = int(time.time())
    before = hashlib.sha256(wav_bytes(window)).hexdigest()
    deadline = time.monotonic() + 5
    while int(time.time()) == second:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert hashlib.sha256(wav_bytes(window)).hexdigest() == before


def test_samples_that_spell_the_name_of_a_header_stay_as_they_are(tmp_path: Path) -> None:
    samples = np.frombuffer(b"PEAKPEAKPEAKPEAKPEAKPEAK" * 10, dtype="<i2")
    sf.write(tmp_path / "a.wav", samples, 8000, subtype="PCM_16")
    window = window_of(tmp_path / "a.wav", probe(tmp_path / "a.wav"), 0, 15)
    written, _ = sf.read(io.BytesIO(wav_bytes(window)), dtype="int16")
    np.testing.assert_array_equal(written, samples)


def test_a_frame_is_rounded_half_up() -> None:
    assert [frame_at(ms, 22_050) for ms in (0, 1, 10, 1000)] == [0, 22, 221, 22_050]
    assert frame_at(3_600_000 * 24, 384_000) == 384_000 * 86_400


def test_the_length_is_in_whole_ms() -> None:
    assert AudioInfo(frames=44_100 * 2 + 43, rate=44_100, channels=1, subtype="PCM_16").duration_ms == 2000


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3"])
def test_audio_that_was_cut_in_half_is_refused(make_audio: MakeAudio, tmp_path: Path, suffix: str) -> None:
    data = make_audio(f"a.{suffix}", seconds=4).read_bytes()
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(data[: len(data) // 2])
    with pytest.raises(AudioError, match=rf"cut\.{suffix}"):
        probe(cut)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_audio_that_is_cut_during_the_run_is_refused(make_audio: MakeAudio, suffix: str) -> None:
    path = make_audio(f"a.{suffix}", seconds=4)
    window = window_of(path, probe(path), 3000, 4000)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    for read in (read_samples, wav_bytes):
        with pytest.raises(AudioError, match=rf"a\.{suffix}"):
            read(window)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"not audio " * 30, "cannot be read as audio"),
        (b"RIFF\0\0\0\0WAVE", "cannot be read as audio"),
        (b"/annex/objects/MD5E-s48--abc.wav\n", r"`datalad -C .* get a\.wav`"),
    ],
)
def test_what_is_no_audio_is_refused_with_the_reason(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "a.wav").write_bytes(data)
    with pytest.raises(AudioError, match=rf"a\.wav: .*{reason}"):
        probe(tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("name", "converter"),
    [("a.w4v", "Kaleidoscope"), ("a.WAC", "Kaleidoscope"), ("a.wv", "ffmpeg"), ("data", "EMU"), ("a.zip", "unzip")],
)
def test_sound_that_has_to_be_converted_is_refused_with_the_converter(
    tmp_path: Path, name: str, converter: str
) -> None:
    (tmp_path / name).write_bytes(bytes(range(256)))
    with pytest.raises(AudioError, match=rf"{name}: .*; {converter} makes a file of it that can be read$"):
        probe(tmp_path / name)


def test_a_header_without_samples_is_refused(tmp_path: Path) -> None:
    sf.write(tmp_path / "a.wav", np.zeros(0), 8000)
    with pytest.raises(AudioError, match="no samples"):
        probe(tmp_path / "a.wav")


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link.wav").symlink_to(".git/annex/objects/none")
    for name, reason in (
        ("none.wav", "no such audio file"),
        ("link.wav", r"get link\.wav`"),
        ("", "is a folder"),
    ):
        with pytest.raises(AudioError, match=reason):
            probe(tmp_path / name)


def test_an_annexed_file_is_read_through_its_link(make_audio: MakeAudio, tmp_path: Path) -> None:
    make_audio("objects/key.wav")
    link = tmp_path / "REC.wav"
    link.symlink_to("objects/key.wav")
    assert window_of(link, probe(link), 0, 1000).path == link


def test_one_frame_of_difference_is_allowed(tmp_path: Path) -> None:
    info = AudioInfo(frames=7999, rate=8000, channels=1, subtype="PCM_16")
    assert window_of(tmp_path / "a.wav", info, 0, 1000) == AudioWindow(tmp_path / "a.wav", 0, 7999, True, info)
    assert window_of(tmp_path / "a.wav", info, 5000, 6000) == AudioWindow(tmp_path / "a.wav", 0, 7999, True, info)


@pytest.mark.parametrize(("rate", "frames"), [(8000, 7999), (8000, 7992), (44_100, 44_056), (22_050, 22_028)])
@pytest.mark.parametrize("start_ms", [0, 1, 5000])
def test_a_chunk_s_own_wav_may_be_up_to_1_ms_shorter_than_its_row(
    tmp_path: Path, rate: int, frames: int, start_ms: int
) -> None:
    info = AudioInfo(frames, rate, 1, "PCM_16")
    window = window_of(tmp_path / "a.wav", info, start_ms, start_ms + 1000)
    assert window == AudioWindow(tmp_path / "a.wav", 0, frames, True, info)


@pytest.mark.parametrize("frames", [7990, 8002, 12_000])
def test_a_file_that_is_neither_recording_nor_chunk_is_refused_with_both_lengths(tmp_path: Path, frames: int) -> None:
    info = AudioInfo(frames, 8000, 1, "PCM_16")
    with pytest.raises(AudioError, match=rf"{info.duration_ms} ms long, but .*is 1000 ms long"):
        window_of(tmp_path / "a.wav", info, 5000, 6000)


def test_only_all_of_a_wav_is_handed_over_as_it_is(tmp_path: Path) -> None:
    info = AudioInfo(16_000, 8000, 1, "PCM_16")
    assert window_of(tmp_path / "a.WAV", info, 0, 2000).whole_file
    assert not window_of(tmp_path / "a.wav", info, 0, 1000).whole_file
    assert not window_of(tmp_path / "a.flac", info, 0, 2000).whole_file


def test_a_wav_that_was_written_to_a_pipe_and_so_claims_the_largest_size_is_not_truncated(tmp_path: Path) -> None:
    path = tmp_path / "piped.wav"
    sf.write(path, np.zeros(800, dtype=np.int16), 8000)
    data = bytearray(path.read_bytes())
    at = data.index(b"data")
    data[4:8] = data[at + 4 : at + 8] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    assert probe(path).frames == 800


@pytest.mark.parametrize(
    ("seconds", "rate", "channels"),
    [(4.0, 16000, 1), (4.0, 8000, 2), (5.0, 8000, 1), (2.0, 16000, 1)],
    ids=["rate", "channels", "length", "rate-and-length"],
)
def test_a_file_that_another_took_the_place_of_is_not_read(
    tmp_path: Path, seconds: float, rate: int, channels: int
) -> None:
    path = tmp_path / "a.wav"
    sf.write(path, np.zeros((32000, 1)), 8000, subtype="PCM_16")
    window = window_of(path, probe(path), 1000, 2000)
    sf.write(path, np.zeros((round(seconds * rate), channels)), rate, subtype="PCM_16")
    for read in (read_samples, wav_bytes, require_unchanged):
        with pytest.raises(AudioError, match="the file changed while the run was under way") as caught:
            read(window)
        assert "it was 32000 frames at 8000 Hz, 1 channel, PCM_16, and is" in str(caught.value)


def test_the_same_audio_in_another_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    sf.write(path, np.zeros(8000), 8000, subtype="PCM_16")
    window = window_of(path, probe(path), 0, 1000)
    path.rename(tmp_path / "b.wav")
    sf.write(path, np.ones(8000) * 0.5, 8000, subtype="PCM_16")
    require_unchanged(window)
    assert read_samples(window)[0].mean() == 0.5
