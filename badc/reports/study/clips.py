"""A detection to look at and listen to: a passage of its recording, as a spectrogram and a small MP3."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from badc.recordings.audio import AudioError, AudioInfo, frame_at, probe, read_samples, window_of
from badc.recordings.channels import mean_of, with_channels
from badc.recordings.locate import locate_audio
from badc.reports.study.data import Sighting

if TYPE_CHECKING:
    import numpy as np

MARGIN_MS = 1000  # what is heard before and after the detection
_LONGEST_MARKED_MS = 10_000
_UNKNOWN_LENGTH_MS = 3000
_NOT_LOCATED = "{}: the detections table does not say where the detection is"
_COLUMNS = 480
_ROWS = 192
_WINDOW_S = 0.02
_BIRDS_TOP_HZ = 12_000
_ULTRASOUND_RATE_HZ = 96_000
_SCALE_FROM_HZ = 300  # wind and handling below would hide the bird above
_LEAST_RANGE_DB = 25.0
_MP3_RATE_HZ = 32_000
_MP3_RATES_HZ = (16_000, 22_050, 24_000, 32_000)
_PEAK = 0.5
_MOST_GAIN = 100.0  # 40 dB; louder would only be noise
_FADE_S = 0.02


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a recording around a detection."""

    samples: np.ndarray[Any, Any]  # mono, float32, shape `(frames,)`
    rate: int  # Hz
    marked_s: tuple[float, float]  # start and end of the detection, from the start of the passage

    @property
    def length_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.rate


@dataclass(frozen=True, slots=True)
class Spectrogram:
    """Loudness over time and frequency."""

    levels: np.ndarray[Any, Any]  # uint8, `(rows, columns)`, 0 quiet to 255 loud; the first row is the lowest frequency
    top_hz: float  # at the top edge
    length_s: float


def open_recording(sighting: Sighting, bases: Sequence[Path]) -> tuple[Path, AudioInfo]:
    """Return the audio file of a detection, and what it is; several passages of it need that only once.

    Raises
    ------
    AudioError
        If the recording is missing or unreadable, or the table does not name it.
    """
    if sighting.source_path is None:
        raise AudioError(_NOT_LOCATED.format(sighting.recording_id))
    path = locate_audio(sighting.source_path, sighting.dataset_root, bases)
    return path, probe(path, salvage=True)


def read_passage(
    sighting: Sighting,
    bases: Sequence[Path],
    margin_ms: int = MARGIN_MS,
    opened: tuple[Path, AudioInfo] | None = None,
) -> Passage:
    """Read a detection and `margin_ms` before and after it, as far as the recording has them.

    A detection of more than ten seconds is cut off; one without an end is taken to be three seconds long. `opened` is
    the result of `open_recording`, if it is there.

    Raises
    ------
    AudioError
        If the recording is missing, unreadable or not the one analysed, or the table does not locate the detection.
    """
    if sighting.timestamp_ms is None:
        raise AudioError(_NOT_LOCATED.format(sighting.recording_id))
    path, info = opened or open_recording(sighting, bases)
    start_ms = sighting.chunk_start_ms or 0
    end_ms = sighting.chunk_end_ms if sighting.chunk_end_ms is not None else info.duration_ms
    chunk = window_of(path, info, start_ms, end_ms)
    length_ms = _UNKNOWN_LENGTH_MS if sighting.end_ms is None else sighting.end_ms - sighting.timestamp_ms
    length_ms = min(max(length_ms, 0), _LONGEST_MARKED_MS)
    marked = chunk.start_frame + frame_at(sighting.timestamp_ms, info.rate)
    marked_end = min(marked + frame_at(length_ms, info.rate), info.frames)
    if marked >= info.frames:
        raise AudioError(f"{path}: it ends before the detection at {start_ms + sighting.timestamp_ms} ms")
    margin = frame_at(margin_ms, info.rate)
    first, last = max(0, marked - margin), min(info.frames, marked_end + margin)
    passage, _ = with_channels(replace(chunk, start_frame=first, frames=last - first, whole_file=False))
    samples, rate = read_samples(passage)
    mono = mean_of(samples)
    return Passage(mono, rate, ((marked - first) / rate, (marked_end - first) / rate))


