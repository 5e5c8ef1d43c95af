"""How a reader of the page gets the numbers of a chart again: the command or the SQL that stands beside it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from badc.reports.query.event_settings import EventSettings
from badc.reports.settings import ChoiceSettings, DatabaseSettings, Group, SummarySettings
from badc.reports.study.data import HISTOGRAM_BINS, Timeline
from badc.system.sql import quoted


@dataclass(frozen=True, slots=True)
class Sources:
    """The table, the page, which detections count, the sites, and what an event is; files are named without folders."""

    parquet: Path
    page: Path
    choice: ChoiceSettings
    sites: Path | None
    events: EventSettings

    def summary(self, output: str, *groups: Group) -> str:
        """Return the command that writes the counts and rates by these groups as CSV."""
        settings = SummarySettings(**self._shared(), group_by=groups, output=Path(output))
        return shlex.join(["badc", "report", "summary", *settings.to_arguments()])

    def timeline(self, shown: Timeline | None) -> str:
        """Return the SQL for a recording over time."""
        if shown is None:
            return ""
        return (
            f"SELECT label, absolute_time_ms // {shown.bin_s * 1000} * {shown.bin_s} AS second, max(confidence) "
            f"FROM detections WHERE recording_id = {quoted(shown.recording_id)} GROUP BY ALL ORDER BY ALL "
            f"-- {self._place()}"
        )

    def confidence(self) -> str:
        """Return the SQL for the histograms, which have detections of any confidence."""
        table, place = quoted(self.parquet.name), ""
        if self.choice.drop_unexpected:
            shared = self._shared() | {"min_confidence": 0.0}
            settings = DatabaseSettings(**shared, database=Path("any_confidence.duckdb"))
            table = "detections"
            place = f" -- {_made(settings)}"
        return (
            f"SELECT label, floor(confidence * {HISTOGRAM_BINS}) / {HISTOGRAM_BINS} AS confidence, count(*) "
            f"FROM {table} GROUP BY ALL ORDER BY ALL{place}"
        )

    def _place(self) -> str:
        """Return which database has the detections that count, and how to make it where it is not beside the page."""
        database = Path(f"{self.page.stem.removesuffix('_report')}.duckdb")
        if (self.page.parent / database).is_file():
            return f"in {database}"
        return _made(DatabaseSettings(**self._shared(), database=database))

    def _shared(self) -> dict[str, Any]:
        chosen = {
            name: Path(value.name) if isinstance(value, Path) else value
            for name in ChoiceSettings.model_fields
            if (value := getattr(self.choice, name)) is not None
        }
        sites = None if self.sites is None else Path(self.sites.name)
        events = self.events.model_dump(include={"max_gap_s"})
        return {"parquet": Path(self.parquet.name), "sites": sites, **chosen, **events}


def _made(settings: DatabaseSettings) -> str:
    return f"in {settings.database}, from {shlex.join(['badc', 'report', 'duckdb', *settings.to_arguments()])}"
