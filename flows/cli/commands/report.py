"""`badc report …`: answers from the tables of detections and coverage."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from badc.errors import numbered
from badc.reports.settings import (
    BundleSettings,
    DatabaseSettings,
    PageSettings,
    ParquetReportSettings,
    QuicklookSettings,
    RollupSettings,
    SummarySettings,
)
from badc.system.clock import hours_text
from flows.cli.commands.report_export import export
from flows.cli.commands.report_history import history, phenology
from flows.cli.commands.report_plot import plot
from flows.cli.commands.report_search import search
from flows.cli.console import print_json, print_table, show_ranking, show_rankings, shown_value
from flows.cli.help import App
from flows.cli.options import options_of

if TYPE_CHECKING:
    from badc.reports.rankings.overview import Overview
    from badc.reports.rankings.rollup import Rollup

app = App()


@app.command()
@options_of(SummarySettings)
def summary(
    settings: SummarySettings,
    as_json: Annotated[bool, typer.Option("--json", help="Print the groups as JSON, one object for each.")] = False,
) -> int:
    """Count detections by label, recording, station, study area, hour, date or night, with the rate per analysed hour.

    The most frequent come first; hours, dates and nights (noon to noon) are in order. Exit codes: 0; 2 the request is
    wrong.
    """
    from badc.reports.rankings.summary import summarise

    made = summarise(settings)
    _say(*made.notes)
    if as_json:
        print_json(made.groups.as_dicts())
    else:
        show_ranking(made.groups, f"Detections by {', '.join(settings.groups)}")
    if made.groups.total > len(made.groups.rows):
        _say(f"{numbered(made.groups.total - len(made.groups.rows), 'more group')}; --limit 0 prints all")
    if made.written is not None:
        print(made.written)
    return 0


@app.command()
@options_of(QuicklookSettings)
def quicklook(settings: QuicklookSettings) -> int:
    """Show the most frequent labels, the richest recordings, and detections along the recordings.

    Exit codes: 0; 2 the request is wrong.
    """
    from badc.reports.rankings.quicklook import quicklook as look

    made = look(settings)
    _say(*made.notes)
    show_rankings({"Labels": made.labels, "Recordings": made.recordings, "By start of the chunk": made.chunks})
    if made.sparkline and _can_print(made.sparkline):
        print(f"\ndetections along the recordings\t|{made.sparkline}|")
    _list(made.written)
    return 0


@app.command()
@options_of(ParquetReportSettings)
def parquet(settings: ParquetReportSettings) -> int:
    """Show labels, recordings, a timeline, and the figures of the whole table.

    The timeline counts from the start of each recording. Exit codes: 0; 2 the request is wrong.
    """
    from badc.reports.rankings.overview import parquet_report

    made = parquet_report(settings)
    _say(*made.notes)
    show_rankings({"Labels": made.labels, "Recordings": made.recordings, "Timeline": made.timeline})
    _show_figures(made.figures)
    _list(made.written)
    return 0


@app.command("duckdb")
@options_of(DatabaseSettings)
def database(settings: DatabaseSettings) -> int:
    """Write a DuckDB database with the tables, and views with counts, effort and events.

    A database that is open elsewhere is left as it is. Exit codes: 0; 2 the request is wrong.
    """
    from badc.reports.files.database import make_database

    made = make_database(settings)
    _say(*made.notes)
    show_rankings({"Labels": made.labels, "Recordings": made.recordings, "Timeline": made.timeline})
    print(f"\n{numbered(made.detections, 'detection')}, {numbered(made.chunks, 'chunk')}")
    _list([made.database, *made.written])
    return 0


@app.command()
@options_of(PageSettings)
def page(settings: PageSettings) -> int:
    """Write the page to send to a colleague: what was heard where and when, how sure, with how much effort.

    It is one file, and opens in any browser. `badc report bundle` writes it with all other reports. Exit codes: 0; 2
    the request is wrong.
    """
    from badc.datasets.inference.of_all import page_of_a_dataset
    from badc.reports.bundle import make_page

    settings, said = page_of_a_dataset(settings)
    if said is not None:
        print(said, file=sys.stderr)
    _list(make_page(settings))
    return 0


@app.command()
@options_of(BundleSettings)
def bundle(settings: BundleSettings) -> int:
    """Write all reports of a table of detections: CSVs, a DuckDB database, and a page to send to a colleague.

    It needs no server; where PREFECT_API_URL is set, it is a flow run there. Exit codes: 0; 2 the request is wrong.
    """
    from badc.reports.bundle import make_bundle
    from flows.server.local import PrefectApi, api_is_configured, quiet_defaults

    quiet_defaults(verbose=False)
    if api_is_configured():
        PrefectApi.begin().ready()
        from flows.report import report

        made = report(settings)
    else:
        made = make_bundle(settings)
    _say(*made.notes)
    _show_figures(made.figures)
    _list(made.written)
    return 0


@app.command()
@options_of(RollupSettings)
def aggregate_dir(settings: RollupSettings) -> int:
    """Rank labels, recordings and stations over every table of detections below a folder.

    A detection counts once, however many tables have it. Exit codes: 0; 1 a Parquet file could not be read (the others
    were); 2 the request is wrong.
    """
    from badc.reports.rankings.rollup import roll_up

    made = roll_up(settings)
    if not made.tables:
        print(
            f"WARNING: {settings.folder}: no table of detections (*.parquet) in it; nothing written. "
            "`badc infer aggregate --parquet` writes one",
            file=sys.stderr,
        )
    else:
        _show_rollup(made)
    for path, reason in made.bad_files:
        _say(f"{path}: {reason}")
    return 1 if made.bad_files else 0


def _show_rollup(made: Rollup) -> None:
    _say(*made.notes)
    show_rankings(made.rankings)
    copies = f", {numbered(len(made.copies), 'copy', 'copies')} left out" if made.copies else ""
    repeated = f", {made.repeated} left out because a newer table has their chunk" if made.repeated else ""
    tables = numbered(len(made.tables), "table")
    print(f"\n{numbered(made.detections, 'detection')} in {tables}{copies}{repeated}")
    _list(made.written)


app.command()(history)
app.command()(phenology)
app.command()(export)
app.command()(plot)
app.command()(search)


def _show_figures(figures: Overview) -> None:
    rows = []
    for name, value in asdict(figures).items():
        if isinstance(value, dict):
            rows += [
                {"figure": f"chunks {shown_value(status)}", "value": str(number)} for status, number in value.items()
            ]
        else:
            rows.append({"figure": name, "value": "" if value is None else str(_figure(name, value))})
    print()
    print_table(rows, "Summary")


def _figure(name: str, value: Any) -> Any:
    return hours_text(value) if name == "analysed_hours" and sys.stdout.isatty() else shown_value(value)


def _can_print(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _list(written: Sequence[Path]) -> None:
    for path in written:
        print(path)


def _say(*notes: str) -> None:
    """Print notes; those on what a table holds come before it, so that no number is read without them."""
    for note in notes:
        print(f"badc: {note}", file=sys.stderr)
