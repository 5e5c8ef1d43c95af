"""`badc report history` and `badc report phenology`: stations, species and time, for models and for a first answer."""

from __future__ import annotations

import sys

from badc.errors import numbered
from badc.reports.history.settings import HistorySettings, PhenologySettings
from flows.cli.console import show_ranking
from flows.cli.options import options_of


@options_of(HistorySettings)
def history(settings: HistorySettings) -> int:
    """Write detection histories for occupancy models: stations by visits with 1, 0 and NA, and the effort of each.

    NA is a visit without analysed audio, so a table of coverage is needed. One file for each species, and one long
    table of all: R's package unmarked takes them as they are. Exit codes: 0; 2 the request is wrong.
    """
    from badc.reports.history.history import write_history

    made = write_history(settings)
    for note in made.notes:
        print(f"badc: {note}", file=sys.stderr)
    show_ranking(made.species, "Species")
    print(
        f"{numbered(made.stations, 'station')} × {numbered(made.visits, 'visit')}: "
        f"{made.station_visits:,} with analysed audio, {made.effort_h:,.1f} h in all"
    )
    print(made.folder)
    return 0


@options_of(PhenologySettings)
def phenology(settings: PhenologySettings) -> int:
    """Write when and where species were found: first and last dates, share of stations, and species over effort.

    Stations and dates without analysed audio do not count, so a table of coverage is needed. Exit codes: 0; 2 the
    request is wrong.
    """
    from badc.reports.history.phenology import write_phenology

    made = write_phenology(settings)
    for note in made.notes:
        print(f"badc: {note}", file=sys.stderr)
    show_ranking(made.species, "Species")
    print(made.folder)
    return 0
