"""The strongest detections of each species, to see and hear in the page itself."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from markupsafe import Markup

from badc.errors import numbered
from badc.recordings.audio import AudioError
from badc.reports.page.charts import spectrogram_chart
from badc.reports.page.sentences import long_date
from badc.reports.study.clips import mp3_bytes, read_passage, spectrogram, webp_bytes, why_unread
from badc.reports.study.data import Sighting
from badc.system.clock import duration_text

MOST_SPECIES = 30
EACH = 2
_MOST_GONE = 10


@dataclass(frozen=True, slots=True)
class Clip:
    """One detection in the page."""

    id: str  # by which the page links to it
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
    first: Mapping[str, str]  # the id of each species' first clip
    gone_words: str
    gone: tuple[str, ...]


def listening(
    strongest: Sequence[Sighting],
    weakest: Sequence[Sighting],
    bases: Sequence[Path],
    species_in_all: int,
    private: str = "",
) -> Listening:
    """Read the detections from their recordings; those that cannot be read are named, with the reason.

    `strongest` are grouped by species; of `weakest` there is one for each. The audio may be in any of the folders
    `bases` (see `badc.recordings.locate.locate_audio`). `species_in_all` counts the species of the whole report.
    `private` says what was left out for privacy.
    """
    gone: list[str] = []
    clips: list[Clip] = []
    first: dict[str, str] = {}
    number = 0
    for label, group in groupby(strongest, key=lambda sighting: sighting.label):
        number += 1
        best = list(group)
        last = [one for one in weakest if one.label == label and one not in best]
        titles = [label, *[f"{label}, another recording"] * (len(best) - 1), f"{label}, the weakest that counts"]
        for sighting, title in zip([*best, *last], titles, strict=False):
            try:
                clips.append(_clip(sighting, bases, f"clip-{len(clips) + 1}", title))
            except (AudioError, OSError) as error:
                gone.append(f"{label}, {sighting.recording_id}: {why_unread(error, sighting, bases)}")
            else:
                first.setdefault(label, clips[-1].id)
    words = [
        "The detection of each species with the highest confidence, the highest one from another recording, and the "
        "one with the lowest confidence that counts here. The frame marks the time of the detection; loudness is "
        "raised so that all clips can be heard."
    ]
    if species_in_all > number:
        words.append(
            f"The {number} most often detected species; the other {species_in_all - number:,} have no clips here."
        )
    if private:
        words.append(private)
    shown = gone[:_MOST_GONE]
    if len(gone) > len(shown):
        shown.append(f"… and {len(gone) - len(shown):,} more")
    what = f"{numbered(len(gone), 'detection')} could not be read from the recordings." if gone else ""
    return Listening(tuple(words), tuple(clips), first, what, tuple(shown))


def _clip(sighting: Sighting, bases: Sequence[Path], id_: str, title: str) -> Clip:
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
    return Clip(id_, title, f"Clip: {name}", " · ".join(caption), chart, _address("audio/mpeg", mp3_bytes(passage)))


def _address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
