"""`badc server …`: start a Prefect server that stays, see how full its database is, and clear old runs from it."""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated, Any

import typer

from badc.errors import numbered
from flows.cli.console import counting, print_table
from flows.cli.help import App
from flows.cli.options import with_boundary

app = App(no_args_is_help=True)


def start(
    host: Annotated[
        str, typer.Option(envvar="PREFECT_SERVER_API_HOST", help="The address to listen at.", show_envvar=False)
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="PREFECT_SERVER_API_PORT", min=1, max=65535, show_envvar=False)] = 4200,
) -> int:
    """Start a Prefect server that stays, with its UI, for runs from shells and deployments. Ctrl-C stops it.

    Its users need its authentication string. The first start makes one, and writes it to ~/.config/badc.env with the
    server's address; PREFECT_SERVER_API_AUTH_STRING, if set, is used instead. Exit codes: 2 the address is taken; else
    the server's own.
    """
    from flows.server.shared import start as become_server

    become_server(host, port)


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> int:
    """Show how a Prefect server is doing, and what its database holds.

    It reads the database directly, so it runs on the server's machine, with the server's PREFECT_HOME or
    PREFECT_API_DATABASE_CONNECTION_URL. Exit codes: 0; 1 the server in PREFECT_API_URL does not answer; 2 the database
    is not that server's.
    """
    url = _begin()
    answers = url is not None and _answers(url)
    from flows.server.database import with_database
    from flows.server.status import server_status

    found = with_database(url if answers else None, server_status)
    if as_json:
        document: dict[str, Any] = {"api": url, "answers": answers, **found.as_json()}
        print(json.dumps(document, default=str, indent=2))
        return 0 if answers or url is None else 1
    from prefect import __version__

    server = "none is configured (PREFECT_API_URL)" if url is None else f"{url} {'answers' if answers else 'SILENT'}"
    print(f"server\t{server}")
    print(f"prefect\t{__version__}")
    print(f"database\t{found.database}")
    print(f"size\t{found.size_bytes / 2**20:.1f} MiB")
    oldest = found.oldest_finished
    print(f"oldest end of a run\t{oldest.isoformat(timespec='seconds') if oldest else 'none has ended'}")
    behind = "nothing was recorded lately" if found.behind_s is None else f"{found.behind_s:.1f} s behind"
    print(f"recording of task runs\t{behind}")
    print_table([{"state": state, "flow runs": count} for state, count in found.flow_runs.items()], "Flow runs")
    print_table([{"table": name, "rows": count} for name, count in found.rows.items()], "Rows")
    if found.unrecorded:
        print(
            f"badc: {found.unrecorded} task runs of flow runs that have ended have no end here; what they did is in "
            "the runs' telemetry and summaries",
            file=sys.stderr,
        )
    for name, silent_s in found.silent:
        print(
            f"badc: {name} says it is running, but was last heard of {silent_s / 60:.0f} minutes ago", file=sys.stderr
        )
    return 0 if answers or url is None else 1


def prune(
    older_than: Annotated[str, typer.Option(help="Clear runs that ended longer ago than this: 30d, 12h, 4w.")] = "30d",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be deleted.")] = False,
    flow_runs: Annotated[
        bool, typer.Option("--flow-runs", help="Delete the flow runs themselves and their artifacts, too.")
    ] = False,
    no_vacuum: Annotated[
        bool, typer.Option("--no-vacuum", help="Leave the space inside the database, for new runs.")
    ] = False,
) -> int:
    """Delete task runs, logs and events of finished runs from a Prefect server's database.

    Flow runs and their artifacts stay, unless --flow-runs is given. The server may keep running. Exit codes: 0; 1 the
    database refused; 2 the request is wrong, or the database is not that of the server in PREFECT_API_URL.
    """
    url = _begin()
    from flows.server.database import with_database
    from flows.server.prune import age
    from flows.server.prune import prune as prune_database

    length = age(older_than)
    with counting("rows deleted") as show:
        made = with_database(
            url if url is not None and _answers(url) else None,
            lambda database: prune_database(
                database, length, dry_run=dry_run, flow_runs=flow_runs, vacuum=not no_vacuum, on_progress=show
            ),
        )
    counts = ", ".join(f"{count} {name}" for name, count in made.deleted.items())
    print(f"{numbered(made.flow_runs, 'finished run')}; {'to delete' if dry_run else 'deleted'}: {counts}")
    if not dry_run:
        print(f"size\t{made.before_bytes / 2**20:.1f} MiB before, {made.after_bytes / 2**20:.1f} MiB after")
    if made.note:
        print(f"badc: {made.note}", file=sys.stderr)
    return 0


def _begin() -> str | None:
    from flows.server.local import configured_url, quiet_defaults

    quiet_defaults(verbose=False)
    url = configured_url()
    if url is not None:
        os.environ["PREFECT_API_URL"] = url
    return url


def _answers(url: str) -> bool:
    from flows.server.local import PrefectApi

    return PrefectApi(url, None).answers()


app.command()(with_boundary(start))
app.command()(with_boundary(status))
app.command()(with_boundary(prune))
