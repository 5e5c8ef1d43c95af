"""The page to check clips with: one HTML file that keeps the verdicts in the browser and saves them as a CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import orjson
from markupsafe import Markup

from badc import __version__
from badc.reports.page.markup import page_style, template
from badc.reports.page.sentences import long_date
from badc.reports.review.draw import Drawn
from badc.reports.study.words import clean
from badc.system.clock import duration_text


@dataclass(frozen=True, slots=True)
class Picture:
    """A clip's files, below the folder of the review, and how the page shows them."""

    audio: str
    spectrogram: str
    length_s: float
    marked_s: tuple[float, float]  # the detection, from the start of the clip
    top_hz: float  # at the spectrogram's top edge
    peak: float  # the loudest sample, in 0..1


def review_page(
    title: str,
    sample: str,
    drawn: Sequence[Drawn],
    pictures: Sequence[Picture | str],
    labels: Sequence[str],
    privacy: str,
) -> str:
    """Return the page; `pictures` has why a clip is missing, where it is; `labels` complete a species that is typed.

    `sample` is what the browser keeps the verdicts under, and `privacy` what was left out of the sample.
    """
    missing = [
        f"{one.sighting.label}, {one.sighting.recording_id}: {picture}"
        for one, picture in zip(drawn, pictures, strict=True)
        if isinstance(picture, str)
    ]
    clips = [_clip(one, picture) for one, picture in zip(drawn, pictures, strict=True) if not isinstance(picture, str)]
    data = {"sample": sample, "clips": clips, "labels": list(labels)}
    # In a script, only `<` could end it or begin a comment.
    script = (
        orjson.dumps(data).decode().replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    )
    return template("badc.reports.review", "review.html.j2").render(
        title=title,
        clips=len(clips),
        missing=missing,
        privacy=privacy,
        version=__version__,
        style=page_style(),
        own_style=Markup(template("badc.reports.review", "review.css").render()),  # noqa: S704 - ours
        data=Markup(script),  # noqa: S704 - see above
        script=Markup(template("badc.reports.review", "review.js").render()),  # noqa: S704 - ours
    )


def _clip(one: Drawn, picture: Picture) -> dict[str, object]:
    s = one.sighting
    where = [clean(s.station)] if s.station else []
    if s.local_time is not None:
        where.append(f"{long_date(s.local_time.date())}, {s.local_time:%H:%M:%S}")
    where.append(f"{clean(s.recording_id)} at {duration_text(one.start_ms / 1000)}")
    name = "" if s.label_name is None or s.label_name.casefold() == s.label.casefold() else s.label_name
    return {
        "id": one.clip,
        "label": s.label,
        "name": name,
        "score": s.confidence,
        "recording": s.recording_id,
        "start": one.start_ms,
        "end": one.end_ms,
        "where": " · ".join(where),
        "length": round(picture.length_s, 3),
        "from": round(picture.marked_s[0], 3),
        "to": round(picture.marked_s[1], 3),
        "top": picture.top_hz,
        "peak": round(picture.peak, 5),
        "picture": picture.spectrogram,
    }
