"""A small study for trying BADC: three stations in the boreal forest of Alberta, two nights and their dawns.

Its recordings are made of real clips, at other places and volumes in each, in quiet, wind or silence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from badc.recordings.sample import WARBLERS, YELLOWTHROAT, Clip, fetch_clip
from badc.system import atomic
from badc.system.paths import require_inside

_RATE_HZ = 32_000
_LENGTH_S = 21  # whole windows of BirdNET's
_QUIET, _WIND, _SILENCE = 0.0008, 0.01, 0.0  # of full scale
SITES = """\
station,latitude,longitude,timezone
Spruce,55.301,-114.842,America/Edmonton
Pond,55.322,-114.790,America/Edmonton
Burn,55.288,-114.731,America/Edmonton
"""


@dataclass(frozen=True, slots=True)
class _Heard:
    """Some seconds of a clip, from one second on, and where and how loud they are in a recording."""

    clip: Clip
    from_s: float
    seconds: float
    at_s: float
    volume: float = 1.0


_Recording = tuple[float, Sequence[_Heard]]
_RECORDINGS: Mapping[str, _Recording] = {
    "Spruce/Spruce_20230608_233000": (_QUIET, ()),
    "Spruce/Spruce_20230609_050500": (_QUIET, (_Heard(WARBLERS, 0, 10, 3),)),
    "Spruce/Spruce_20230610_050500": (_QUIET, (_Heard(WARBLERS, 3, 6, 12, 0.7), _Heard(WARBLERS, 0, 3, 3, 0.8))),
    "Pond/Pond_20230608_233000": (_SILENCE, ()),
    "Pond/Pond_20230609_050500": (_QUIET, (_Heard(YELLOWTHROAT, 0, 5.9, 0), _Heard(YELLOWTHROAT, 0, 3, 12, 0.4))),
    "Pond/Pond_20230609_233000": (_WIND, ()),
    "Pond/Pond_20230610_050500": (_QUIET, (_Heard(YELLOWTHROAT, 0, 5.9, 9, 0.6),)),
    "Burn/Burn_20230609_050500": (_WIND, (_Heard(YELLOWTHROAT, 0, 3, 6, 0.8),)),
    "Burn/Burn_20230609_233000": (_WIND, ()),
    "Burn/Burn_20230610_050500": (_QUIET, (_Heard(WARBLERS, 3, 3, 6, 0.9), _Heard(YELLOWTHROAT, 0, 3, 15, 0.5))),
}


def write_demo_study(folder: Path) -> None:
    """Write the recordings and `sites.csv` of the study, apart from those that are there.

    Raises
    ------
    RequestError
        When a folder of it is a link that leads elsewhere.
    BadcError
        As `badc.recordings.sample.fetch_clip`.
    """
    missing = {folder / f"{name}.flac": made_of for name, made_of in _RECORDINGS.items()}
    missing = {path: made_of for path, made_of in missing.items() if not path.exists()}
    for path in missing:
        require_inside(folder, path)
    clips = {clip: _samples(fetch_clip(clip)) for clip in (WARBLERS, YELLOWTHROAT)} if missing else {}
    for number, (path, made_of) in enumerate(missing.items()):
        _write(path, made_of, clips, number)
    if not (sites := folder / "sites.csv").exists():
        atomic.write_text(sites, SITES)


def _samples(clip: Path) -> Any:
    """Return a clip's samples at the study's rate, from -1 to 1."""
    import soundfile as sf
    import soxr

    samples, rate = sf.read(clip, dtype="float32")
    return soxr.resample(samples, rate, _RATE_HZ)


def _write(path: Path, made_of: _Recording, clips: Mapping[Clip, Any], seed: int) -> None:
    import numpy as np
    import soundfile as sf

    noise, heard = made_of
    hiss = np.random.default_rng(seed).normal(0, noise, _LENGTH_S * _RATE_HZ).astype(np.float32)
    samples = np.convolve(hiss, np.hanning(128).astype(np.float32) / 8, "same")  # low, as that of wind is
    for part in heard:
        begin = round(part.from_s * _RATE_HZ)
        piece = clips[part.clip][begin : begin + round(part.seconds * _RATE_HZ)] * part.volume
        at = round(part.at_s * _RATE_HZ)
        samples[at : at + len(piece)] += piece
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replacing(path) as temporary:
        sf.write(temporary, np.clip(samples, -1, 1), _RATE_HZ, format="FLAC", subtype="PCM_16")
