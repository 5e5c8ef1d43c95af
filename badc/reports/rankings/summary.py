"""`badc report summary`: detections counted by label, recording, station, study area, hour, date or night."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from badc.reports.naming import name_species
from badc.reports.query.counts import MS_PER_HOUR, Ranking, choose, count_effort, ranked, write_csv
from badc.reports.query.events import count_events
from badc.reports.query.expected import UNEXPECTED
from badc.reports.query.notes import notes_on_tables
from badc.reports.query.tables import find_coverage, open_tables
from badc.reports.settings import Group, SummarySettings

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
    detection are listed too, with 0.

    Raises
    ------
    RequestError, BadcError
        As `badc.reports.query.tables.open_tables`.
    """
    coverage = find_coverage(settings.parquet, settings.coverage)
    with open_tables(settings.parquet, coverage, settings.sites) as database:
        notes = choose(database, settings, settings.labels)
        notes += name_species(database, settings)
        count_effort(database)
        count_events(database, settings, by_hour=not _TIMES.isdisjoint(settings.groups))
        # Into a table, because printing and the CSV both read it.
        database.execute(f"CREATE TEMP TABLE summary AS {_query(settings.groups, settings.column is not None)}")
        order = "SELECT * FROM summary ORDER BY " + ", ".join(_order(settings.groups))
        groups = ranked(database, order, settings.limit)
        written = settings.output and write_csv(database, order, settings.output, settings.for_spreadsheets)
        return Summary(groups, (*notes_on_tables(database, settings.parquet, coverage), *notes), written)


def _query(groups: tuple[Group, ...], with_names: bool = False) -> str:
    chosen = ", ".join(groups)
    places = [group for group in groups if group is not Group.LABEL]
    columns = [f"heard.{group} AS {group}" for group in groups]
    same_group = " AND ".join(f"begun.{group} IS NOT DISTINCT FROM heard.{group}" for group in groups)
    join = "CROSS JOIN analysed"
    if places:
        same = " AND ".join(f"heard.{group} IS NOT DISTINCT FROM analysed.{group}" for group in places)
        silent_too = Group.LABEL not in groups
        join = f"{'FULL OUTER' if silent_too else 'LEFT'} JOIN analysed ON {same}"
        if silent_too:  # from both sides, because null is a group too
            columns = [f"CASE WHEN n IS NULL THEN analysed.{g} ELSE heard.{g} END AS {g}" for g in groups]
    if with_names and Group.LABEL in groups:
        name = "(SELECT min(species_name) FROM species_names s WHERE s.label = heard.label) AS name"
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
        analysed AS (
          SELECT {"".join(f"{group}, " for group in places)} sum(analysed_ms) / {MS_PER_HOUR} AS hours
          FROM effort_hours {f"GROUP BY {', '.join(places)}" if places else ""})
        SELECT {", ".join(columns)}, coalesce(n, 0) AS detections,
          round(confidence_sum / nullif(rated, 0), 9) AS avg_confidence, highest AS max_confidence,
          coalesce(recordings, 0) AS recordings, hours AS analysed_hours,
          coalesce(n, 0) / nullif(hours, 0) AS detections_per_hour
          {", unexpected" if Group.LABEL in groups else ""}, coalesce(events, 0) AS events
        FROM heard {join} LEFT JOIN begun ON n IS NOT NULL AND {same_group}
    """


def _order(groups: tuple[Group, ...]) -> list[str]:
    keys = [f"{group} NULLS LAST" for group in groups]
    return keys if set(groups) <= _TIMES else ["detections DESC", *keys]