def why_unread(error: AudioError | OSError, sighting: Sighting, bases: Sequence[Path]) -> str:
    """Return why a recording cannot be read, without the folders above the file: pages travel."""
    if isinstance(error, OSError):
        return error.strerror or "cannot be read"
    if sighting.source_path is None:
        return str(error)
    path = locate_audio(sighting.source_path, sighting.dataset_root, bases)
    return str(error).replace(str(path), path.name)


def spectrogram(passage: Passage) -> Spectrogram:
    """Return the spectrogram of a passage: Hann windows of about 20 ms, in dB, scaled to its own noise and peak.

    It reaches up to 12 kHz, or to half the rate for recordings with more than 96,000 samples a second, which are made
    for ultrasound.
    """
    import numpy as np

    size = 2 ** round(np.log2(passage.rate * _WINDOW_S))
    samples = passage.samples
    if len(samples) < size:
        samples = np.pad(samples, (0, size - len(samples)))
    hop = max(size // 16, -(-(len(samples) - size + 1) // _COLUMNS), 1)
    frames = np.lib.stride_tricks.sliding_window_view(samples, size)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(size), axis=1)) ** 2
    nyquist = passage.rate / 2
    top = nyquist if passage.rate > _ULTRASOUND_RATE_HZ else min(nyquist, _BIRDS_TOP_HZ)
    bins = max(1, round(top / nyquist * (power.shape[1] - 1)))
    power = power[:, :bins]
    group = -(-bins // _ROWS)
    power = np.add.reduceat(power, np.arange(0, bins, group), axis=1)
    decibel = 10 * np.log10(power + 1e-10).T
    lowest = min(round(_SCALE_FROM_HZ / top * len(decibel)), len(decibel) - 1)
    floor, peak = np.percentile(decibel[lowest:], (60, 99.9))
    scaled = (decibel - floor) / max(peak - floor, _LEAST_RANGE_DB)
    return Spectrogram((np.clip(scaled, 0, 1) * 255).astype(np.uint8), top, passage.length_s)


def webp_bytes(picture: Spectrogram) -> bytes:
    """Return a spectrogram as a grey WebP image, dark where it is loud, low frequencies at the bottom."""
    from PIL import Image

    buffer = io.BytesIO()
    # Method 6 takes three times as long, and saves a tenth of the bytes.
    Image.fromarray(255 - picture.levels[::-1]).save(buffer, "WEBP", quality=50, method=4)
    return buffer.getvalue()


def lossless_bytes(passage: Passage, form: str) -> bytes:
    """Return a passage as a mono FLAC or WAV (`form`) of 24 bits, with the rate and the loudness of its recording."""
    import numpy as np
    import soundfile as sf

    # In whole steps of 24 bits, so that the lowest bits of 16-bit recordings are 0, which FLAC leaves out.
    steps = np.clip(np.rint(passage.samples.astype(np.float64) * 2**23), -(2**23), 2**23 - 1).astype(np.int32) << 8
    buffer = io.BytesIO()
    sf.write(buffer, steps, passage.rate, subtype="PCM_24", format=form.upper())
    return buffer.getvalue()


def mp3_bytes(passage: Passage) -> bytes:
    """Return a passage as a mono MP3 of at most 32 kHz, its loudest sample raised to half of full scale.

    MP3 is the one small format that every browser plays.
    """
    import numpy as np
    import soundfile as sf
    import soxr

    rate = next((rate for rate in _MP3_RATES_HZ if rate == passage.rate), _MP3_RATE_HZ)
    samples = passage.samples
    if rate != passage.rate:
        samples = soxr.resample(samples, passage.rate, rate, quality="HQ")
    peak = float(np.abs(samples).max(initial=0.0))
    samples = samples * min(_PEAK / peak, _MOST_GAIN) if peak > 0 else samples
    fade = min(round(_FADE_S * rate), len(samples) // 2)
    if fade:  # a cut in mid-wave would click
        ramp = np.linspace(0, 1, fade)
        samples = np.concatenate([samples[:fade] * ramp, samples[fade:-fade], samples[-fade:] * ramp[::-1]])
    buffer = io.BytesIO()
    how = {"subtype": "MPEG_LAYER_III", "bitrate_mode": "VARIABLE", "compression_level": 0.7}
    sf.write(buffer, samples.astype(np.float32), rate, format="MP3", **how)
    return buffer.getvalue()
