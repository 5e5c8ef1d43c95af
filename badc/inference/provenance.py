"""`badc infer run` as a command of `datalad run`: what it reads and writes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from badc.chunks.manifest import Manifest, read_manifest
from badc.datalad.run import DataladRun, inside
from badc.errors import RequestError
from badc.inference.embeddings import OPTION
from badc.runners.command_line import CommandLineSpec
from badc.runners.registry import RUNNERS
from badc.system.annex import content_is_elsewhere
from badc.system.paths import absolute
from badc.telemetry.summary import summary_path, workers_csv_path

if TYPE_CHECKING:
    from badc.inference.settings import InferSettings

_OUTPUTS = ("manifest", "output_dir", "embeddings", "telemetry_log", "dataset_root")
_READ = ("resume_summary", *(name for spec in RUNNERS for name in spec.reads))
# What a later run in another clone cannot have: the state of this run, and today's cluster.
_OF_TODAY = {"resume_summary": None, "scheduler": None}


def run_command(settings: InferSettings) -> str:
    """Return a line for a POSIX shell that runs `badc infer run` under `datalad run`; raises as `infer_run`."""
    return infer_run(settings).line()


def infer_run(settings: InferSettings, rerunnable: bool = False) -> DataladRun:
    """Return what `badc infer run` reads and writes, with paths relative to the dataset's root. Nothing is made.

    With `rerunnable`, for the record of a run, the command makes all its outputs in any clone: it leaves out
    `--resume-summary` and `--scheduler`, which hold only today.

    Raises
    ------
    RequestError
        When the manifest cannot be used, or it, its audio or an output lies outside a dataset.
    """
    if rerunnable:
        settings = settings.model_copy(update=_OF_TODAY)
    manifest = read_manifest(settings.manifest, settings.dataset_root and absolute(settings.dataset_root))
    root = manifest.dataset_root
    if root is None:
        raise RequestError(
            f"{settings.manifest}: lies in no DataLad dataset (no folder above it has .datalad); "
            "make one with `datalad create`, or name it with --dataset-root"
        )
    output_dir = inside(root, settings.output_dir or root / "artifacts" / "infer", "--output-dir", is_folder=True)
    # A fixed name, unlike that of an ordinary run: the record of the run must name its outputs.
    log = Path(
        inside(
            root,
            settings.telemetry_log or root / "artifacts" / "telemetry" / "infer" / f"{manifest.path.stem}.jsonl",
            "--telemetry-log",
        )
    )
    inputs = _manifest_and_audio(root, manifest)
    changes: dict[str, Any] = {
        "manifest": Path(inputs[0]),
        "output_dir": Path(output_dir),
        "telemetry_log": log,
        "dataset_root": None,
    }
    for name in _READ:
        if (path := getattr(settings, name)) is not None:
            inputs.append(inside(root, path, f"--{name.replace('_', '-')}"))
            changes[name] = Path(inputs[-1])
    if isinstance(runner := settings.runner(), CommandLineSpec):
        command, files = runner.from_root(root)
        changes |= command
        inputs += files
    changes |= _other_paths(root, settings)
    recordings = dict.fromkeys(chunk.recording_id for chunk in manifest.chunks)
    folders = [
        inside(root, root / output_dir / recording, "the output folder", is_folder=True) for recording in recordings
    ]
    embeddings: list[str] = []
    if settings.embeddings is not None:
        folder = inside(root, settings.embeddings, OPTION, is_folder=True)
        changes["embeddings"] = Path(folder)
        embeddings = [f"{folder}/{recording}.parquet" for recording in recordings]
    if settings.resume_summary is not None:
        # DataLad removes outputs whose content is not here before the command starts, and they would be made again.
        inputs += [folder for folder in folders if _lacks_content(root / folder)]
        inputs += [file for file in embeddings if content_is_elsewhere(root / file)]
    return DataladRun(
        root=root,
        message=f"Infer {manifest.path.stem}",
        command=("badc", "infer", "run", *settings.model_copy(update=changes).to_arguments()),
        inputs=tuple(dict.fromkeys(inputs)),
        output_files=(*(path.as_posix() for path in (log, summary_path(log), workers_csv_path(log))), *embeddings),
        output_folders=tuple(folders),
    )


def _lacks_content(folder: Path) -> bool:
    return folder.is_dir() and any(map(content_is_elsewhere, folder.iterdir()))


def _manifest_and_audio(root: Path, manifest: Manifest) -> list[str]:
    sources = dict.fromkeys(chunk.source_path for chunk in manifest.chunks)
    audio = [inside(root, manifest.locate(source), "the audio") for source in sources]
    return [inside(root, manifest.path, "the manifest"), *audio]


def _other_paths(root: Path, settings: InferSettings) -> dict[str, Path]:
    """Return the other settings that are existing paths; one below the dataset's root is relative to it."""
    found = {
        name: absolute(value)
        for name, value in settings
        if isinstance(value, Path) and name not in (*_OUTPUTS, *_READ) and value.exists()
    }
    return {name: path.relative_to(root) if path.is_relative_to(root) else path for name, path in found.items()}
