"""`badc chunk …`: a recording's chunks as manifest, WAV files or ids, and the chunking of a whole dataset."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from badc.chunks.settings import ChunkWavSettings, ManifestSettings, SplitSettings
from badc.datasets.chunking.settings import ChunkSettings
from badc.errors import ExitCode, RequestError, listed, numbered
from flows.cli.commands.probe import probe
from flows.cli.console import counting, end, print_json, print_table, tell_if_not_saved
from flows.cli.help import App
from flows.cli.options import options_of

if TYPE_CHECKING:
    from badc.chunks.cutting import ChunkPlan
    from badc.datasets.chunking.plan import DatasetPlan
    from flows.run.sessions import ChunkRunOutcome

app = App()
_MOST_SHOWN = 200


@options_of(ManifestSettings)
def manifest(settings: ManifestSettings) -> None:
    """Write the manifest of a recording's chunks without copying any audio (virtual chunks).

    The rows name the recording itself; `badc infer run` reads each chunk's window from it.
    """
    from badc.chunks.cutting import write_virtual_manifest
    from badc.system.paths import default_manifest_path

    plan = _planned(settings, settings.recording_id)
    target = settings.output or default_manifest_path(plan.dataset_root, plan.recording_id)
    with counting("chunks hashed") as show:
        write_virtual_manifest(
            plan,
            target,
            settings.hash_chunks,
            lambda done: show(done, len(plan.chunks)),
            settings.status_dir,
            settings.include_existing,
        )
    print(_what_it_makes(plan))
    print(target)


@options_of(ChunkWavSettings)
def run(settings: ChunkWavSettings) -> None:
    """Write each chunk of a recording as a WAV, in the recording's sample format, and the manifest.

    Another cut of the same recording is replaced only with --include-existing. The folder's .chunk_status.json says how
    it went.
    """
    from badc.chunks.cutting import write_chunk_wavs
    from badc.system.paths import default_chunks_dir, default_manifest_path, require_inside

    plan = _planned(settings, settings.recording_id)
    folder = settings.output_dir or default_chunks_dir(plan.dataset_root, plan.recording_id)
    if settings.output_dir is None:
        require_inside(folder.parent, folder)
    target = settings.manifest or default_manifest_path(plan.dataset_root, plan.recording_id)
    if settings.dry_run:
        for chunk in plan.chunks:
            print(f"{chunk.chunk_id}\t{chunk.start_ms}\t{chunk.end_ms}\t{folder / chunk.chunk_id}.wav")
        return
    with counting("chunks written") as show:
        write_chunk_wavs(plan, folder, target, lambda done: show(done, len(plan.chunks)), settings.include_existing)
    print(_what_it_makes(plan))
    print(folder)
    print(target)


@options_of(SplitSettings)
def split(settings: SplitSettings) -> None:
    """Print the ids of a recording's chunks, one per line; write nothing."""
    for chunk in _planned(settings).chunks:
        print(chunk.chunk_id)


@options_of(ChunkSettings)
def orchestrate(
    settings: ChunkSettings,
    plan_csv: Annotated[Path | None, typer.Option(help="Write the plan (what would be chunked) as CSV.")] = None,
    plan_json: Annotated[Path | None, typer.Option(help="Write the plan as JSON.")] = None,
    print_datalad_run: Annotated[
        bool,
        typer.Option(
            "--print-datalad-run",
            help="Print a `datalad run` line for each recording that would be chunked, and do nothing.",
        ),
    ] = False,
    apply: Annotated[
        bool, typer.Option("--apply/--plan-only", help="Carry out the plan, as a Prefect flow run, or only show it.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the plan alone, as JSON, one object for each recording.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show Prefect's own messages.")] = False,
) -> int:
    """Chunk every recording of a dataset; without --apply only show what would be done.

    Recordings that have chunks keep them, whoever cut them and however; failed or interrupted ones are done again.
    `python -m flows.chunk` is the same with --apply. Exit codes: 0; 1 a recording could not be chunked (the others
    were); 2 the request is wrong; 130 interrupted.
    """
    from badc.datalad.environment import recording_wanted
    from badc.datasets.chunking.plan import ChunkPlanRow
    from badc.datasets.chunking.provenance import unsaved_before
    from badc.system.clock import now
    from badc.system.row_files import write_plan_csv, write_plan_json
    from flows.server.local import quiet_defaults

    if apply + print_datalad_run + as_json > 1:
        raise RequestError(
            "--apply carries the plan out, --print-datalad-run prints how to, --json prints the plan: give one of them"
        )
    quiet_defaults(verbose)
    began = now()
    recording, why_not = recording_wanted(settings.root, settings.record_datalad)
    plan = _plan(settings, recording, apply)
    if plan_csv is not None:
        write_plan_csv(plan_csv, ChunkPlanRow, plan.rows())
    if plan_json is not None:
        write_plan_json(plan_json, plan.rows())
    if print_datalad_run:
        return _print_datalad_lines(plan)
    _show_plan(plan, as_json)
    if not apply:
        if plan.todo:
            print("Nothing was done; --apply carries the plan out", file=sys.stderr)
        return 0
    if why_not is not None:
        print(f"WARNING: not recorded in the dataset: {why_not}", file=sys.stderr)
    if recording and (unsaved := unsaved_before(plan)) is not None:
        print(f"WARNING: {unsaved}", file=sys.stderr)
    if not plan.todo:
        return _report_not_possible(plan)
    return _apply(plan, recording, began)


