"""How long a recording is where its header is wrong, does not know, or where the file's end is damaged."""

from __future__ import annotations

import io
import os
import resource
import struct
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import soundfile as sf

from badc.recordings.audio import AudioError, AudioWindow, probe, read_samples, wav_bytes, window_of
from badc.recordings.flac import FlacEnd, find_end
from badc.recordings.start_times import start_in_header

RATE = 48_000
GIB = 1 << 30
GUANO = b"GUANO|Version:1.0\nTimestamp:2019-12-10T19:17:30+02:00\n"


def samples(frames: int, channels: int = 1) -> np.ndarray[Any, Any]:
    return np.random.default_rng(7).integers(-9000, 9000, (frames, channels)).astype("<i2")


def chunk(kind: bytes, content: bytes, size: int | None = None, order: str = "<") -> bytes:
    return (
        kind + struct.pack(f"{order}I", len(content) if size is None else size) + content + b"\0" * (len(content) % 2)
    )


def write_wav(path: Path, data: bytes, claimed: int, tail: bytes = b"", bits: int = 16, channels: int = 1) -> Path:
    """Write a WAV whose header says that there are `claimed` bytes of samples."""
    frame = channels * bits // 8
    form = chunk(b"fmt ", struct.pack("<HHIIHH", 1, channels, RATE, frame * RATE, frame, bits))
    path.write_bytes(
        b"RIFF" + struct.pack("<I", (claimed + 36) & 0xFFFFFFFF) + b"WAVE" + form + chunk(b"data", data, claimed) + tail
    )
    return path


@pytest.mark.parametrize("claimed", [0, RATE, 0x7FFFFFFF, 0x7FFFF000, 0x80000000, 0xFFFFFFFF, 0xFFFFFFDB])
@pytest.mark.parametrize(
    "tail",
    [
        b"",
        chunk(b"guan", GUANO),
        chunk(b"LIST", b"INFOICMT\4\0\0\0abc\0") + chunk(b"guan", GUANO),
        chunk(b"bext", bytes(602)),
    ],
    ids=["nothing", "guan", "LIST-guan", "bext"],
)
def test_all_samples_count_whatever_the_header_says_and_nothing_that_follows_them(
    tmp_path: Path, claimed: int, tail: bytes
) -> None:
    whole = samples(2 * RATE)
    path = write_wav(tmp_path / "a.wav", whole.tobytes(), claimed, tail)
    info = probe(path)
    assert info.frames == 2 * RATE
    for start, end in ((0, 2000), (500, 1500), (1990, 2000)):
        window = window_of(path, info, start, end)
        assert not window.whole_file
        written, _ = sf.read(io.BytesIO(wav_bytes(window)), dtype="int16", always_2d=True)
        np.testing.assert_array_equal(written, whole[start * 48 : end * 48])
    says_less = claimed in (0, RATE)
    assert info.note == (f"the header says {claimed / 96000:g} s, the file holds 2 s, all of which is used" * says_less)


