"""The start of a recording by what the recorder wrote into the file."""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
import soundfile as sf

from badc.recordings.names import RecordingOrigin
from badc.recordings.start_times import RecordingTimes, parse_audiomoth_comment, parse_guano, start_in_header

MakeAudio = Callable[..., Path]
NOTHING = RecordingOrigin(None, None)
UNSET = "Recorded at 00:05:54 01/01/1970 (UTC+2) by AudioMoth 0FE0"
AUDIOMOTH = "Recorded at 19:17:30 10/12/2019 (UTC+2) by AudioMoth 0FE081F80FE081F0 at gain setting 2"
# As firmware 1.10 and later writes it behind the samples.
AUDIOMOTH_GUANO = (
    "GUANO|Version:1.0\nMake:Open Acoustic Devices\nModel:AudioMoth\nSerial:24A04F085FDF2793\n"
    "Firmware Version:AudioMoth-Firmware-Basic (1.10.1)\nTimestamp:2019-12-10T19:17:30+02:00\n"
    "Original Filename:20191210_191730.WAV\nOAD|Battery Voltage:4.5\nTemperature Int:23.4"
)


def riff(*chunks: tuple[bytes, bytes], form: bytes = b"RIFF") -> bytes:
    """Return a WAV file of these chunks, an odd one padded, between its format and a tail."""
    body = b"".join(kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in chunks)
    return form + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


def info(comment: str, size: int | None = None) -> tuple[bytes, bytes]:
    """Return the list that an AudioMoth writes: its comment in a field of fixed size, then the artist."""
    text = comment.encode().ljust(size or len(comment) + 1, b"\0")
    artist = b"AudioMoth 0FE081F80FE081F0".ljust(32, b"\0")
    fields = b"ICMT" + struct.pack("<I", len(text)) + text + b"\0" * (len(text) % 2)
    return b"LIST", b"INFO" + fields + b"IART" + struct.pack("<I", len(artist)) + artist


FORMAT = (b"fmt ", struct.pack("<HHIIHH", 1, 1, 8000, 16_000, 2, 16))
SAMPLES = (b"data", bytes(400))


@pytest.fixture
def wav(tmp_path: Path) -> Callable[..., Path]:
    def write(*chunks: tuple[bytes, bytes], form: bytes = b"RIFF", name: str = "REC.wav") -> Path:
        path = tmp_path / name
        path.write_bytes(riff(*chunks, form=form))
        return path

    return write


@pytest.mark.parametrize(
    ("comment", "offset"),
    [
        ("Recorded at 19:17:30 10/12/2019 by AudioMoth 0FE0 at gain setting 2", None),  # 1.0
        ("Recorded at 19:17:30 10/12/2019 (UTC) by AudioMoth 0FE0 at gain setting 2", 0),  # 1.0.1
        (AUDIOMOTH, 120),  # 1.1
        ("Recorded at 19:17:30 10/12/2019 (UTC-11) by AudioMoth 0FE0 at gain", -660),
        ("Recorded at 19:17:30 10/12/2019 (UTC-3:30) by AudioMoth 0FE0 at gain", -210),  # 1.2.1
        ("Recorded at 19:17:30 10/12/2019 (UTC+5: 5) by AudioMoth 0FE0 at gain", 305),
        ("Recorded at 19:17:30 10/12/2019 (UTC:30) by AudioMoth 0FE0 at gain", None),  # the sign is lost
        ("Recorded at 19:17:30 10/12/2019 (UTC-0:30) by AudioMoth 0FE0 at gain", -30),  # 1.4.2
        ("Recorded at 19:17:30 10/12/2019 (UTC+13:45) during deployment 0FE0 at low gain while", 825),  # 1.5
        ("Recorded at 19:17:30 10/12/2019 (UTC+99) by AudioMoth 0FE0", None),
    ],
)
def test_the_comment_of_every_firmware_is_understood(comment: str, offset: int | None) -> None:
    found = parse_audiomoth_comment(comment)
    assert (found.recorded_at, found.utc_offset_min) == (datetime(2019, 12, 10, 19, 17, 30), offset)


def test_audiomoth_live_gives_milliseconds() -> None:
    found = parse_audiomoth_comment("Recorded at 19:17:30.025 10/12/2019 (UTC+1) by AudioMoth Live.")
    assert found.recorded_at == datetime(2019, 12, 10, 19, 17, 30, 25_000)


