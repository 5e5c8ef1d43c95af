"""The strongest detections of each species, to see and hear in the page itself."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from markupsafe import Markup

from badc.errors import numbered
from badc.recordings.audio import AudioError
from badc.recordings.locate import locate_audio
from badc.reports.page.charts import spectrogram_chart
from badc.reports.page.sentences import long_date
from badc.reports.study.clips import mp3_bytes, read_passage, spectrogram, webp_bytes
from badc.reports.study.data import Sighting
from badc.system.clock import duration_text

MOST_SPECIES = 30
EACH = 2
_MOST_GONE = 10


@dataclass(frozen=True, slots=True)
class Clip:
    """One detection in the page."""

    title: str  # the species
    name: str  # for those who do not see the spectrogram
    caption: str  # where and when it was
    chart: Markup
    sound: str  # a `data:` address


@dataclass(frozen=True, slots=True)
class Listening:
    """The section with the clips, grouped by species; `gone` lists what could not be read, and why."""

    words: tuple[str, ...]
    clips: tuple[Clip, ...]
    gone_words: str
    gone: tuple[str, ...]


def listening(sightings: Sequence[Sighting], bases: Sequence[Path], species_in_all: int) -> Listening:
    """Read the detections from their recordings; those that cannot be read are named, with the reason.

    `sightings` are grouped by species. The audio may be in any of the folders `bases` (see
    `badc.recordings.locate.locate_audio`). `species_in_all` counts the species of the whole report.
    """
    gone: list[str] = []
    clips: list[Clip] = []
    number = 0
    for label, group in groupby(sightings, key=lambda sighting: sighting.label):
        number += 1
        for place, sighting in enumerate(group):
            try:
                clips.append(_clip(sighting, bases, f"{label}, another recording" if place else label))
            except (AudioError, OSError) as error:
                gone.append(f"{label}, {sighting.recording_id}: {_reason(error, sighting, bases)}")
    words = [
        "The detection of each species with the highest confidence, and the highest one from another recording. The "
        "frame marks the time of the detection; loudness is raised so that all clips can be heard."
    ]
    if species_in_all > number:
        words.append(
            f"The {number} most often detected species; the other {species_in_all - number:,} have no clips here."
        )
    shown = gone[:_MOST_GONE]
    if len(gone) > len(shown):
        shown.append(f"… and {len(gone) - len(shown):,} more")
    what = f"{numbered(len(gone), 'detection')} could not be read from the recordings." if gone else ""
    return Listening(tuple(words), tuple(clips), what, tuple(shown))


def _clip(sighting: Sighting, bases: Sequence[Path], title: str) -> Clip:
    passage = read_passage(sighting, bases)
    picture = spectrogram(passage)
    confidence = f"confidence {sighting.confidence:.2f}"
    caption = [confidence[0].upper() + confidence[1:]]
    if sighting.station:
        caption.append(sighting.station)
    if sighting.local_time is not None:
        caption.append(f"{long_date(sighting.local_time.date())}, {sighting.local_time:%H:%M:%S}")
    at_s = ((sighting.chunk_start_ms or 0) + (sighting.timestamp_ms or 0)) / 1000
    caption.append(f"{sighting.recording_id} at {duration_text(at_s)}")
    name = f"{sighting.label}, {confidence}, {sighting.recording_id} at {duration_text(at_s)}"
    image = _address("image/webp", webp_bytes(picture))
    chart = spectrogram_chart(picture, passage, image, f"Spectrogram: {name}")
    return Clip(title, f"Clip: {name}", " · ".join(caption), chart, _address("audio/mpeg", mp3_bytes(passage)))


def _address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _reason(error: AudioError | OSError, sighting: Sighting, bases: Sequence[Path]) -> str:
    """Return why a recording cannot be read, without the folders above the file: the page travels."""
    if isinstance(error, OSError):
        return error.strerror or "cannot be read"
    if sighting.source_path is None:
        return str(error)
    path = locate_audio(sighting.source_path, sighting.dataset_root, bases)
    return str(error).replace(str(path), path.name)
