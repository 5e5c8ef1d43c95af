"""DataLad: the `datalad run` command that records an inference run."""

from __future__ import annotations

import glob
import shlex
from pathlib import Path

from badc.dataset import absolute
from badc.errors import RequestError
from badc.manifest import read_manifest
from badc.settings import InferSettings


def run_command(settings: InferSettings) -> str:
    """Return a line that, pasted into a POSIX shell, runs `badc infer run` under `datalad run`. Nothing is made.

    Every path in it is relative to the dataset's root, where `datalad -C` starts the command, so that the record can be
    run again in any clone.

    Parameters
    ----------
    settings
        The run.

    Raises
    ------
    RequestError
        When the manifest cannot be used, or it, its audio or an output lies outside of a dataset.
    """
    manifest = read_manifest(settings.manifest, settings.dataset_root and absolute(settings.dataset_root))
    root = manifest.dataset_root
    if root is None:
        raise RequestError(
            f"{settings.manifest}: lies in no DataLad dataset (no folder above it has .datalad); "
            "make one with `datalad create`, or name it with --dataset-root"
        )
    output_dir = _inside(root, settings.output_dir or root / "artifacts" / "infer", "--output-dir")
    # A fixed name, unlike that of an ordinary run: the record of the run must name its outputs.
    log = settings.telemetry_log or root / "artifacts" / "telemetry" / "infer" / f"{manifest.path.stem}.jsonl"
    telemetry = _inside(root, log, "--telemetry-log")
    inputs = [_inside(root, manifest.path, "the manifest")]
    sources = dict.fromkeys(chunk.source_path for chunk in manifest.chunks)
    inputs += [_inside(root, manifest.locate(source), "the audio") for source in sources]
    recordings = dict.fromkeys(chunk.recording_id for chunk in manifest.chunks)
    outputs = [f"{glob.escape(f'{output_dir}/{recording}')}/**" for recording in recordings]
    outputs.append(f"{glob.escape(telemetry)}*")
    changes: dict[str, object] = {
        "manifest": Path(inputs[0]),
        "output_dir": Path(output_dir),
        "telemetry_log": Path(telemetry),
        "dataset_root": None,
    }
    for name in ("resume_summary", "species_list"):
        if (path := getattr(settings, name)) is not None:
            changes[name] = Path(_inside(root, path, f"--{name.replace('_', '-')}"))
            inputs.append(str(changes[name]))
    command = ["badc", "infer", "run", *settings.model_copy(update=changes).to_arguments()]
    words = ["datalad", "-C", str(root), "run", "-m", f"Infer {manifest.path.stem}"]
    for path in inputs:
        words += ["--input", _literal(glob.escape(str(path)))]
    for pattern in outputs:
        words += ["--output", _literal(pattern)]
    return shlex.join([*words, "--", *map(_literal, command)])


def _literal(word: str) -> str:
    """Return a word in which `datalad run` fills in nothing: it takes `{…}` for a placeholder."""
    return word.replace("{", "{{").replace("}", "}}")


def _inside(root: Path, path: Path, what: str) -> str:
    full = absolute(path)
    if not full.is_relative_to(root):
        raise RequestError(f"{path}: {what} lies outside of the dataset {root}, so `datalad run` cannot record it")
    return full.relative_to(root).as_posix()
