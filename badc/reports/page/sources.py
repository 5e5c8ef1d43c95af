"""How a reader of the page gets the numbers of a chart again: the command or the SQL that stands beside it."""

from __future__ import annotations

import os
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
    """What the page is made from, and of what; files are named from the page's folder, or without any folder if far.

    `coverage` is None if it is the one beside the table, or if there is none.
    """

    parquet: Path
    page: Path
    coverage: Path | None
    choice: ChoiceSettings
    sites: Path | None
    events: EventSettings

    def summary(self, output: str, *groups: Group) -> str:
        """Return the command that writes the counts and rates by these groups as CSV."""
        settings = SummarySettings(**self._shared(self.choice), group_by=groups, output=Path(output))
        return shlex.join(["badc", "report", "summary", *settings.to_arguments()])

    def timeline(self, shown: Timeline | None) -> str:
        """Return the SQL for a recording over time."""
        if shown is None:
            return ""
        return (
            f"SELECT label, absolute_time_ms // {shown.bin_s * 1000} * {shown.bin_s} AS second, max(confidence) "
            f"FROM detections WHERE recording_id = {quoted(shown.recording_id)} GROUP BY ALL ORDER BY ALL "
            f"-- {self._database(self.choice)}"
        )

    def confidence(self) -> str:
        """Return the SQL for the histograms, which have detections of any confidence.

        It asks a database, not the Parquet file: that may have two labels of one species, and rows of other tools that
        are no detections.
        """
        any_confidence = self.choice.model_copy(update={"min_confidence": 0.0, "thresholds": None})
        return (
            f"SELECT label, least(floor(confidence * {HISTOGRAM_BINS}), {HISTOGRAM_BINS - 1}) / {HISTOGRAM_BINS} "
            "AS confidence, count(*) FROM detections WHERE confidence IS NOT NULL GROUP BY ALL ORDER BY ALL "
            f"-- {self._database(any_confidence)}"
        )

    def _database(self, choice: ChoiceSettings) -> str:
        """Return where to ask: one that lies beside the page may be of another choice, so how to make it is said."""
        name = self.page.stem.removesuffix("_report") if choice == self.choice else "any_confidence"
        settings = DatabaseSettings(**self._shared(choice), database=Path(f"{name}.duckdb"))
        return f"in {settings.database}, from {shlex.join(['badc', 'report', 'duckdb', *settings.to_arguments()])}"

    def _shared(self, choice: ChoiceSettings) -> dict[str, Any]:
        chosen = {
            name: self._from_page(value) if isinstance(value, Path) else value
            for name in ChoiceSettings.model_fields
            if (value := getattr(choice, name)) is not None
        }
        named = {"parquet": self.parquet, "coverage": self.coverage, "sites": self.sites}
        files = {name: self._from_page(path) for name, path in named.items() if path is not None}
        return {**files, **chosen, **self.events.model_dump(include={"max_gap_s"})}

    def _from_page(self, path: Path) -> Path:
        """Return a path that a shell in the page's folder understands, and that tells nothing of the folders above."""
        found = Path(os.path.relpath(path, self.page.parent))
        return Path(path.name) if found.parts.count("..") > 1 else found
