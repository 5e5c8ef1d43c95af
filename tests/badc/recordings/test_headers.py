"""WAV, FLAC and other files whose header contradicts itself or the file, or is of a rare kind."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import orjson
import pytest
import soundfile as sf

from badc.recordings.audio import AudioError, AudioWindow, probe, read_samples, wav_bytes, window_of
from tests.badc.recordings.test_lengths import RATE, chunk, samples, with_total, write_wav


def of_header(
    path: Path, data: bytes, claimed: int, form: tuple[int, ...], kind: bytes = b"RIFF", head: bytes = b""
) -> Path:
    """Write a WAV of any kind with a format of channels, rate, bytes a second, block align and bits."""
    order = ">" if kind == b"RIFX" else "<"
    fmt = chunk(b"fmt ", struct.pack(f"{order}HHIIHH", 1, *form), order=order)
    size = struct.pack(f"{order}I", (len(data) + 36) & 0xFFFFFFFF)
    path.write_bytes(kind + size + b"WAVE" + head + fmt + chunk(b"data", data, claimed, order))
    return path


MONO = (1, RATE, 2 * RATE, 2, 16)


@pytest.mark.parametrize("claimed", [2 * RATE, 4 * RATE])
@pytest.mark.parametrize("form", [(1, RATE, 2 * RATE, 4, 16), (1, RATE, 2 * RATE, 0, 16), (1, RATE, 2 * RATE, 2, 0)])
def test_a_wrong_block_align_or_sample_size_is_put_right_by_the_other_two(
    tmp_path: Path, form: tuple[int, ...], claimed: int
) -> None:
    whole = samples(2 * RATE)
    path = of_header(tmp_path / "a.wav", whole.tobytes(), claimed, form)
    info = probe(path)
    assert (info.frames, info.channels, info.subtype) == (2 * RATE, 1, "PCM_16")
    assert info.note.endswith("the header gives a wrong sample size; read as PCM_16")
    assert ("the header says 1 s, the file holds 2 s" in info.note) == (claimed == 2 * RATE)
    window = window_of(path, info, 0, 2000)
    assert not window.whole_file
    written, _ = sf.read(io.BytesIO(wav_bytes(window)), dtype="int16", always_2d=True)
    np.testing.assert_array_equal(written, whole)


@pytest.mark.parametrize("form", [MONO, (1, RATE, 0, 2, 16), (1, RATE, 7, 2, 16), (1, RATE, 2 * RATE, 2, 12)])
def test_a_header_that_every_program_reads_alike_is_no_wrong_one(tmp_path: Path, form: tuple[int, ...]) -> None:
    info = probe(of_header(tmp_path / "a.wav", samples(RATE).tobytes(), 2 * RATE, form))
    assert (info.frames, info.extent, info.note) == (RATE, None, "")


@pytest.mark.parametrize("claimed", [RATE, 2 * RATE])
@pytest.mark.parametrize(
    ("form", "says"),
    [
        ((1, RATE, 4 * RATE, 4, 16), "1 channel of 16 bits, but frames of 4 bytes, and 192000 bytes a second at 48000"),
        ((2, RATE, 2 * RATE, 2, 16), "2 channels of 16 bits, but frames of 2 bytes"),
        ((1, RATE, 2 * RATE, 2, 8), "1 channel of 8 bits, but frames of 2 bytes"),
        ((1, RATE, 4 * RATE, 4, 24), "1 channel of 24 bits, but frames of 4 bytes"),
        ((1, RATE, 3 * RATE, 2, 0), "1 channel of 0 bits, but frames of 2 bytes"),
    ],
)
def test_a_header_with_several_readings_is_refused(
    tmp_path: Path, form: tuple[int, ...], says: str, claimed: int
) -> None:
    path = of_header(tmp_path / "a.wav", samples(RATE).tobytes(), claimed, form)
    with pytest.raises(AudioError, match=rf"a\.wav: the WAV's header contradicts itself: {says}.* export it again"):
        probe(path, salvage=True)


def ds64(size: int) -> bytes:
    return chunk(b"ds64", struct.pack("<QQQI", size + 72, size, size // 2, 0))


UNKNOWN_DS64 = chunk(b"ds64", b"\xff" * 24 + bytes(4))


@pytest.mark.parametrize(
    ("kind", "claimed", "head"),
    [
        (b"RIFX", 4 * RATE, b""),
        (b"RIFX", 2 * RATE, b""),
        (b"RIFX", 0xFFFFFFFF, b""),
        (b"BW64", 0xFFFFFFFF, ds64(4 * RATE)),
        (b"BW64", 0xFFFFFFFF, ds64(2 * RATE)),
        (b"BW64", 0xFFFFFFFF, UNKNOWN_DS64),
        (b"RF64", 0xFFFFFFFF, UNKNOWN_DS64),
        (b"BW64", 4 * RATE, b""),
        (b"BW64", 4 * RATE, chunk(b"JUNK", bytes(28))),
        (b"RF64", 0xFFFFFFFF, ds64(2 * RATE)),
    ],
)
def test_big_endian_and_64_bit_wavs_are_read_as_others(tmp_path: Path, kind: bytes, claimed: int, head: bytes) -> None:
    whole = samples(2 * RATE)
    data = whole.astype(">i2" if kind == b"RIFX" else "<i2").tobytes()
    path = of_header(tmp_path / "a.wav", data, claimed, MONO, kind, head)
    info = probe(path)
    says_half = claimed == 2 * RATE or head == ds64(2 * RATE)
    assert (info.frames, info.channels) == (2 * RATE, 1)
    assert info.note == "the header says 1 s, the file holds 2 s, all of which is used" * says_half
    window = window_of(path, info, 500, 2000)
    assert AudioWindow.from_json(orjson.loads(orjson.dumps(asdict(window), default=str))) == window
    written, _ = sf.read(io.BytesIO(wav_bytes(window)), dtype="int16", always_2d=True)
    np.testing.assert_array_equal(written, whole[RATE // 2 :])


@pytest.mark.parametrize(("kind", "head"), [(b"BW64", ds64(4 * RATE)), (b"RIFX", b"")])
def test_other_wavs_that_were_cut_off_are_salvaged_too(tmp_path: Path, kind: bytes, head: bytes) -> None:
    claimed = 0xFFFFFFFF if head else 4 * RATE
    path = of_header(tmp_path / "a.wav", samples(RATE).tobytes(), claimed, MONO, kind, head)
    with pytest.raises(AudioError, match=r"1 s of 2 s can be read\. Give --salvage"):
        probe(path)
    info = probe(path, salvage=True)
    assert (info.frames, info.note) == (RATE, "salvaged: 1 s of 2 s can be read")
    assert read_samples(window_of(path, info, 0, 1000))[0].shape == (RATE, 1)


@pytest.mark.parametrize("claimed", [RATE, 2 * RATE])
def test_a_wav_with_two_chunks_of_samples_is_refused_with_the_way_out(tmp_path: Path, claimed: int) -> None:
    data = samples(RATE).tobytes()
    path = write_wav(tmp_path / "a.wav", data, claimed, chunk(b"data", data))
    says = "the WAV has 2 chunks of samples .* ffmpeg -i /.*/a.wav -c:a copy a_joined.wav"
    with pytest.raises(AudioError, match=says):
        probe(path)
    assert probe(write_wav(tmp_path / "b.wav", data, 2 * RATE, chunk(b"data", b""))).frames == RATE


def test_a_flac_that_holds_more_than_its_header_says_is_used_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    whole = samples(2 * RATE)
    sf.write(path, whole, RATE)
    info = probe(with_total(path, RATE))
    assert (info.frames, info.note) == (2 * RATE, "the header says 1 s, the file holds 2 s, all of which is used")
    written, _ = sf.read(io.BytesIO(wav_bytes(window_of(path, info, 500, 2000))), dtype="int16", always_2d=True)
    np.testing.assert_array_equal(written, whole[RATE // 2 :])


@pytest.mark.parametrize("total", [0, RATE // 2])
def test_a_flac_of_wrong_length_that_was_also_cut_off_is_salvaged(tmp_path: Path, total: int) -> None:
    path = tmp_path / "a.flac"
    sf.write(path, samples(2 * RATE), RATE)
    path.write_bytes(path.read_bytes()[:-50_000])
    with pytest.raises(AudioError, match=r"damaged; 1\.\d+ s can be read. Give --salvage .*ffmpeg -i /.*/a\.flac"):
        probe(with_total(path, total))
    info = probe(path, salvage=True)
    assert info.frames % 4096 == 0
    assert info.note.startswith(f"salvaged: {info.duration_ms / 1000:g} s can be read")
    assert len(read_samples(window_of(path, info, 0, info.duration_ms))[0]) > RATE


@pytest.mark.parametrize("total", [0, 5 * 4096 + 100])
def test_a_tag_behind_a_flac_is_not_its_damaged_end(tmp_path: Path, total: int) -> None:
    path = tmp_path / "a.flac"
    sf.write(path, samples(5 * 4096 + 100), RATE)
    path.write_bytes(with_total(path, total).read_bytes() + b"TAG" + b"x" * 125)
    assert (probe(path).frames, probe(path).note) == (5 * 4096 + 100, "")


@pytest.mark.parametrize("total", [0, 4096, 4 * 4096])
def test_a_flac_that_is_a_part_of_another_is_refused(tmp_path: Path, total: int) -> None:
    """Its frames are numbered from where they were, so that no decoder finds them."""
    path = tmp_path / "a.flac"
    sf.write(path, samples(4096), RATE)
    head = path.read_bytes()
    head = head[: head.index(b"\xff\xf8")]
    sf.write(path, samples(5 * 4096), RATE)
    data = path.read_bytes()
    second = next(at for at in range(len(head), len(data)) if data[at : at + 5] == data[len(head) :][:4] + b"\1")
    path.write_bytes(head + data[second:])
    with pytest.raises(AudioError, match=r"cut out of a longer one; .* ffmpeg -i /.*/a\.flac"):
        probe(with_total(path, total), salvage=True)


@pytest.mark.parametrize(("name", "at"), [("a.mp3", None), ("a.aiff", 4), ("a.au", 8), ("a.caf", None)])
def test_what_holds_more_than_its_header_says_and_cannot_be_used_is_noted(
    tmp_path: Path, name: str, at: int | None
) -> None:
    path = tmp_path / name
    sf.write(path, samples(4 * RATE), RATE)
    whole = probe(path)
    assert (whole.frames, whole.note) == (4 * RATE, "")
    data = bytearray(path.read_bytes())
    if name == "a.mp3":  # the number of frames
        at = max(data.find(b"Xing"), data.find(b"Info")) + 8
        data[at : at + 4] = struct.pack(">I", int.from_bytes(data[at : at + 4]) // 2)
    elif name == "a.caf":
        at = data.find(b"data") + 4
        data[at : at + 8] = struct.pack(">q", 4 + 4 * RATE)
    else:
        for place in (at, data.find(b"SSND") + 4 if name == "a.aiff" else at):
            assert place is not None
            data[place : place + 4] = struct.pack(">I", (len(data) - 8 if place == 4 else 8 * RATE) - 4 * RATE)
    path.write_bytes(data)
    info = probe(path)
    assert info.frames < 2.1 * RATE
    unused = int(info.note.split()[2])
    assert info.note == f"the last {unused} bytes are beyond the length in the header, and not used"
    assert 0.3 < unused / len(data) < 0.6


def test_an_mp3_without_a_frame_is_said_to_be_damaged_with_a_way_out(
    tmp_path: Path, make_audio: Callable[..., Path]
) -> None:
    path = make_audio("a.mp3", seconds=4)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(
        AudioError, match=r"\(no sound found in it\): damaged, or .*: ffmpeg -i /.*/a\.mp3 a_converted\.wav$"
    ):
        probe(path)
