"""BirdNET's range model: its scores, its weeks, and the labels of which it knows nothing."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from badc.species.birdnet_files import read_labels
from badc.species.outside_range_model import OUTSIDE
from badc.species.range_model import WHOLE_YEAR, RangeModel, week_of

pytest.importorskip("ai_edge_litert", reason="the extra birdnet is not installed")
pytestmark = pytest.mark.birdnet
SLAVE_LAKE = (55.1, -115.2)


@pytest.fixture(scope="module")
def model() -> RangeModel:
    return RangeModel()


def test_a_month_has_four_weeks_and_the_last_one_is_longer() -> None:
    starts = [week_of(date(2023, 1, day)) for day in (1, 7, 8, 14, 15, 21, 22, 31)]
    assert starts == [1, 1, 2, 2, 3, 3, 4, 4]
    assert [week_of(date(2024, 2, 29)), week_of(date(2023, 6, 1)), week_of(date(2023, 12, 31))] == [8, 21, 48]


def test_birds_of_the_boreal_forest_are_likely_there_and_those_of_europe_are_not(model: RangeModel) -> None:
    # As BirdNET's own tools have them there: 134 species from 0.03 on, Tennessee Warbler 0.60.
    names = ("Tennessee Warbler", "Blackburnian Warbler", "Song Thrush")
    places = [place for place in model.find((name,) for name in names) if place is not None]
    june = model.scores([(*SLAVE_LAKE, 21)], places)[0].tolist()
    assert june == pytest.approx([0.600235, 0.020647, 0.000003], abs=2e-6)
    everything = model.scores([(*SLAVE_LAKE, 21), (*SLAVE_LAKE, WHOLE_YEAR)])
    assert (everything >= 0.03).sum(axis=1).tolist() == [134, 231]
    assert everything.shape == (2, len(model.labels))


def test_many_places_at_once_have_the_scores_of_each_alone(model: RangeModel) -> None:
    places = [(40 + n / 20, -120 + n / 10, n % 48 + 1) for n in range(300)]  # more than one call takes
    done: list[int] = []
    together = model.scores(places, range(50), done.append)
    assert np.allclose(
        together[::37], np.vstack([model.scores([place], range(50)) for place in places[::37]]), atol=1e-5
    )
    assert done == [256, 300]


def test_a_species_is_known_by_its_scientific_name_else_by_its_common_one(model: RangeModel) -> None:
    def label(*names: str | None) -> str | None:
        (place,) = model.find([names])
        return None if place is None else model.labels[place]

    assert label("Swainson\u2019s thrush", "SWTH", None) == "Catharus ustulatus_Swainson's Thrush"
    assert label("Catharus USTULATUS") == "Catharus ustulatus_Swainson's Thrush"
    assert label("Turdus philomelos", "Turdus philomelos", "American Robin") == "Turdus philomelos_Song Thrush"
    assert label("SWTH", None) is None


def test_a_coyote_is_not_unlikely_but_unknown(model: RangeModel) -> None:
    assert model.find([("Coyote",), ("Human vocal",), ("Wood Frog",), ("Red Squirrel",)]) == [None] * 4
    assert {label.partition("_")[0] for label in read_labels()} >= OUTSIDE
    assert len(model.labels) == len(read_labels()) - len(OUTSIDE)


@pytest.mark.slow
@pytest.mark.long
def test_what_counts_as_unknown_is_what_the_model_expects_nowhere() -> None:
    everywhere = [
        (float(latitude), float(longitude), week)
        for latitude in range(-60, 80)
        for longitude in range(-180, 180)
        for week in (WHOLE_YEAR, 20, 40)
    ]
    every = RangeModel(outside=frozenset())
    highest = np.zeros(len(every.labels))
    for first in range(0, len(everywhere), 5000):
        highest = np.maximum(highest, every.scores(everywhere[first : first + 5000]).max(axis=0))
    nowhere = {label.partition("_")[0] for label, score in zip(every.labels, highest, strict=True) if score < 0.03}
    assert nowhere == OUTSIDE
