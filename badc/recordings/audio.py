"""Exact windows of frames from any audio format that libsndfile reads: WAV of every subtype, FLAC, OGG, MP3, …"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from badc.errors import BadcError, ExitCode
from badc.recordings.caf import unclosed_caf_samples
from badc.recordings.endings import lacks_its_end
from badc.recordings.extent import Extent, as_flac, as_raw
from badc.recordings.flac import UNKNOWN_FRAMES, find_end
from badc.recordings.names import converter_of, ffmpeg_line
from badc.recordings.wav import BLOCK_BYTES, HeaderError, WavSamples, says_less, wav_samples
from badc.system.annex import content_is_elsewhere, get_line

if TYPE_CHECKING:
    import numpy as np
    import soundfile as sf

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
_NO_FILE = 7  # libsndfile's code, also of an MP3 without any whole frame
SALVAGED = "salvaged: "  # begins the note on a recording that could not be read to its end; manifests keep it
_WAV_LIMIT_BYTES = 0xFFFFFFFF - 1024


class AudioError(BadcError):
    """An audio file that cannot be used; the text names it and says why."""

    exit_code = ExitCode.WRONG_REQUEST


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """Frames (samples per channel), rate in Hz, and libsndfile's name of the sample format, such as `PCM_16`.

    `frames` can be read. `claimed_frames` is what libsndfile says, if that is another number; `extent` is there if it
    must not see the file as it is. `note` is what a person should know of the length.
    """

    frames: int
    rate: int
    channels: int
    subtype: str
    claimed_frames: int | None = None
    extent: Extent | None = None
    note: str = ""

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
    when the window was made: another file in its place would be read at the wrong times. `channels`, from 0, are those
    to read, None for all; with `mean`, their mean is read as one. `copy` is read, if it is there, and `path` named.
    """

    path: Path
    start_frame: int
    frames: int
    whole_file: bool
    source: AudioInfo
    channels: tuple[int, ...] | None = None
    mean: bool = False
    copy: Path | None = None

    @property
    def file(self) -> Path:
        """The file to read."""
        return self.path if self.copy is None or not self.copy.exists() else self.copy

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> AudioWindow:
        """Return the window that `dataclasses.asdict` gave, sent as JSON."""
        source, channels, copy = document["source"], document["channels"], document["copy"]
        extent = None if source["extent"] is None else Extent(**source["extent"])
        info = AudioInfo(**{**source, "extent": extent})
        window = cls(Path(document["path"]), document["start_frame"], document["frames"], document["whole_file"], info)
        channels = None if channels is None else tuple(channels)
        return replace(window, channels=channels, mean=document["mean"], copy=None if copy is None else Path(copy))


def frame_at(ms: int, rate: int) -> int:
    """Return the frame at `ms`, rounded half up, so that neighbouring windows share no frame and miss none."""
    return (ms * rate + 500) // 1000


def probe(path: Path, salvage: bool = False) -> AudioInfo:
    """Open an audio file and find out how much of it can be read.

    All samples of a WAV count, even if its header says less. A file whose end is damaged is refused; with `salvage`,
    what can be read of it counts.

    Raises
    ------
    AudioError
        When the file is missing, empty, damaged, not audio, or a git-annex file whose content was dropped.
    """
    _require_content(path)
    with _decoding(path):
        wav = wav_samples(path) or unclosed_caf_samples(path)
        info, is_whole = _measured(path, wav)
        if info.frames <= 0 or info.rate <= 0:
            raise AudioError(f"{path}: the audio file holds no samples")
        return info if is_whole else _salvaged(path, wav, info, salvage)


