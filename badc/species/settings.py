"""Which species to expect, as options: where, when, and from which score on."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from badc.settings.model import Settings
from badc.species.range_model import DEFAULT_MIN_OCCURRENCE, WEEKS, WHOLE_YEAR, week_of


def _day(text: str | None) -> str | None:
    if text is not None:
        try:
            date.fromisoformat(text)
        except ValueError:
            raise ValueError(f"'{text}' is not a date; write it as 2023-06-01") from None
    return text


class SpeciesListSettings(Settings):
    """Settings of `badc species-list`."""

    lat: Annotated[
        float | None, Field(ge=-90, le=90, description="Latitude in degrees (WGS 84), north positive. Needed.")
    ] = None
    lon: Annotated[
        float | None, Field(ge=-180, le=180, description="Longitude in degrees (WGS 84), east positive. Needed.")
    ] = None
    week: Annotated[
        int | None,
        Field(
            ge=1,
            le=WEEKS,
            description="Week of the year, four a month: 21 is the first week of June. Default: the whole year.",
        ),
    ] = None
    date: Annotated[
        str | None, AfterValidator(_day), Field(description="A date in place of the week, such as 2023-06-01.")
    ] = None
    min_occurrence: Annotated[
        float, Field(ge=0, le=1, description="Leave out species whose score there and then is below this.")
    ] = DEFAULT_MIN_OCCURRENCE
    output: Annotated[Path | None, Field(description="Write the list to this file instead of printing it.")] = None

    @model_validator(mode="after")
    def _check(self) -> SpeciesListSettings:
        if self.lat is None or self.lon is None:
            raise ValueError("--lat and --lon are needed, in degrees: --lat 55.1 --lon -115.2")
        if self.week is not None and self.date is not None:
            raise ValueError("--week and --date say the same thing; give one of them")
        return self

    @property
    def place(self) -> tuple[float, float, int]:
        """Latitude, longitude and week, as `badc.species.range_model.RangeModel.scores` takes them."""
        assert self.lat is not None
        assert self.lon is not None
        week = week_of(date.fromisoformat(self.date)) if self.date is not None else self.week
        return self.lat, self.lon, WHOLE_YEAR if week is None else week
