"""Exact windows of frames from any audio format that libsndfile reads: WAV of every subtype, FLAC, OGG, MP3, …"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from badc.errors import BadcError, ExitCode
from badc.system.annex import is_pointer

if TYPE_CHECKING:
    import numpy as np
    import soundfile as sf

_GET = "`datalad get` or `git annex get` brings it"
# Samples read as this type give the same bytes when written as the same subtype. Subtypes that are not listed
# (Vorbis, MPEG, Opus, ADPCM, …) have no sample format of their own and become float32.
_EXACT_DTYPES = {
    "PCM_16": "int16",
    "PCM_24": "int32",
    "PCM_32": "int32",
    "PCM_U8": "int16",
    "PCM_S8": "int16",
    "ULAW": "int16",
    "ALAW": "int16",
    "FLOAT": "float32",
    "DOUBLE": "float64",
}
_WAV_SUBTYPES = {"PCM_S8": "PCM_U8"}  # WAV has no signed 8-bit samples
_DATA_CUT_OFF = re.compile(r"^data : (\d+) \(should be \d+\)", re.MULTILINE)
_UNKNOWN_SIZE_FROM = 0x7FFF0000
_WAV_LIMIT_BYTES = 0xFFFFFFFF - 1024


class AudioError(BadcError):
    """An audio file that cannot be used; the text names it and says why."""

    exit_code = ExitCode.WRONG_REQUEST


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """Frames (samples per channel), rate in Hz, and libsndfile's name of the sample format, such as `PCM_16`."""

    frames: int
    rate: int
    channels: int
    subtype: str

    def __str__(self) -> str:
        channels = "1 channel" if self.channels == 1 else f"{self.channels} channels"
        return f"{self.frames} frames at {self.rate} Hz, {channels}, {self.subtype}"

    @property
    def duration_ms(self) -> int:
        """Length in ms, rounded down."""
        return self.frames * 1000 // self.rate


@dataclass(frozen=True, slots=True)
class AudioWindow:
    """The frames of a file that make up one chunk.

    `whole_file` means that they are all of a WAV file, which can be handed over as it is. `source` is what the file was
    when the window was made: another file in its place would be read at the wrong times.
    """

    path: Path
    start_frame: int
    frames: int
    whole_file: bool
    source: AudioInfo


def frame_at(ms: int, rate: int) -> int:
    """Return the frame at `ms`, rounded half up, so that neighbouring windows share no frame and miss none."""
    return (ms * rate + 500) // 1000


def probe(path: Path) -> AudioInfo:
    """Open an audio file and check that its last frame can be read.

    Raises
    ------
    AudioError
        When the file is missing, empty, truncated, not audio, or a git-annex file whose content was dropped.
    """
    import soundfile as sf

    _require_content(path)
    with _decoding(path), sf.SoundFile(path) as stream:
        info = AudioInfo(stream.frames, stream.samplerate, stream.channels, stream.subtype)
        if info.frames <= 0 or info.rate <= 0:
            raise AudioError(f"{path}: the audio file holds no samples")
        _require_whole_data(path, stream.extra_info, info)
        # A FLAC or MP3 that was cut off still claims its full length.
        if not _has_last_frame(stream, info):
            raise AudioError(f"{path}: the audio file is truncated or damaged; it claims {info.duration_ms} ms")
    return info