@pytest.mark.parametrize(("bits", "channels"), [(8, 1), (16, 2), (24, 1), (24, 2), (32, 3)])
def test_every_sample_format_is_read_behind_a_header_that_was_not_updated(
    tmp_path: Path, bits: int, channels: int
) -> None:
    size = RATE * channels * bits // 8
    data = np.random.default_rng(3).bytes(size)
    wrong = write_wav(tmp_path / "wrong.wav", data, size // 3, bits=bits, channels=channels)
    right = write_wav(tmp_path / "right.wav", data, size, bits=bits, channels=channels)
    read = [read_samples(window_of(path, probe(path), 100, 900))[0] for path in (wrong, right)]
    assert read[0].shape == (38_400, channels)
    np.testing.assert_array_equal(*read)


@pytest.mark.parametrize("kind", [b"LIST", b"guan", b"bext", b"id3 ", b"odd!"])
@pytest.mark.parametrize("frames", [RATE, RATE + 1])
@pytest.mark.parametrize("size", [40, 100_001])
def test_chunks_behind_the_samples_are_no_samples(tmp_path: Path, kind: bytes, frames: int, size: int) -> None:
    data = samples(frames).tobytes()
    info = probe(write_wav(tmp_path / "a.wav", data, len(data), chunk(kind, bytes(range(256)) * 400, size)[: 8 + size]))
    assert (info.frames, info.extent, info.note) == (frames, None, "")


@pytest.mark.parametrize("rest", [b"\0" * 200_000, b"TAG" + b"x" * 125, b"\0", b"\1\2\3"])
def test_what_was_laid_out_and_never_written_or_is_less_than_a_block_is_no_samples(tmp_path: Path, rest: bytes) -> None:
    data = samples(RATE).tobytes()
    info = probe(write_wav(tmp_path / "a.wav", data, len(data), rest))
    assert (info.frames, info.note) == (RATE, "")


def sparse(path: Path, total: int, riff: int, data: int, head: bytes = b"", tail: bytes = b"") -> Path:
    """Write a WAV of `total` bytes of samples, the last second noise, that takes no room."""
    last = samples(RATE).tobytes()
    form = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16))
    begin = (b"RF64" if head else b"RIFF") + struct.pack("<I", riff) + b"WAVE" + head + form
    with path.open("wb") as stream:
        stream.write(begin + b"data" + struct.pack("<I", data))
        start = stream.tell()
        stream.seek(start + total - len(last))
        stream.write(last + tail)
    return path


