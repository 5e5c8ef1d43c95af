"""Which channels of a recording are analysed: all, one, their mean or the loudest, and none that is not finite."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from badc.recordings.audio import AudioError, AudioInfo, AudioWindow, not_finite, read_frames, read_samples

if TYPE_CHECKING:
    import numpy as np

_FLOATS = ("FLOAT", "DOUBLE")
_LEAST_LEVEL = 1e-4  # three steps of 16 bits; what is quieter has nothing to lose
_LEAST_KEPT = 0.1
_BLOCK_FRAMES = 16_384


def with_channels(window: AudioWindow, choice: str | None = None) -> tuple[AudioWindow, str]:
    """Return a window with the channels to analyse, and what a person should know about them.

    `choice` is `mean`, `loudest`, the number of a channel from 1 on, or None for all of them. Channels with samples
    that are not finite are left out.

    Raises
    ------
    AudioError
        When no channel is left, there is none of that number, or the file cannot be read.
    """
    import numpy as np

    source = window.source
    wanted = list(range(source.channels))
    if choice is not None and choice.isdigit():
        require_channel(window.path, source, choice)
        wanted = [int(choice) - 1]
    kept, note = wanted, ""
    if source.subtype in _FLOATS or (choice in ("loudest", "mean") and len(wanted) > 1):
        samples, _ = read_frames(window, "float64", finite=False)
        kept = [channel for channel in wanted if np.isfinite(samples[:, channel]).all()]
        if not kept:
            raise not_finite(window)
        if len(kept) < len(wanted):
            lost = [str(channel + 1) for channel in wanted if channel not in kept]
            note = f"left out, because samples are not finite: channel {', '.join(lost)} of {source.channels}"
        if choice == "mean":
            note = "; ".join(filter(None, [note, cancelling(samples[:, kept])]))
        if choice == "loudest":
            kept = [max(kept, key=lambda channel: float(samples[:, channel].std()))]
            note = "; ".join([*filter(None, [note]), f"the loudest channel is {kept[0] + 1} of {source.channels}"])
    mean = choice == "mean" and len(kept) > 1
    if len(kept) == source.channels and not mean:
        return window, note
    return replace(window, whole_file=False, channels=tuple(kept), mean=mean), note


def cancelling(samples: np.ndarray[Any, Any]) -> str:
    """Return a note if channels cancel each other in their mean, as with one plug wired the wrong way round, else "".

    `samples` are in -1..1, of shape `(frames, channels)`.
    """
    channels = samples.shape[1]
    if channels < 2:
        return ""
    together = _covariance(samples)
    powers = together.diagonal()
    if powers.max() < _LEAST_LEVEL**2:
        return ""
    # The sum of channels that have nothing in common has the sum of their powers, and so has one beside silent ones.
    kept = together.sum() / powers.sum()
    if kept >= _LEAST_KEPT:
        return ""
    return "the channels cancel each other, so their mean is nearly silent (--channel 1, or loudest, analyses one)"


def _covariance(samples: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the covariance of channels, of shape `(channels, channels)`.

    In blocks that stay in the processor's cache, and by matrix products: NumPy takes twenty times as long for variances
    along the longer axis.
    """
    import numpy as np

    channels = samples.shape[1]
    products, sums = np.zeros((channels, channels)), np.zeros(channels)
    for first in range(0, len(samples), _BLOCK_FRAMES):
        block = samples[first : first + _BLOCK_FRAMES].astype(np.float64)
        products += block.T @ block
        sums += np.ones(len(block)) @ block
    means = sums / max(len(samples), 1)
    return np.asarray(products / max(len(samples), 1) - np.outer(means, means))


def mono_at(window: AudioWindow, rate_hz: int) -> tuple[np.ndarray[Any, Any], str]:
    """Return the mean of a window's channels as float32 of shape `(frames,)` at a rate, and a note if they cancel."""
    import numpy as np
    import soxr

    samples, rate = read_samples(window)
    mono = mean_of(samples)
    if rate != rate_hz:
        mono = soxr.resample(mono, rate, rate_hz, quality="HQ")
    return np.asarray(mono, dtype=np.float32), cancelling(samples)


def mean_of(samples: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the mean of channels as float32, of shape `(frames,)`, from samples of shape `(frames, channels)`."""
    import numpy as np

    channels = samples.shape[1]
    if channels == 1:
        return np.asarray(samples[:, 0], dtype=np.float32)
    # Ten times as fast as NumPy's mean along the shorter axis, and the same for two channels.
    return np.asarray(samples @ np.full(channels, 1 / channels, samples.dtype), dtype=np.float32)


def require_channel(path: Path, info: AudioInfo, choice: str | None) -> None:
    """Raise AudioError if a file does not have the channel of this number (see `with_channels`)."""
    if choice is not None and choice.isdigit() and int(choice) > info.channels:
        raise AudioError(f"{path}: has no channel {choice}, but {info} (--channel)")
