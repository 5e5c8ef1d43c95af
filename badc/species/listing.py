"""`badc species-list`: the species to expect at a place, as a list that BirdNET takes."""

from __future__ import annotations

from badc.species.range_model import WHOLE_YEAR, RangeModel
from badc.species.settings import SpeciesListSettings


def species_at(settings: SpeciesListSettings) -> list[tuple[str, float]]:
    """Return the labels to expect (`Scientific name_Common name`) with their scores, the most likely first.

    Raises
    ------
    NotInstalledError
        When BirdNET, whose range model this is, is not installed.
    """
    model = RangeModel()
    scores = model.scores([settings.place])[0].tolist()
    found = [(label, score) for label, score in zip(model.labels, scores, strict=True)]
    return sorted((pair for pair in found if pair[1] >= settings.min_occurrence), key=lambda pair: -pair[1])


def described(settings: SpeciesListSettings, number: int) -> str:
    """Return in words what a list of so many species is of."""
    latitude, longitude, week = settings.place
    when = "over the whole year" if week == WHOLE_YEAR else f"in week {week} of 48"
    return (
        f"{number:,} birds with an occurrence of at least {settings.min_occurrence:g} at {latitude:g}, {longitude:g} "
        f"{when}, by BirdNET 2.4's range model; it knows no frogs, mammals or insects, so the list has none"
    )