def _measured(path: Path, wav: WavSamples | None) -> tuple[AudioInfo, bool]:
    """Return what a file is, and whether its end is there."""
    size = path.stat().st_size
    if wav is not None and wav.subtype is not None and (wav.claimed is None or wav.understated or not wav.as_is):
        frames = (wav.end - wav.start) // wav.frame_bytes
        extent = Extent(wav.start, wav.end, size, wav.big_endian)
        return AudioInfo(frames, wav.rate, wav.channels, wav.subtype, extent=extent, note=wav.note), not wav.cut_off
    with _open(path) as stream:
        info = _info_of(stream)
        if wav is not None and (wav.cut_off or wav.understated):
            return replace(info, note=wav.note), not wav.cut_off
        is_unknown = info.frames == UNKNOWN_FRAMES
        end = find_end(path, beyond=0 if is_unknown else info.frames)
        if end is not None:
            note = "" if is_unknown else says_less(info.duration_ms, end.frames * 1000 // info.rate)
            return replace(info, frames=end.frames, extent=Extent(0, end.byte, size), note=note), end.is_end
        if is_unknown:
            repair = ffmpeg_line(path, "_repaired.flac", "-c:a", "flac")
            raise AudioError(f"{path}: the FLAC does not say its length, and has no whole frame at its end: {repair}")
        # A FLAC or MP3 that was cut off still claims its full length.
        if lacks_its_end(path) or (info.frames > 0 and not _can_read(stream, info.frames - 1)):
            return info, False
        if wav is None and (unused := _unused_bytes(path)) > BLOCK_BYTES:
            info = replace(info, note=f"the last {unused} bytes are beyond the length in the header, and not used")
        return info, True


def _unused_bytes(path: Path) -> int:
    """Return how much of a file is behind its last frame by the header: other chunks and tags, or samples."""
    import soundfile as sf

    with contextlib.suppress(sf.LibsndfileError), path.open("rb") as file, sf.SoundFile(file) as stream:
        if stream.frames > 0 and _can_read(stream, stream.frames - 1):
            return path.stat().st_size - file.tell()
    return 0


def _salvaged(path: Path, wav: WavSamples | None, info: AudioInfo, salvage: bool) -> AudioInfo:
    """Return the part that can be read of a file whose end is damaged; AudioError unless `salvage`."""
    whole_ms = wav.ms(wav.claimed) if wav is not None and wav.claimed is not None else info.duration_ms
    if wav is None:
        info = _readable(path, info)
    whole = f" of {whole_ms / 1000:g} s" if whole_ms > info.duration_ms else ""
    readable = f"{info.duration_ms / 1000:g} s{whole} can be read"
    if info.duration_ms < 1:
        raise AudioError(f"{path}: the audio file is truncated or damaged; nothing of it can be read")
    if not salvage:
        codec = "flac" if path.suffix.lower() == ".flac" else "copy"
        repair = ffmpeg_line(path, f"_repaired{path.suffix}", "-c:a", codec)
        raise AudioError(
            f"{path}: the audio file is truncated or damaged; {readable}. Give --salvage to use that part, or put a "
            f"repaired file in its place: {repair}"
        )
    return replace(info, note="; ".join(filter(None, (f"{SALVAGED}{readable}", info.note))))


def _readable(path: Path, info: AudioInfo) -> AudioInfo:
    """Return a file without its damaged end."""
    if (end := find_end(path)) is not None:
        return replace(info, frames=end.frames, extent=Extent(0, end.byte, path.stat().st_size))
    low, high = 0, info.frames
    while low < high:
        middle = (low + high + 1) // 2
        with _open(path) as stream:  # a decoder that failed once may fail for good
            low, high = (middle, high) if _can_read(stream, middle - 1) else (low, middle - 1)
    return replace(info, frames=low, claimed_frames=None if low == info.frames else info.frames)


@contextlib.contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Turn whatever a decoder raises into an error of this file alone: a damaged MP3 even fails its assertions."""
    try:
        yield
    except AudioError:
        raise
    except HeaderError as error:
        raise AudioError(f"{path}: {error}") from None
    except Exception as error:
        reason = str(getattr(error, "error_string", error)).rstrip(".") or type(error).__name__
        if getattr(error, "code", None) == _NO_FILE:
            reason = "no sound found in it"
        way_out = f": damaged, or not what its name says. If it plays elsewhere: {ffmpeg_line(path, '_converted.wav')}"
        if (conversion := converter_of(path.name)) is not None:
            way_out = f"; {conversion[1]} makes a file of it that can be read"
        raise AudioError(f"{path}: cannot be read as audio ({reason}){way_out}") from None


def window_of(path: Path, info: AudioInfo, start_ms: int, end_ms: int) -> AudioWindow:
    """Return the frames of `path` that make up the chunk `[start_ms, end_ms)`.

    A file that is at least `end_ms` long is the recording, and the window is read from it; one that is as long as the
    window is the chunk itself. One frame of difference is allowed for rounding; a chunk's own file may also be up to
    1 ms shorter, as of programs that cut times off at whole ms.

    Raises
    ------
    AudioError
        When the file is neither; the text gives both lengths.
    """
    start, end = frame_at(start_ms, info.rate), frame_at(end_ms, info.rate)
    is_file = _is_wav(path) and info.extent is None
    if end <= info.frames + 1:
        stop = min(end, info.frames)
        return AudioWindow(path, start, stop - start, is_file and start == 0 and stop == info.frames, info)
    if -1 <= end - start - info.frames <= 1 + info.rate // 1000:
        return AudioWindow(path, 0, info.frames, is_file, info)
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
    samples, stream_info = read_frames(window, "float32")
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

    samples, info = read_frames(window, None)
    subtype = info.subtype if info.subtype in _EXACT_DTYPES else "FLOAT"
    buffer = io.BytesIO()
    container = "RF64" if samples.nbytes > _WAV_LIMIT_BYTES else "WAV"
    sf.write(buffer, samples, info.rate, subtype=_WAV_SUBTYPES.get(subtype, subtype), format=container)
    return _without_time_of_writing(buffer.getvalue()) if subtype in ("FLOAT", "DOUBLE") else buffer.getvalue()


def require_unchanged(window: AudioWindow) -> None:
    """Refuse a file that is not the one a window was made from, before another program reads it.

    AudioError when its rate, channels, length or sample format differ, or it cannot be read.
    """
    read_frames(replace(window, frames=0), None)


def not_finite(window: AudioWindow) -> AudioError:
    """Return the error of a window whose samples are not all finite."""
    rate = window.source.rate
    start_s, end_s = window.start_frame / rate, (window.start_frame + window.frames) / rate
    return AudioError(f"{window.path}: samples are not finite (NaN or infinite) between {start_s:g} s and {end_s:g} s")


def _without_time_of_writing(wav: bytes) -> bytes:
    """Zero the timestamp of the PEAK chunk that libsndfile adds to float WAVs: hashes must not depend on the clock."""
    at = wav.find(b"PEAK", 0, 128)
    if at < 0:
        return wav
    # PEAK, size, version: then four bytes of seconds since 1970.
    return wav[: at + 12] + bytes(4) + wav[at + 16 :]


def _can_read(stream: Any, frame: int) -> bool:
    import soundfile as sf

    try:
        stream.seek(frame)
        return len(stream.read(1)) == 1
    except (sf.LibsndfileError, AssertionError):  # libsndfile's own word, and soundfile's of a length that is wrong
        return False


@contextlib.contextmanager
def _open(path: Path, source: AudioInfo | None = None) -> Iterator[sf.SoundFile]:
    """Open a file, or the part of it that is its samples, without a copy."""
    import soundfile as sf

    if source is None or source.extent is None:
        with sf.SoundFile(path) as stream:
            yield stream
        return
    with path.open("rb") as file:
        if source.extent.start == 0:
            view = as_flac(file, source.extent, source.frames)
            how: dict[str, Any] = {}
        else:
            view = as_raw(file, source.extent)
            how = {"format": "RAW", "samplerate": source.rate, "channels": source.channels}
            how |= {"subtype": source.subtype, "endian": "BIG" if source.extent.big_endian else "LITTLE"}
        with sf.SoundFile(view, **how) as stream:
            yield stream


def _info_of(stream: sf.SoundFile) -> AudioInfo:
    return AudioInfo(stream.frames, stream.samplerate, stream.channels, stream.subtype)


def read_frames(window: AudioWindow, dtype: str | None, finite: bool = True) -> tuple[np.ndarray[Any, Any], AudioInfo]:
    """Return a window as samples of numpy's type `dtype`, shape `(frames, channels)`, and what the file is.

    None is the type that gives the same bytes when written again. With `finite`, samples that are not are refused.

    Raises
    ------
    AudioError
        When the file has fewer frames than the window, or is not the one that the window was made from.
    """
    import numpy as np

    source, file = window.source, window.file
    _require_content(file)
    with _decoding(window.path), _open(file, source) as stream:
        info = _info_of(stream)
        if (source.extent is not None and source.extent.file_bytes != file.stat().st_size) or info != replace(
            source, frames=source.claimed_frames or source.frames, claimed_frames=None, extent=None, note=""
        ):
            raise AudioError(
                f"{window.path}: the file changed while the run was under way: it was {source}, and is {info}"
            )
        samples = _frames(stream, window, dtype or _EXACT_DTYPES.get(stream.subtype, "float32"))
    if window.channels is not None:
        samples = samples[:, window.channels]
    if finite and samples.dtype.kind == "f" and not np.isfinite(samples).all():
        raise not_finite(window)
    if window.mean:
        mean = samples.mean(axis=1, keepdims=True, dtype=np.float64)
        samples = (mean if samples.dtype.kind == "f" else np.rint(mean)).astype(samples.dtype)
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


def _is_wav(path: Path) -> bool:
    return path.suffix.lower() == ".wav"


def _require_content(path: Path) -> None:
    """Refuse a file that is not here, is a folder or is empty: libsndfile would not give the reason."""
    if content_is_elsewhere(path):
        raise AudioError(f"{path}: the content of the audio file is not here; {get_line([path])}")
    if not path.exists():
        raise AudioError(f"{path}: {'is a link to nothing' if path.is_symlink() else 'no such audio file'}")
    if path.is_dir():
        raise AudioError(f"{path}: is a folder, not an audio file")
    size = path.stat().st_size
    if size == 0:
        raise AudioError(f"{path}: the audio file is empty")
