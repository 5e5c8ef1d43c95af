"""`badc infer …`: run a manifest's chunks, and make tables of the detections."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from badc.datasets.inference.record_settings import RecordSettings
from badc.detections.settings import AggregateSettings
from badc.errors import ExitCode, in_a_line, numbered
from badc.inference.settings import InferSettings
from badc.system.texts import printable
from badc.telemetry.summary import RunState
from flows.cli.commands.monitor import monitor
from flows.cli.commands.orchestrate import orchestrate
from flows.cli.console import RunProgress, counting, end, print_table, show_species, tell_if_not_saved, warn_of_stub
from flows.cli.help import App
from flows.cli.options import options_of, with_blocks, with_boundary

if TYPE_CHECKING:
    from badc.detections.aggregate import Aggregation
    from badc.inference.plan import InferPlan
    from flows.run.sessions import InferOutcome

app = App()


PrintDataladRun = Annotated[
    bool,
    typer.Option("--print-datalad-run", help="Print the `datalad run` command that records this run, and do nothing."),
]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show Prefect's and Dask's own messages.")]


@app.command()
@options_of(InferSettings)
def run(
    settings: InferSettings,
    save_config: Annotated[
        Path | None,
        typer.Option(help="Also write these options to a run configuration (TOML), for `badc infer run-config`."),
    ] = None,
    print_datalad_run: PrintDataladRun = False,
    verbose: Verbose = False,
) -> int:
    """Analyse every chunk of a manifest and write its detections.

    Where no runner is chosen, a stub runs, which detects nothing.

    Exit codes: 0 all chunks are done; 1 a chunk failed; 2 the request is wrong, nothing was started; 130 interrupted.
    """
    if save_config is not None:
        from badc.inference.config_file import save_run_config

        save_run_config(save_config, settings)
        print(f"run configuration\t{save_config}")
    return _run(settings, print_datalad_run, verbose)


def run_config(
    config: Annotated[Path, typer.Argument(help="The run configuration (TOML).", show_default=False)],
    change: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value, overrides the file; repeatable."),
    ] = None,
    print_datalad_run: PrintDataladRun = False,
    verbose: Verbose = False,
) -> int:
    """Analyse a manifest with the settings of a TOML file, as `badc infer run` does with its options.

    The tables are [runner] (a key for each option: --max-gpus is max_gpus), [hawkears], [paths] (dataset_root) and
    [blocks] (runner, cluster, dataset: names of Prefect blocks). Relative paths are looked for in the working
    directory, then below dataset_root, then in the file's folder. `configs/` has examples; `badc infer run
    --save-config` writes one.
    """
    from badc.inference.config_file import load_run_config

    settings = with_blocks(load_run_config(config, change or ()), verbose)
    return _run(settings, print_datalad_run, verbose)


def _run(settings: InferSettings, print_datalad_run: bool, verbose: bool) -> int:
    from flows.server.local import quiet_defaults

    quiet_defaults(verbose)
    from badc.inference.plan import plan_inference

    if print_datalad_run:
        warn_of_stub(settings)
        from badc.inference.provenance import run_command
        from badc.system.paths import find_dataset_root

        print(run_command(settings))
        tell_if_not_saved(find_dataset_root(settings.dataset_root or settings.manifest.parent))
        return 0
    with counting("audio files checked") as show:
        plan = plan_inference(settings, show)
    if not plan.todo and not plan.unusable:
        return _nothing_to_do(plan)
    warn_of_stub(settings)
    from flows.cli.launch import launch_inference

    with RunProgress() as progress:
        progress.say(f"Runner: {plan.order.runner.description}")
        by_force = progress.closed_before(lambda outcome: _report(plan, outcome))
        outcome, told = launch_inference(plan, progress.update, progress.say, by_force)
    code = _report(plan, outcome)
    return end(code, told)


@app.command()
@options_of(AggregateSettings)
def aggregate(settings: AggregateSettings) -> int:
    """Make one table of all detections in a folder, and one of the chunks that were analysed.

    It needs no server; where PREFECT_API_URL is set, it is a flow run there. Exit codes: 0; 1 a file could not be used
    (the others were); 2 the request is wrong.
    """
    from badc.datasets.not_chunked import not_chunked_beside
    from badc.detections.aggregate import aggregate as aggregate_here
    from flows.server.local import PrefectApi, api_is_configured, quiet_defaults

    quiet_defaults(verbose=False)
    with counting("files read") as show:
        if api_is_configured():
            PrefectApi.begin().ready()
            from flows.aggregate import aggregate as aggregate_flow

            made = aggregate_flow(settings)
        else:
            made = aggregate_here(settings, show, not_chunked_beside(settings))
    return _report_aggregation(settings, made)


def _nothing_to_do(plan: InferPlan) -> int:
    from badc.inference.gathering import require_gathered

    require_gathered(plan)
    if plan.done:
        print(f"{plan.manifest.path}: {numbered(len(plan.done), 'chunk is', 'chunks are')} done; nothing to run.")
    else:
        print(f"{plan.manifest.path}: no chunks; nothing to run.")
    return 0


def _report(plan: InferPlan, outcome: InferOutcome) -> int:
    from badc.telemetry.summary import summary_path, workers_csv_path
    from tasks.show.run_report import worker_rows

    progress = outcome.progress
    print(
        f"{outcome.state.value}: {progress.describe(ended=True)}"
        + (f", {progress.skipped} done before" if progress.skipped else "")
    )
    print_table(worker_rows(outcome.workers), "Workers")
    summary = summary_path(outcome.telemetry_log)
    print(f"detections\t{outcome.output_dir}")
    print(f"telemetry\t{outcome.telemetry_log}")
    print(f"summary\t{summary}")
    print(f"workers\t{workers_csv_path(outcome.telemetry_log)}")
    if outcome.errors:
        more = progress.failed - 1
        others = f"\n… and {more} more failed" if more > 0 else ""
        print(f"badc: {printable(outcome.errors[0])}{others}", file=sys.stderr)
    if outcome.state is not RunState.COMPLETED:
        print(f"Resume with: {plan.resume_command}", file=sys.stderr)
    return outcome.state.exit_code


def _report_aggregation(settings: AggregateSettings, made: Aggregation) -> int:
    if not made.written:
        print(
            f"WARNING: {settings.detections_dir}: no detections files (*.json) in it; nothing written", file=sys.stderr
        )
    for note in made.notes:
        print(f"badc: {note}", file=sys.stderr)
    if not made.written:
        return 0
    print(made.describe())
    for path in made.written:
        print(path)
    if made.merged:
        merged = numbered(made.merged, "detection was", "detections were")
        print(f"{merged} merged into others that overlapping chunks have")
    show_species(made.species)
    for path, reason in made.bad_files:
        print(f"badc: {path}: {reason}", file=sys.stderr)
    if made.bad > len(made.bad_files):
        print(f"badc: … and {made.bad - len(made.bad_files)} more", file=sys.stderr)
    if made.bad:
        verb = "is" if made.bad == 1 else "are"
        files = numbered(made.files, "file")
        print(f"badc: {made.bad} of {files} could not be used and {verb} left out", file=sys.stderr)
        return 1
    return 0


@options_of(RecordSettings)
def record(settings: RecordSettings) -> int:
    """Record in a DataLad dataset the runs that were computed without it, as by a Slurm array.

    Makes one record for each complete recording whose outputs none has yet: its command, inputs and outputs, from its
    summary. `datalad rerun` repeats them. Exit codes: 0; 1 a record could not be made; 2 the request is wrong.
    """
    from badc.datasets.inference.after_the_fact import record_runs

    with counting("recordings recorded") as show:
        ended = record_runs(settings, show)
    print_table(
        [{"recording": r.recording_id, "record": (r.commit or "")[:12], "reason": in_a_line(r.reason)} for r in ended]
    )
    made = sum(r.commit is not None for r in ended)
    print(f"{numbered(made, 'recording')} recorded, {len(ended) - made} not", file=sys.stderr)
    return ExitCode.FAILED if any(r.failed for r in ended) else ExitCode.OK


app.command()(record)
app.command()(with_boundary(run_config))
app.command()(orchestrate)
app.command()(with_boundary(monitor))
