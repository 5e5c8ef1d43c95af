"""`badc chunk …`: the chunks of a recording, as rows of a manifest, as WAV files, or as ids."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from badc.chunking import DEFAULT_DURATION_S, DEFAULT_MIN_CHUNK_S
from flows.cli.probe import probe
from flows.cli.settings_options import with_boundary

if TYPE_CHECKING:
    from badc.chunking import ChunkPlan

app = typer.Typer()

Audio = Annotated[Path, typer.Argument(help="The recording: WAV, FLAC, OGG, MP3, …", show_default=False)]
Duration = Annotated[float, typer.Option(help="Length of a chunk in seconds.")]
Overlap = Annotated[float, typer.Option(help="Seconds of a chunk that the next one repeats.")]
MinChunk = Annotated[
    float, typer.Option(help="Leave out a last chunk shorter than so many seconds, unless it is the whole recording.")
]


def manifest(
    audio: Audio,
    chunk_duration: Duration = DEFAULT_DURATION_S,
    overlap: Overlap = 0.0,
    output: Annotated[
        Path | None,
        typer.Option(help="The manifest. Default: manifests/RECORDING.csv, in the recording's dataset if it has one."),
    ] = None,
    hash_chunks: Annotated[
        bool, typer.Option("--hash-chunks", help="Read all audio and write each chunk's SHA-256, that of its WAV.")
    ] = False,
    min_chunk: MinChunk = DEFAULT_MIN_CHUNK_S,
) -> None:
    """Write the manifest of a recording's chunks without copying any audio (virtual chunks).

    The rows name the recording itself; `badc infer run` reads each chunk's window from it.
    """
    from badc.chunking import plan_chunks, write_virtual_manifest
    from badc.dataset import default_manifest_path
    from flows.cli.progress import counting

    plan = plan_chunks(audio, chunk_duration, overlap, min_chunk)
    target = output or default_manifest_path(plan.dataset_root, plan.recording_id)
    with counting("chunks hashed") as show:
        write_virtual_manifest(plan, target, hash_chunks, lambda done: show(done, len(plan.chunks)))
    print(_what_it_makes(plan))
    print(target)


def run(
    audio: Audio,
    chunk_duration: Duration = DEFAULT_DURATION_S,
    overlap: Overlap = 0.0,
    output_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the WAVs. Default: artifacts/chunks/RECORDING, in the recording's dataset if any."
        ),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(help="The manifest. Default: manifests/RECORDING.csv, in the recording's dataset if it has one."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be written, and write nothing.")] = False,
    min_chunk: MinChunk = DEFAULT_MIN_CHUNK_S,
) -> None:
    """Write each chunk of a recording as a WAV, in the recording's sample format, and the manifest.

    Chunk WAVs of an earlier cut of the same recording are removed. The folder's .chunk_status.json says how it went.
    """
    from badc.chunking import plan_chunks, write_chunk_wavs
    from badc.dataset import default_chunks_dir, default_manifest_path
    from flows.cli.progress import counting

    plan = plan_chunks(audio, chunk_duration, overlap, min_chunk)
    folder = output_dir or default_chunks_dir(plan.dataset_root, plan.recording_id)
    target = manifest or default_manifest_path(plan.dataset_root, plan.recording_id)
    if dry_run:
        for chunk in plan.chunks:
            print(f"{chunk.chunk_id}\t{chunk.start_ms}\t{chunk.end_ms}\t{folder / chunk.chunk_id}.wav")
        return
    with counting("chunks written") as show:
        write_chunk_wavs(plan, folder, target, lambda done: show(done, len(plan.chunks)))
    print(_what_it_makes(plan))
    print(folder)
    print(target)


def split(
    audio: Audio,
    chunk_duration: Duration = DEFAULT_DURATION_S,
    overlap: Overlap = 0.0,
    min_chunk: MinChunk = DEFAULT_MIN_CHUNK_S,
) -> None:
    """Print the ids of a recording's chunks, one a line; write nothing."""
    from badc.chunking import plan_chunks

    for chunk in plan_chunks(audio, chunk_duration, overlap, min_chunk).chunks:
        print(chunk.chunk_id)


def _what_it_makes(plan: ChunkPlan) -> str:
    left_out = f"; the last {plan.left_out_ms} ms are shorter than --min-chunk and left out" if plan.left_out_ms else ""
    return f"{plan.recording_id}: {len(plan.chunks)} chunks in {plan.recording_ms / 1000:g} s of audio{left_out}"


for _function in (manifest, run, split):
    app.command()(with_boundary(_function))
app.command()(probe)
