"""Reports on detections: counts, rankings, rates, databases and pages from the tables of `badc.detections.aggregate`.

For notebooks and scripts, what gives pandas DataFrames can be imported from here: `load_detections`, `load_coverage`,
`load_effort` and `load_runs` read the tables, `summary` counts, and `open_bundle` opens the database of a bundle. They
are in `badc.reports.files.frames`.

>>> from badc.reports import summary  # doctest: +SKIP
>>> summary("x.parquet", by=["station", "label"], complete=True)  # doctest: +SKIP

Each command `badc report …` is one function: `badc.reports.rankings.summary.summarise`,
`badc.reports.rankings.quicklook.quicklook`, `badc.reports.rankings.overview.parquet_report`,
`badc.reports.files.database.make_database`, `badc.reports.bundle.make_bundle`,
`badc.reports.rankings.rollup.roll_up`, `badc.reports.history.history.write_history` and
`badc.reports.history.phenology.write_phenology`. For your own SQL, `badc.reports.query.tables.open_tables` gives the
tables as views.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from badc.reports.files.frames import (
        load_coverage,
        load_detections,
        load_effort,
        load_runs,
        open_bundle,
        summary,
    )

__all__ = ["load_coverage", "load_detections", "load_effort", "load_runs", "open_bundle", "summary"]


def __getattr__(name: str) -> Any:
    # Not at the top: every command imports a module below, and none of them needs this one.
    if name in __all__:
        from badc.reports.files import frames

        return getattr(frames, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