@pytest.mark.parametrize(
    "comment",
    [
        "",
        "Recorded by somebody at 19:17:30",
        "Recorded at 19:17:30 31/02/2019 (UTC)",
        "Recorded at 25:17:30 10/12/2019 (UTC)",
        "Recorded at 00:00:09 01/01/1970 (UTC) by AudioMoth 0FE0",  # its clock was never set
    ],
)
def test_other_comments_say_nothing(comment: str) -> None:
    assert parse_audiomoth_comment(comment) == NOTHING


@pytest.mark.parametrize(
    ("timestamp", "start", "offset"),
    [
        ("2015-12-31T23:59:59", datetime(2015, 12, 31, 23, 59, 59), None),
        ("2015-12-31T23:59:59Z", datetime(2015, 12, 31, 23, 59, 59), 0),
        ("2015-12-31T23:59:59.123456-04:00", datetime(2015, 12, 31, 23, 59, 59, 123_000), -240),
        ("2015-12-31T23:59:59.5+0530", datetime(2015, 12, 31, 23, 59, 59, 500_000), 330),
        ("2020-10-17 13:05:00+1:00", datetime(2020, 10, 17, 13, 5), 60),  # Song Meter Mini
        ("  2020-10-17 13:05:00  ", datetime(2020, 10, 17, 13, 5), None),
        ("2020-10-17 13:05", datetime(2020, 10, 17, 13, 5), None),
        ("2020-10-17T13:05-03:30", datetime(2020, 10, 17, 13, 5), -210),
        ("2020-10-17T13:05Z", datetime(2020, 10, 17, 13, 5), 0),
        ("2020-10-17t13:05z", datetime(2020, 10, 17, 13, 5), 0),
        ("2000-01-01T00:03:00Z", None, None),
        ("2020-10-17 13", None, None),
        ("2020-13-17T13:05:00", None, None),
        ("", None, None),
    ],
)
def test_guano_timestamps_are_understood(timestamp: str, start: datetime | None, offset: int | None) -> None:
    found = parse_guano(f"GUANO|Version: 1.0\r\nWA|Timestamp: 2001-01-01T00:00:00\nTimestamp: {timestamp}\0\nTE: 1\n")
    assert (found.recorded_at, found.utc_offset_min) == (start, offset)


def test_guano_may_begin_with_a_byte_order_mark(wav: Callable[..., Path]) -> None:
    found = start_in_header(wav(FORMAT, SAMPLES, (b"guan", b"\xef\xbb\xbfTimestamp: 2020-10-17T13:05:00Z\n")))
    assert found == RecordingOrigin(None, datetime(2020, 10, 17, 13, 5), 0)


def test_an_audiomoth_wav_tells_its_start(wav: Callable[..., Path]) -> None:
    found = start_in_header(wav(FORMAT, info(AUDIOMOTH, 384), SAMPLES))
    assert found == RecordingOrigin(None, datetime(2019, 12, 10, 19, 17, 30), 120)


@pytest.mark.parametrize("samples", [400, 401])
def test_guano_behind_the_samples_is_found(wav: Callable[..., Path], samples: int) -> None:
    path = wav(FORMAT, (b"data", bytes(samples)), (b"guan", AUDIOMOTH_GUANO.encode()))
    assert start_in_header(path) == RecordingOrigin(None, datetime(2019, 12, 10, 19, 17, 30), 120)


def test_guano_comes_before_the_comment(wav: Callable[..., Path]) -> None:
    path = wav(FORMAT, info(AUDIOMOTH), SAMPLES, (b"guan", b"Timestamp:2020-01-01T00:00:00Z"))
    assert start_in_header(path) == RecordingOrigin(None, datetime(2020, 1, 1), 0)


def test_guano_without_a_time_leaves_it_to_the_comment(wav: Callable[..., Path]) -> None:
    path = wav(FORMAT, info(AUDIOMOTH), SAMPLES, (b"guan", b"GUANO|Version: 1.0\nMake: x"))
    assert start_in_header(path).utc_offset_min == 120


