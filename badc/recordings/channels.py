"""Which channels of a recording are analysed: all, one, their mean or the loudest, and none that is not finite."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from badc.recordings.audio import AudioError, AudioInfo, AudioWindow, not_finite, read_frames

_FLOATS = ("FLOAT", "DOUBLE")


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
    if source.subtype in _FLOATS or (choice == "loudest" and len(wanted) > 1):
        samples, _ = read_frames(window, "float64", finite=False)
        kept = [channel for channel in wanted if np.isfinite(samples[:, channel]).all()]
        if not kept:
            raise not_finite(window)
        if len(kept) < len(wanted):
            lost = [str(channel + 1) for channel in wanted if channel not in kept]
            note = f"left out, because samples are not finite: channel {', '.join(lost)} of {source.channels}"
        if choice == "loudest":
            kept = [max(kept, key=lambda channel: float(samples[:, channel].std()))]
            note = "; ".join([*filter(None, [note]), f"the loudest channel is {kept[0] + 1} of {source.channels}"])
    mean = choice == "mean" and len(kept) > 1
    if len(kept) == source.channels and not mean:
        return window, note
    return replace(window, whole_file=False, channels=tuple(kept), mean=mean), note


def require_channel(path: Path, info: AudioInfo, choice: str | None) -> None:
    """Raise AudioError if a file does not have the channel of this number (see `with_channels`)."""
    if choice is not None and choice.isdigit() and int(choice) > info.channels:
        raise AudioError(f"{path}: has no channel {choice}, but {info} (--channel)")
