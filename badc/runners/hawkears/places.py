"""Where each recording was made, for HawkEars: the place of its station in a CSV of sites."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import orjson

from badc.detections.places import RecordingPlaces, Source
from badc.recordings.locate import dataset_of
from badc.recordings.sites import read_sites
from badc.system.paths import absolute

Coordinates = tuple[float, float]  # latitude and longitude in degrees (WGS 84)


def read_coordinates(sites: Path) -> tuple[tuple[str, Coordinates], ...]:
    """Return the stations of a CSV with their places, sorted; raises as `badc.recordings.sites.read_sites`."""
    return tuple(sorted((site.station, (site.latitude, site.longitude)) for site in read_sites(sites)))


def digest_of(places: tuple[tuple[str, Coordinates], ...]) -> str:
    """Return what stands in a fingerprint for stations and their places."""
    return f"sha256:{hashlib.sha256(orjson.dumps(places)).hexdigest()[:16]}"


class RecordingCoordinates:
    """The places of recordings, whose stations follow the rule of their dataset; outside of one, their names."""

    def __init__(self, places: Mapping[str, Coordinates]) -> None:
        self._places = places
        self._of_dataset = lru_cache(maxsize=8)(lambda dataset: RecordingPlaces(None, (), dataset))

    def of(self, recording_id: str, audio: Path) -> tuple[Coordinates | None, str]:
        """Return the place of a recording, and a sentence that says why it is not known, else nothing."""
        path = absolute(audio)
        dataset = dataset_of(path)
        source = Source(recording_id, str(path), (None if dataset is None else str(dataset),))
        rule = self._of_dataset(dataset) if dataset is not None else RecordingPlaces(None, [source], None)
        station = rule.of(source).station
        if station is None:
            return None, "HawkEars was given no place: the recording has no station"
        if station not in self._places:
            return None, f"HawkEars was given no place: --hawkears-sites does not list the station '{station}'"
        return self._places[station], ""