def _plan(settings: ChunkSettings, recording: bool, apply: bool) -> DatasetPlan:
    from badc.datasets.chunking.elsewhere import plan_with_manifests
    from badc.datasets.chunking.plan import plan_dataset

    with _counting_stages() as show:
        if apply:
            return plan_with_manifests(settings, recording, partial(print, file=sys.stderr), show)
        return plan_dataset(settings, recording, show)


def _print_datalad_lines(plan: DatasetPlan) -> int:
    from badc.datasets.chunking.provenance import batch_run

    for planned in plan.todo:
        print(batch_run(plan.settings, plan.order, [planned]).line_among_others())
    tell_if_not_saved(plan.order.dataset_root)
    at_work = {planned.audio for planned in plan.todo}
    if left_out := [r for r in plan.recordings if r.audio not in at_work]:
        lines = [f"{r.recording_id or r.audio}: {r.decision.value}: {r.reason}" for r in left_out]
        print(f"badc: {numbered(len(lines), 'recording')} left out:\n{listed(lines)}", file=sys.stderr)
    return 0


def _planned(settings: SplitSettings, recording_id: str | None = None) -> ChunkPlan:
    from badc.chunks.cutting import plan_chunks

    lengths = (settings.chunk_duration_s, settings.overlap_s, settings.min_chunk_s)
    plan = plan_chunks(settings.audio, *lengths, recording_id, settings.salvage)
    if plan.audio.note:
        print(f"WARNING: {plan.audio_path}: {plan.audio.note}", file=sys.stderr)
    return plan


def _what_it_makes(plan: ChunkPlan) -> str:
    left_out = f"; the last {plan.left_out_ms} ms are shorter than --min-chunk and left out" if plan.left_out_ms else ""
    chunks = numbered(len(plan.chunks), "chunk")
    return f"{plan.recording_id}: {chunks} in {plan.recording_ms / 1000:g} s of audio{left_out}"


@contextmanager
def _counting_stages() -> Iterator[Callable[[str, int, int | None], None]]:
    """Yield a function that shows the progress of planning, stage by stage."""

    with ExitStack() as stack:
        stages: dict[str, Any] = {}

        def show(what: str, done: int, total: int | None) -> None:
            if what not in stages:
                stack.close()
                stages[what] = stack.enter_context(counting(what))
            stages[what](done, total)

        yield show


def _show_plan(plan: DatasetPlan, as_json: bool) -> None:

    rows = [
        {
            "recording": r.recording_id,
            "audio": r.audio,
            "seconds": None if r.recording_ms is None else r.recording_ms / 1000,
            "chunks": r.chunks,
            "decision": r.decision.value,
            "reason": r.reason,
        }
        for r in plan.recordings
    ]
    if as_json:
        print_json(rows)
        return
    shown = rows[:_MOST_SHOWN] if sys.stdout.isatty() else rows
    print_table(shown, "Recordings")
    if len(shown) < len(rows):
        print(f"… and {len(rows) - len(shown):,} more; all of them are printed when the output is piped")
    counts = ", ".join(f"{decision.value} {count:,}" for decision, count in plan.counts().items())
    print(f"{len(rows):,} recording{'s' * (len(rows) != 1)}: {counts}" if rows else "no recordings")
    for note in (*plan.places, *plan.notes("--include-existing")):
        print(f"badc: {note}", file=sys.stderr)


def _apply(plan: DatasetPlan, recording: bool, began: str) -> int:
    from flows.cli.launch import launch_chunking

    def by_force(outcome: ChunkRunOutcome | None) -> None:
        if outcome is not None:
            _report(plan, outcome, began)

    with counting("recordings chunked") as show:
        say = partial(print, file=sys.stderr, flush=True)
        outcome, told = launch_chunking(plan, recording, show, say, by_force)
    code = _report(plan, outcome, began)
    return end(code, told)


def _report(plan: DatasetPlan, outcome: ChunkRunOutcome, began: str) -> int:
    chunked = numbered(outcome.done, "recording")
    print(f"{outcome.state.value}: {chunked} chunked, {outcome.failed} failed, {outcome.left} left")
    print(f"manifests\t{plan.order.manifest_dir}")
    print(f"chunk statuses\t{plan.order.chunks_dir}")
    for what, failures in (("not chunked", outcome.failures), ("not recorded", outcome.not_recorded)):
        if failures:
            lines = [f"{name}: {error}" for name, error in failures]
            print(f"badc: {numbered(len(failures), 'recording')} {what}:\n{listed(lines)}", file=sys.stderr)
    code = outcome.state.exit_code
    impossible = _report_not_possible(plan)
    if code == ExitCode.INTERRUPTED:
        again = plan.settings.going_on(began, outcome.left + outcome.failed)
        words = ["badc", "chunk", "orchestrate", *again.to_arguments(), "--apply"]
        print(f"Resume with: {shlex.join(words)}", file=sys.stderr)
    return code or impossible


def _report_not_possible(plan: DatasetPlan) -> int:
    if not plan.not_possible:
        return 0
    lines = [f"{r.audio}: {r.decision.value}: {r.reason}" for r in plan.not_possible]
    print(f"badc: {numbered(len(lines), 'recording')} could not be tried:\n{listed(lines)}", file=sys.stderr)
    return 1


for _command in (manifest, run, split, orchestrate, probe):
    app.command()(_command)