@contextlib.contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Turn whatever a decoder raises into an error of this file alone: a damaged MP3 even fails its assertions."""
    try:
        yield
    except AudioError:
        raise
    except Exception as error:
        reason = str(getattr(error, "error_string", error)).rstrip(".") or type(error).__name__
        raise AudioError(f"{path}: cannot be read as audio ({reason})") from None


def window_of(path: Path, info: AudioInfo, start_ms: int, end_ms: int) -> AudioWindow:
    """Return the frames of `path` that make up the chunk `[start_ms, end_ms)`.

    A file that is at least `end_ms` long is the recording, and the window is read from it; one that is as long as the
    window is the chunk itself. One frame of difference is allowed for rounding.

    Raises
    ------
    AudioError
        When the file is neither; the text gives both lengths.
    """
    start, end = frame_at(start_ms, info.rate), frame_at(end_ms, info.rate)
    if end <= info.frames + 1:
        stop = min(end, info.frames)
        return AudioWindow(path, start, stop - start, _is_wav(path) and start == 0 and stop == info.frames, info)
    if abs(info.frames - (end - start)) <= 1:
        return AudioWindow(path, 0, info.frames, _is_wav(path), info)
    raise AudioError(
        f"{path}: {info.duration_ms} ms long, but the chunk ends at {end_ms} ms and is {end_ms - start_ms} ms long; "
        "the file is neither the recording nor the chunk"
    )


def read_samples(window: AudioWindow) -> tuple[np.ndarray[Any, Any], int]:
    """Return a window as float32 samples in -1..1, of shape `(frames, channels)`, and their rate in Hz.

    Raises
    ------
    AudioError
        When the file has fewer frames than the window, or is not the one that the window was made from.
    """
    samples, stream_info = _read(window, "float32")
    return samples, stream_info.rate


def wav_bytes(window: AudioWindow) -> bytes:
    """Return a window as a WAV file in the sample format of its source; every call returns the same bytes.

    Sources without a sample format of their own (MP3, Vorbis, …) become float32. A window of more than 4 GiB becomes
    RF64 (EBU Tech 3306).

    Raises
    ------
    AudioError
        When the file has fewer frames than the window, or is not the one that the window was made from.
    """
    import soundfile as sf

    samples, info = _read(window, None)
    subtype = info.subtype if info.subtype in _EXACT_DTYPES else "FLOAT"
    buffer = io.BytesIO()
    container = "RF64" if samples.nbytes > _WAV_LIMIT_BYTES else "WAV"
    sf.write(buffer, samples, info.rate, subtype=_WAV_SUBTYPES.get(subtype, subtype), format=container)
    return _without_time_of_writing(buffer.getvalue()) if subtype in ("FLOAT", "DOUBLE") else buffer.getvalue()


def require_unchanged(window: AudioWindow) -> None:
    """Refuse a file that is not the one a window was made from, before another program reads it.

    AudioError when its rate, channels, length or sample format differ, or it cannot be read.
    """
    _read(replace(window, frames=0), None)


def _without_time_of_writing(wav: bytes) -> bytes:
    """Zero the timestamp of the PEAK chunk that libsndfile adds to float WAVs: hashes must not depend on the clock."""
    at = wav.find(b"PEAK", 0, 128)
    if at < 0:
        return wav
    # PEAK, size, version: then four bytes of seconds since 1970.
    return wav[: at + 12] + bytes(4) + wav[at + 16 :]


def _has_last_frame(stream: Any, info: AudioInfo) -> bool:
    import soundfile as sf

    try:
        stream.seek(info.frames - 1)
        return len(stream.read(1)) == 1
    except (sf.LibsndfileError, AssertionError):  # libsndfile's own word, and soundfile's of a length that is wrong
        return False


def _read(window: AudioWindow, dtype: str | None) -> tuple[np.ndarray[Any, Any], AudioInfo]:
    import soundfile as sf

    _require_content(window.path)
    with _decoding(window.path), sf.SoundFile(window.path) as stream:
        info = AudioInfo(stream.frames, stream.samplerate, stream.channels, stream.subtype)
        if info != window.source:
            raise AudioError(
                f"{window.path}: the file changed while the run was under way: it was {window.source}, and is {info}"
            )
        samples = _frames(stream, window, dtype or _EXACT_DTYPES.get(stream.subtype, "float32"))
    return samples, info


def _frames(stream: sf.SoundFile, window: AudioWindow, dtype: str) -> np.ndarray[Any, Any]:
    stream.seek(window.start_frame)
    samples: np.ndarray[Any, Any] = stream.read(window.frames, dtype=dtype, always_2d=True)
    if len(samples) < window.frames:
        raise AudioError(
            f"{window.path}: the audio file is truncated: {len(samples)} of {window.frames} frames "
            f"from frame {window.start_frame} on could be read"
        )
    return samples


def _require_whole_data(path: Path, log: str, info: AudioInfo) -> None:
    """Refuse a WAV that holds less data than its header says, which libsndfile only mentions in its log."""
    found = _DATA_CUT_OFF.search(log)
    # A program that writes to a pipe cannot know the size, and puts the largest one into the header.
    if found is not None and int(found[1]) < _UNKNOWN_SIZE_FROM:
        raise AudioError(f"{path}: the audio file is truncated; only {info.duration_ms} ms of it are there")


def _is_wav(path: Path) -> bool:
    return path.suffix.lower() == ".wav"


def _require_content(path: Path) -> None:
    """Refuse a file that is not here, is a folder or is empty: libsndfile would not give the reason."""
    if path.is_symlink() and not path.exists():
        raise AudioError(f"{path}: its content is not here (a link to nothing); {_GET}")
    if not path.exists():
        raise AudioError(f"{path}: no such audio file")
    if path.is_dir():
        raise AudioError(f"{path}: is a folder, not an audio file")
    size = path.stat().st_size
    if size == 0:
        raise AudioError(f"{path}: the audio file is empty")
    if is_pointer(path):
        raise AudioError(f"{path}: its content is not here (a git-annex pointer); {_GET}")