@pytest.mark.parametrize("kind", ["modulo", "modulo-guan", "clamped", "signed", "RF64", "W64"])
def test_five_gib_are_read_where_they_lie(tmp_path: Path, kind: str) -> None:
    """Without a copy, and in flat memory; the case of many recorders is a size modulo 2^32."""
    total = 5 * GIB
    path = tmp_path / "a.wav"
    if kind == "W64":
        path = tmp_path / "a.w64"
        guid = "f3acd3118cd100c04f8edb8a"
        form = struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16)
        head = bytes.fromhex("726966662e91cf11a5d628db04c10000") + struct.pack("<Q", 104 + total)
        head += bytes.fromhex("77617665" + guid) + bytes.fromhex("666d7420" + guid) + struct.pack("<Q", 40) + form
        with path.open("wb") as stream:
            stream.write(head + bytes.fromhex("64617461" + guid) + struct.pack("<Q", 24 + total))
            stream.seek(total - 2 * RATE, os.SEEK_CUR)
            stream.write(samples(RATE).tobytes())
    elif kind == "RF64":
        long = b"ds64" + struct.pack("<IQQQI", 28, total + 72, total, total // 2, 0)
        sparse(path, total, 0xFFFFFFFF, 0xFFFFFFFF, long)
    else:
        said = {"clamped": 0xFFFFFFFF, "signed": 0x7FFFFFFF}.get(kind, total & 0xFFFFFFFF)
        sparse(path, total, said, said, tail=chunk(b"guan", GUANO) if kind == "modulo-guan" else b"")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    info = probe(path)
    assert info.frames == total // 2
    assert bool(info.note) == (kind not in ("RF64", "W64"))
    end_ms = info.duration_ms
    read, _ = read_samples(window_of(path, info, end_ms - 500, end_ms))
    at = (end_ms - 500) * 48 - (info.frames - RATE)
    np.testing.assert_array_equal(np.round(read * 32768).astype("i2"), samples(RATE)[at : at + 24_000])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024
    assert path.stat().st_blocks * 512 < GIB
    if kind == "modulo-guan":
        assert start_in_header(path).utc_offset_min == 120


@pytest.mark.parametrize("more", [1, 44, 512, 4096])
def test_a_header_that_says_up_to_a_block_more_than_there_is_is_no_truncation(tmp_path: Path, more: int) -> None:
    data = samples(RATE).tobytes()
    info = probe(write_wav(tmp_path / "a.wav", data, len(data) + more))
    assert (info.frames, info.note) == (RATE, "")


def with_total(flac: Path, total: int) -> Path:
    data = bytearray(flac.read_bytes())
    data[21] = data[21] & 0xF0 | total >> 32
    data[22:26] = struct.pack(">I", total & 0xFFFFFFFF)
    flac.write_bytes(data)
    return flac


@pytest.mark.parametrize(("channels", "subtype"), [(1, "PCM_16"), (2, "PCM_24"), (1, "PCM_S8")])
@pytest.mark.parametrize("frames", [100, 4096, 4097, 3 * RATE + 17])
def test_a_flac_of_unknown_length_is_read_to_its_end(tmp_path: Path, channels: int, subtype: str, frames: int) -> None:
    path = tmp_path / "a.flac"
    whole = samples(frames, channels)
    sf.write(path, whole, RATE, subtype=subtype)
    expected, _ = sf.read(path, always_2d=True, dtype="float32")
    info = probe(with_total(path, 0))
    assert (info.frames, info.note) == (frames, "")
    read, _ = read_samples(AudioWindow(path, frames - 60, 60, False, info))
    np.testing.assert_array_equal(read, expected[-60:])


@pytest.mark.parametrize("lost", [b"", bytes(3000), b"\xff\xf8" * 2000])
def test_the_last_whole_frame_of_a_flac_is_found(tmp_path: Path, lost: bytes) -> None:
    path = tmp_path / "a.flac"
    sf.write(path, samples(20 * 4096), RATE)
    data = path.read_bytes()
    assert find_end(path) == FlacEnd(20 * 4096, len(data), is_end=True)
    path.write_bytes(data[:-2000] + lost)
    end = find_end(path)
    # With other bytes behind it, where the last frame ends is not known, so it does not count.
    assert end is not None
    assert end.frames in ((19 * 4096,) if not lost else (18 * 4096, 19 * 4096))
    assert not end.is_end


@pytest.mark.parametrize("subtype", ["PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("endian", ["LITTLE", "BIG"])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_caf_that_was_not_closed_is_read(tmp_path: Path, subtype: str, endian: str, channels: int) -> None:
    path = tmp_path / "a.caf"
    sf.write(path, samples(RATE, channels), RATE, subtype, endian)
    whole, _ = read_samples(window_of(path, probe(path), 0, 1000))
    data = path.read_bytes()
    at = data.index(b"data") + 4
    path.write_bytes(data[:at] + b"\xff" * 8 + data[at + 8 :])
    info = probe(path)
    assert (info.frames, info.rate, info.channels, info.subtype, info.note) == (RATE, RATE, channels, subtype, "")
    np.testing.assert_array_equal(read_samples(window_of(path, info, 0, 1000))[0], whole)


def test_a_compressed_caf_that_was_not_closed_is_refused(tmp_path: Path) -> None:
    sf.write(tmp_path / "a.caf", samples(RATE), RATE, "ULAW")
    data = (tmp_path / "a.caf").read_bytes()
    at = data.index(b"data") + 4
    (tmp_path / "a.caf").write_bytes(data[:at] + b"\xff" * 8 + data[at + 8 :])
    with pytest.raises(AudioError, match=r"a\.caf: cannot be read as audio .*: ffmpeg -i /.*/a\.caf"):
        probe(tmp_path / "a.caf")


@pytest.mark.parametrize("lengths", [(9, 9), (9, 5), (5, 9), (5, 5, 5), (3,) * 11, (3,) * 22])
@pytest.mark.parametrize("channels", [1, 2])
def test_joined_flacs_of_which_decoders_find_one_are_refused(
    tmp_path: Path, lengths: tuple[int, ...], channels: int
) -> None:
    data = b""
    for seconds in lengths:
        sf.write(tmp_path / "part.flac", samples(seconds * RATE, channels), RATE, "PCM_16")
        assert probe(tmp_path / "part.flac").frames == seconds * RATE
        data += (tmp_path / "part.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(data)
    with pytest.raises(AudioError, match=r"a\.flac: several FLAC files were joined"):
        probe(tmp_path / "a.flac")


@pytest.mark.parametrize("frames", [1, 100, 4096, 4097, 20 * 4096, 20 * RATE])
@pytest.mark.parametrize("loudness", [0, 0.001, 1])
def test_one_flac_is_not_taken_for_several(tmp_path: Path, frames: int, loudness: float) -> None:
    quiet_and_loud = samples(frames) * loudness * (np.arange(frames)[:, None] > frames * 3 // 4)
    sf.write(tmp_path / "a.flac", quiet_and_loud.astype("<i2"), RATE, "PCM_16")
    assert probe(tmp_path / "a.flac").frames == frames


def cut_off(tmp_path: Path, make_audio: Callable[..., Path], name: str, subtype: str | None = None) -> Path:
    if subtype in ("NIST", "VOC"):
        path = tmp_path / name
        sf.write(path, samples(64_000), 16_000, "PCM_16", format=subtype)
    else:
        path = make_audio("a.ogg" if subtype == "OPUS" else name, seconds=4, rate=16_000, subtype=subtype)
        path = path.rename(tmp_path / name)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 5 // 8])
    return path


FORMATS = [
    *(("a.wav", None), ("a.flac", None), ("a.mp3", None), ("a.ogg", None), ("a.opus", "OPUS"), ("a.aiff", None)),
    *(("a.w64", None), ("a.au", None), ("a.rf64", None), ("a.sph", "NIST"), ("a.voc", "VOC"), ("a.caf", None)),
]


@pytest.mark.parametrize(("name", "subtype"), FORMATS)
def test_a_damaged_end_is_refused_with_what_can_be_read_and_a_way_out(
    tmp_path: Path, make_audio: Callable[..., Path], name: str, subtype: str | None
) -> None:
    path = cut_off(tmp_path, make_audio, name, subtype)
    with pytest.raises(AudioError, match=r"can be read. Give --salvage .*ffmpeg -i /.*/a\.") as caught:
        probe(path)
    assert str(caught.value).count(str(path)) == 2, "before the reason, and in the line to paste"
    if name not in ("a.ogg", "a.opus"):  # which do not say how long they were
        assert " of 4 s can be read" in str(caught.value) or name in ("a.aiff", "a.w64", "a.au", "a.sph", "a.voc")


@pytest.mark.parametrize(("name", "subtype"), FORMATS)
def test_salvage_uses_what_can_be_read_and_notes_it(
    tmp_path: Path, make_audio: Callable[..., Path], name: str, subtype: str | None
) -> None:
    path = cut_off(tmp_path, make_audio, name, subtype)
    info = probe(path, salvage=True)
    assert 1500 <= info.duration_ms <= 2700
    assert info.note.startswith("salvaged: ")
    read, _ = read_samples(window_of(path, info, 1000, info.duration_ms))
    assert len(read) > 0.9 * (info.frames - 16_000)
    window = AudioWindow.from_json(orjson.loads(orjson.dumps(asdict(window_of(path, info, 0, 1000)), default=str)))
    assert window == window_of(path, info, 0, 1000)


def test_nothing_to_salvage_is_refused(tmp_path: Path, make_audio: Callable[..., Path]) -> None:
    path = make_audio("a.flac", seconds=4)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(AudioError, match=r"a\.flac: .*nothing of it can be read"):
        probe(path, salvage=True)


def test_a_file_of_wrong_header_that_grows_is_not_read(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", samples(RATE).tobytes(), 0)
    window = window_of(path, probe(path), 0, 500)
    with path.open("ab") as stream:
        stream.write(bytes(9600))
    with pytest.raises(AudioError, match="the file changed while the run was under way"):
        read_samples(window)
