"""`badc species-list`: the birds to expect at a place and time."""

from __future__ import annotations

import sys

from badc.species.settings import SpeciesListSettings
from flows.cli.options import options_of


@options_of(SpeciesListSettings)
def species_list(settings: SpeciesListSettings) -> int:
    """Print the birds to expect at a place, and in a week of the year, the most likely first.

    BirdNET 2.4's range model says what is likely. The list is what `badc infer run --use-birdnet --species-list FILE`
    takes, and can be edited: `badc species-list --lat 55.1 --lon -115.2 --week 21 --output boreal.txt`.

    A cut loses what the model underestimates. To mark such detections rather than lose them, analyse without a list,
    and give `badc infer aggregate` the stations' coordinates (--sites). Exit codes: 0; 2 the request is wrong, or
    BirdNET is not installed.
    """
    from badc.species.listing import described, species_at
    from badc.system import atomic
    from badc.system.paths import absolute

    found = species_at(settings)
    text = "".join(f"{label}\n" for label, _ in found)
    print(f"badc: {described(settings, len(found))}", file=sys.stderr)
    if settings.output is None:
        print(text, end="")
    else:
        atomic.write_text(absolute(settings.output), text)
        print(settings.output)
    return 0
