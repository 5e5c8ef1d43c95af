"""`badc report summary`: detections counted by label, recording, station, study area, hour, date or night."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from badc.reports.naming import name_species
from badc.reports.query.counts import MS_PER_HOUR, Ranking, choose, count_effort, matching, ranked, write_csv
from badc.reports.query.events import count_events
from badc.reports.query.expected import UNEXPECTED
from badc.reports.query.notes import notes_on_tables
from badc.reports.query.tables import find_coverage, open_tables
from badc.reports.settings import Group, SummarySettings
from badc.system.sql import quoted

if TYPE_CHECKING:
    import duckdb

_TIMES = {Group.HOUR, Group.DATE, Group.NIGHT}


@dataclass(frozen=True, slots=True)
class Summary:
    """What a summary found."""

    groups: Ranking  # the first groups, with their counts
    notes: tuple[str, ...]  # a mixture of settings first, what the tables lack, labels that do not occur
    written: Path | None  # the CSV with all groups


def summarise(settings: SummarySettings) -> Summary:
    """Count detections by groups.

    A group has its detections, average and highest confidence, recordings with a detection, hours of analysed audio of
    its recordings, station, study area, hour, date or night (of all for a label), detections per such hour, and
    events, which count where they begin. Unless labels are among the groups, those that were analysed without a
    detection are listed too, with 0; with `complete`, they are for each label.

    Raises
    ------
    RequestError, BadcError
        As `badc.reports.query.tables.open_tables`.
    """
    with summarised(settings) as (database, notes):
        groups = ranked(database, in_order(settings), settings.limit)
        written = settings.output and write_csv(
            database, in_order(settings), settings.output, settings.for_spreadsheets
        )
        return Summary(groups, notes, written)


@contextlib.contextmanager
def summarised(settings: SummarySettings) -> Iterator[tuple[duckdb.DuckDBPyConnection, tuple[str, ...]]]:
    """Yield a database with the table `summary`, of all groups, and the notes on it; raises as `summarise`."""
    coverage = find_coverage(settings.parquet, settings.coverage)
    with open_tables(settings.parquet, coverage, settings.sites) as database:
        notes = choose(database, settings, settings.labels)
        notes += name_species(database, settings)
        count_effort(database)
        count_events(database, settings, by_hour=not _TIMES.isdisjoint(settings.groups))
        asked, _ = matching(database, settings.labels)
        query = _query(settings.groups, settings.complete, asked, settings.column is not None)
        # Into a table, because printing and the CSV both read it.
        database.execute(f"CREATE TEMP TABLE summary AS {query}")
        yield database, (*notes_on_tables(database, settings.parquet, coverage), *notes)


def in_order(settings: SummarySettings) -> str:
    """Return the query of the groups in their order, from the table `summary`."""
    keys = [f"{group} NULLS LAST" for group in settings.groups]
    if not set(settings.groups) <= _TIMES:
        keys.insert(0, "detections DESC")
    return f"SELECT * FROM summary ORDER BY {', '.join(keys)}"


def _query(groups: tuple[Group, ...], complete: bool, asked: Sequence[str], with_names: bool) -> str:
    chosen = ", ".join(groups)
    places = [group for group in groups if group is not Group.LABEL]
    silent_too = complete or Group.LABEL not in groups
    cells = {group: f"heard.{group}" for group in groups}
    same_group = " AND ".join(f"begun.{group} IS NOT DISTINCT FROM heard.{group}" for group in groups)
    join, each_label = "CROSS JOIN analysed", ""
    if silent_too and Group.LABEL in groups:
        labels = f"unnest([{', '.join(map(quoted, asked))}]) AS label" if asked else "DISTINCT label FROM heard"
        each_label = f"CROSS JOIN (SELECT {labels})"
    if silent_too or places:
        known = groups if silent_too else places
        same = " AND ".join(f"heard.{group} IS NOT DISTINCT FROM analysed.{group}" for group in known)
        join = f"{'FULL OUTER' if silent_too else 'LEFT'} JOIN analysed ON {same}"
    if silent_too:  # from both sides, because null is a group too
        cells = {group: f"CASE WHEN n IS NULL THEN analysed.{group} ELSE heard.{group} END" for group in groups}
    columns = [f"{cell} AS {group}" for group, cell in cells.items()]
    if with_names and Group.LABEL in groups:
        name = f"(SELECT min(species_name) FROM species_names s WHERE s.label = {cells[Group.LABEL]}) AS name"
        columns.insert(groups.index(Group.LABEL) + 1, name)
    return f"""
        WITH parts AS (
          SELECT {", ".join(dict.fromkeys((*groups, Group.RECORDING)))}, count(*) AS n,
            sum(confidence) AS confidence_sum, count(confidence) AS rated, max(confidence) AS highest, {UNEXPECTED}
          FROM chosen GROUP BY ALL),
        heard AS (
          SELECT {chosen}, CAST(sum(n) AS BIGINT) AS n, sum(confidence_sum) AS confidence_sum, sum(rated) AS rated,
            max(highest) AS highest, count(*) AS recordings, CAST(sum(unexpected) AS BIGINT) AS unexpected
          FROM parts GROUP BY {chosen}),
        begun AS (SELECT {chosen}, CAST(sum(events) AS BIGINT) AS events FROM event_counts GROUP BY {chosen}),
        listened AS (
          SELECT {"".join(f"{group}, " for group in places)} sum(analysed_ms) / {MS_PER_HOUR} AS hours
          FROM effort_hours {f"GROUP BY {', '.join(places)}" if places else ""}),
        analysed AS (FROM listened {each_label})
        SELECT {", ".join(columns)}, coalesce(n, 0) AS detections,
          round(confidence_sum / nullif(rated, 0), 9) AS avg_confidence, highest AS max_confidence,
          coalesce(recordings, 0) AS recordings, hours AS analysed_hours,
          coalesce(n, 0) / nullif(hours, 0) AS detections_per_hour
          {", unexpected" if Group.LABEL in groups else ""}, coalesce(events, 0) AS events
        FROM heard {join} LEFT JOIN begun ON n IS NOT NULL AND {same_group}
    """
