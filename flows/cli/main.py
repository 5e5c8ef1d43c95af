"""The command `badc`."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from badc.errors import ExitCode
from badc.system.leash import heeded_signals
from flows.cli.commands.demo import demo
from flows.cli.commands.gpus import gpus
from flows.cli.commands.setup import setup
from flows.cli.help import App, Group
from flows.cli.options import DatasetOfLog, LogOption, with_boundary
from flows.run.stopping import interrupt_command

_ORDER = (
    *("pipeline", "chunk", "infer", "report", "review"),
    *("species-list", "telemetry", "gpus", "data", "demo"),
    *("setup", "server", "dask-credentials", "version"),
)
# What there is, below headings. The module of a group, or of a command with its function's name,
# is imported only for its own commands: settings models take a while, `badc --help` should not.
_WORK, _AROUND, _SETTING_UP = "From recordings to answers", "Around it", "Setting up"
GROUPS = {
    "pipeline": (
        _WORK,
        "flows.cli.commands.pipeline",
        "Take a folder of recordings to one page, in one command.",
    ),
    "chunk": (_WORK, "flows.cli.commands.chunk", "Cut recordings into chunks and write their manifests."),
    "infer": (_WORK, "flows.cli.commands.infer", "Analyse chunks on every GPU, resume, and aggregate the detections."),
    "report": (_WORK, "flows.cli.commands.report", "Answers from the tables: counts, rates, a page to send, exports."),
    "review": (
        _WORK,
        "flows.cli.commands.review",
        "Check detections by ear, and learn from which confidence on they hold.",
    ),
    "data": (_AROUND, "flows.cli.commands.data", "How to get a dataset, drop it and look at it, with plain DataLad."),
    "server": (
        _SETTING_UP,
        "flows.cli.commands.server",
        "Start a Prefect server, and keep it small.",
    ),
}
COMMANDS = {
    "species-list": (
        "flows.cli.commands.species_list",
        "species_list",
        "Print the birds to expect at a place and time of year, as a list for BirdNET.",
    ),
}
_HELP = """Find birds in terabytes of field recordings.

Three ways in:

\b
  badc pipeline run FOLDER --use-birdnet   a folder of recordings: from the
                                           audio to one page of reports
  badc infer run MANIFEST --use-birdnet    a manifest: the list of chunks that
                                           `badc chunk manifest` makes
  badc infer orchestrate DATASET           a dataset on a cluster
      --slurm-script job.sh

`badc demo` shows it on real bird song. Every command has --help.
"""


class _InOrder(Group):
    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=_ORDER.index)


def build(groups: Sequence[str]) -> typer.Typer:
    """Return the application with these commands and the commands of these groups; the others are only named."""
    app = App(name="badc", cls=_InOrder, help=_HELP, no_args_is_help=True, pretty_exceptions_enable=False)
    app.callback()(_options_of_all)
    for name, (heading, module, text) in GROUPS.items():
        group = import_module(module).app if name in groups else App()
        app.add_typer(group, name=name, help=text, no_args_is_help=True, cls=Group, rich_help_panel=heading)
    for name, (module, command_name, text) in COMMANDS.items():
        command = getattr(import_module(module), command_name) if name in groups else _not_imported
        app.command(name, short_help=text, rich_help_panel=_AROUND)(command)
    for around in (telemetry, gpus, demo):
        app.command(rich_help_panel=_AROUND)(with_boundary(around))
    for setting_up in (setup, dask_credentials, version):
        app.command(rich_help_panel=_SETTING_UP)(with_boundary(setting_up))
    return app


def _version(asked: bool) -> None:
    if asked:
        version()
        raise typer.Exit


def _options_of_all(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """The options before a command."""


def _not_imported() -> None:
    """Stand for a command that is only named."""


def telemetry(
    dataset: DatasetOfLog = None,
    log: LogOption = None,
    tail: Annotated[int, typer.Option(min=1, help="How many events to show.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print the events as JSON, one object for each.")] = False,
) -> None:
    """Print the last events of a run's telemetry log, one line each, oldest first."""
    from badc.errors import RequestError
    from badc.system.paths import newest_telemetry_log
    from badc.system.texts import one_line
    from badc.telemetry.events import last_events

    log = log or newest_telemetry_log(dataset)
    try:
        events = last_events(log, tail)
    except OSError as error:
        raise RequestError(f"{log}: the telemetry log cannot be read ({error.strerror})") from None
    if not events:
        print(f"{log}: no events yet", file=sys.stderr)
    if as_json:
        from dataclasses import asdict

        from flows.cli.console import print_json

        print_json([asdict(event) for event in events])
        return
    for event in events:
        runtime = "" if event.runtime_s is None else f"{event.runtime_s:.2f} s"
        fields = [
            event.finished_at or event.timestamp,
            event.status.value,
            (event.worker or "-") + (f" on {event.host}" if event.host else ""),
            event.chunk_id,
            f"attempt {event.details['attempt']}" if "attempt" in event.details else "",
            runtime,
            str(event.details.get("error", "")),
        ]
        print("\t".join(map(one_line, fields)).rstrip("\t"))


def dask_credentials(
    folder: Annotated[Path, typer.Argument(help="A new folder for them, which all machines can see.")],
) -> None:
    """Make credentials by which a Dask scheduler, its workers and runs on several machines know each other.

    Without them, anyone who reaches a scheduler's port can run code as the owner of its workers. The command prints a
    file to source in each shell that starts the scheduler, a worker, or a run with --scheduler tls://HOST:PORT.
    """
    from tasks.workers.scheduler import write_credentials

    print(write_credentials(folder))


def version() -> None:
    """Print BADC's version."""
    from badc import __version__

    print(__version__)


def _words_typed() -> list[str]:
    """Return the words after `badc`: those of this process, or when a shell asks how they go on, what it has so far."""
    if "_BADC_COMPLETE" not in os.environ:
        return sys.argv[1:]
    return (os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS", "")).split()[1:]


def main() -> None:
    """Run the command line, and end the process once its exit handlers have run."""
    code = 1  # a bug, whose traceback Python shows

    def leave(*signalled: object) -> None:
        nonlocal code
        try:
            sys.stdout.flush()
        except (OSError, RuntimeError) as error:  # RuntimeError: the signal came in the middle of a write
            code = code or 1
            # If the reader closed the pipe, nobody misses it.
            if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
                print(f"badc: the output cannot be written ({error.strerror})", file=sys.stderr)
        with contextlib.suppress(OSError, RuntimeError):
            sys.stderr.flush()
        os._exit(code)

    # Registered first, so called last. It skips the rest of Python's shutdown, in which Ctrl-C would kill a completed
    # run and libraries would report what they have not tidied up.
    atexit.register(leave)
    for number in heeded_signals():  # so that a command cleans up; runs have their own handlers
        signal.signal(number, interrupt_command)
    # Imports make a million lasting objects; searching them for garbage takes a tenth of a command's start.
    gc.set_threshold(100_000, 50, 50)
    words = [word for word in _words_typed() if not word.startswith("-")]
    try:
        build(words[:1])(prog_name="badc")
    except KeyboardInterrupt:  # while the command's module was being imported
        code = ExitCode.INTERRUPTED
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    for number in heeded_signals():
        signal.signal(number, leave)
    if "flows.server.local" in sys.modules:
        sys.modules["flows.server.local"].end_if_silent(leave)