def test_a_file_of_more_than_4_gib_is_walked_by_its_long_size(tmp_path: Path) -> None:
    """RF64 with five GiB of samples, as a sparse file."""
    size = 5 << 30
    path = tmp_path / "REC.wav"
    head = b"RF64" + b"\xff" * 4 + b"WAVE" + b"ds64" + struct.pack("<IQQQI", 28, size + 100, size, size // 2, 0)
    head += FORMAT[0] + struct.pack("<I", len(FORMAT[1])) + FORMAT[1] + b"data" + b"\xff" * 4
    tail = AUDIOMOTH_GUANO.encode()
    with path.open("wb") as stream:
        stream.write(head)
        stream.seek(size, 1)
        stream.write(b"guan" + struct.pack("<I", len(tail)) + tail)
    assert start_in_header(path).utc_offset_min == 120


def test_libsndfile_s_own_comment_is_read(tmp_path: Path, make_audio: MakeAudio) -> None:
    samples, rate = sf.read(make_audio())
    for name in ("REC.wav", "REC.flac"):
        with sf.SoundFile(tmp_path / name, "w", rate, 1) as stream:
            stream.comment = AUDIOMOTH
            stream.write(samples)
        assert start_in_header(tmp_path / name) == RecordingOrigin(None, datetime(2019, 12, 10, 19, 17, 30), 120)


def test_what_has_no_header_says_nothing(tmp_path: Path, make_audio: MakeAudio, wav: Callable[..., Path]) -> None:
    assert start_in_header(make_audio("plain.wav")) == NOTHING
    assert start_in_header(make_audio("plain.flac")) == NOTHING
    assert start_in_header(tmp_path / "none.wav") == NOTHING
    assert start_in_header(tmp_path) == NOTHING
    (tmp_path / "pointer.wav").write_text("/annex/objects/MD5E-s100--00.wav\n")
    assert start_in_header(tmp_path / "pointer.wav") == NOTHING
    (tmp_path / "empty.wav").touch()
    assert start_in_header(tmp_path / "empty.wav") == NOTHING
    assert start_in_header(wav((b"guan", b"\xff\xfe\0"), (b"LIST", b"INFOICMT\xff\xff\xff\xff"))) == NOTHING


@pytest.mark.parametrize("cut", range(12, 200, 7))
def test_a_damaged_header_says_nothing_and_ends(tmp_path: Path, cut: int) -> None:
    whole = riff(FORMAT, info(AUDIOMOTH), SAMPLES)
    (tmp_path / "REC.wav").write_bytes(whole[:cut])
    found = start_in_header(tmp_path / "REC.wav")
    assert found.recorded_at in (None, datetime(2019, 12, 10, 19, 17, 30))
    (tmp_path / "REC.wav").write_bytes(whole[:12] + bytes(10 * cut) + b"\xff" * 40)
    assert start_in_header(tmp_path / "REC.wav") == NOTHING


def test_an_endless_row_of_empty_chunks_is_given_up(wav: Callable[..., Path]) -> None:
    chunks = [(b"junk", b"")] * 2000
    assert start_in_header(wav(*chunks, (b"guan", b"Timestamp:2020-01-01T00:00:00Z"))) == NOTHING


def test_the_name_comes_before_the_header(wav: Callable[..., Path]) -> None:
    path = wav(FORMAT, info(AUDIOMOTH), SAMPLES, name="A_20230509_094500.wav")
    found = RecordingTimes([]).of("A_20230509_094500", str(path))
    assert found == RecordingOrigin("A", datetime(2023, 5, 9, 9, 45))


def test_where_the_name_says_nothing_the_header_is_read_once(wav: Callable[..., Path]) -> None:
    path = wav(FORMAT, info(AUDIOMOTH), SAMPLES, name="marsh.wav")
    times = RecordingTimes([])
    first = times.of("marsh", str(path))
    path.unlink()
    assert times.of("marsh", str(path)) == first == RecordingOrigin(None, datetime(2019, 12, 10, 19, 17, 30), 120)


def test_a_relative_path_is_looked_for_below_the_roots_and_then_the_bases(
    wav: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "set" / "audio").mkdir(parents=True)
    wav(FORMAT, info(AUDIOMOTH), SAMPLES, name="set/audio/marsh.wav")
    assert RecordingTimes([]).of("marsh", "audio/marsh.wav", (None,)) == NOTHING
    assert RecordingTimes([]).of("marsh", "audio/marsh.wav", (None, "/nowhere", str(tmp_path / "set"))) != NOTHING
    assert RecordingTimes([tmp_path / "set"]).of("marsh", "audio/marsh.wav") != NOTHING


def test_an_id_that_was_made_longer_to_be_unique_still_finds_its_file(wav: Callable[..., Path]) -> None:
    path = wav(FORMAT, info(AUDIOMOTH), SAMPLES, name="marsh.wav")
    assert RecordingTimes([]).of("siteA_marsh", str(path)) != NOTHING


def test_the_header_of_a_chunk_s_own_file_is_not_taken(wav: Callable[..., Path]) -> None:
    path = wav(FORMAT, info(AUDIOMOTH), SAMPLES, name="marsh_chunk_60000_120000.wav")
    assert RecordingTimes([]).of("marsh", str(path)) == NOTHING


@pytest.mark.parametrize("path", [None, "", "marsh\0.wav", "x" * 5000 + "/marsh.wav", "no/marsh.wav"])
def test_a_path_that_leads_nowhere_says_nothing(path: str | None) -> None:
    assert RecordingTimes([Path()]).of("marsh\0", path) == NOTHING


@pytest.mark.parametrize(
    ("name", "comment", "guano", "start", "offset", "said"),
    [
        # The name has the time, the header its offset.
        ("A_20191210_191730", AUDIOMOTH, "", "2019-12-10 19:17:30", 120, ""),
        ("A_20191210_191731", "", "2019-12-10T19:17:30-03:30", "2019-12-10 19:17:31", -210, ""),
        ("A_20191210_191730", "Recorded at 19:17:30 10/12/2019 (UTC) by", "", "2019-12-10 19:17:30", 0, ""),
        ("A_20191210_191730", "Recorded at 19:17:30 10/12/2019 by AudioMoth", "", "2019-12-10 19:17:30", None, ""),
        ("A_20191210_191730", "", "2019-12-10T19:17+02:00", "2019-12-10 19:17:30", 120, ""),
        ("A_20191210_191730", "", "2019-12-10T19:19+02:00", "2019-12-10 19:17:30", None, "GUANO 2019-12-10 19:19:00"),
        # The name is in UTC, the header in local time.
        ("A_20191210_171730", AUDIOMOTH, "", "2019-12-10 17:17:30", 0, ""),
        ("A_20191210T171730Z", AUDIOMOTH, "2019-12-10T19:17:30+02:00", "2019-12-10 17:17:30", 0, ""),
        ("A_20191210T171730Z", "", "2019-12-10T17:17:30", "2019-12-10 17:17:30", 0, ""),
        # They disagree: the name counts, then GUANO; and an offset of another time is not taken.
        ("A_20191210_091730", AUDIOMOTH, "", "2019-12-10 09:17:30", None, "name 2019-12-10 09:17:30, comment 2019"),
        ("A_20191210T191730Z", AUDIOMOTH, "", "2019-12-10 19:17:30", 0, "name 2019-12-10 19:17:30+00:00, comment"),
        ("marsh", AUDIOMOTH, "2020-01-01T00:00:00Z", "2020-01-01 00:00:00", 0, "GUANO 2020-01-01 00:00:00+00:00, "),
        ("A_20191210_191730", AUDIOMOTH, "2020-01-01T00:00:00Z", "2019-12-10 19:17:30", 120, "GUANO 2020"),
        # A clock that was not set says nothing, wherever it stands.
        ("A_19700101_000554", AUDIOMOTH, "1970-01-01T00:05:54Z", "2019-12-10 19:17:30", 120, ""),
        ("A_20191210_191730", UNSET, "1970-01-01T00:05:54Z", "2019-12-10 19:17:30", None, ""),
        ("A_19700101_000554", UNSET, "1970-01-01T00:05:54Z", None, None, ""),
    ],
)  # fmt: skip
def test_sources_add_what_they_know_and_disagreements_are_counted(
    wav: Callable[..., Path], name: str, comment: str, guano: str, start: str | None, offset: int | None, said: str
) -> None:
    path = wav(FORMAT, info(comment), SAMPLES, (b"guan", f"Timestamp:{guano}".encode()), name=f"{name}.wav")
    times = RecordingTimes([])
    for _ in range(2):
        found = times.of(name, str(path))
    assert found.recorded_at == (None if start is None else datetime.fromisoformat(start))
    assert found.utc_offset_min == offset
    assert found.station == (None if name == "marsh" else "A")
    assert len(times.disagreements) == bool(said)
    assert said in times.disagreements.get(name, "")
    assert (times.disagreements_note() or "").startswith("1 recording has several start times" * bool(said))
