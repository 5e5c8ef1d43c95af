"""Where things are: the dataset around a path, and the default places of outputs.

A path is never resolved: in a DataLad dataset audio files are symlinks into `.git/annex/objects`, and a resolved path
would lose the recording's name and the dataset.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path

from badc.errors import RequestError, named_few
from badc.system.annex import is_locked

RESULTS_FOLDER = "badc"  # in a folder of recordings
_LEAST_FREE_BYTES = 256 * 1024


def absolute(path: Path) -> Path:
    """Return `path` made absolute and free of `..`, without following symlinks."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.resolve would follow git-annex's links


def require_nameable(path: Path) -> None:
    """Raise ValueError for a path that is not UTF-8, or has a NUL in it, as escapes in TOML and JSON can give."""
    if "\0" in str(path):
        raise ValueError(f"{str(path)!r}: a path has no NUL in it")
    try:
        str(path).encode()
    except UnicodeEncodeError:
        shown = str(path).encode(errors="surrogateescape").decode(errors="replace")
        raise ValueError(f"{shown}: this path is not UTF-8; rename the file, or the folder at fault") from None


def find_dataset_root(path: Path) -> Path | None:
    """Return the nearest folder at or above `path` that has a `.datalad`, or None outside a dataset."""
    start = absolute(path)
    for folder in (start, *start.parents):
        if os.path.exists(folder / ".datalad"):  # noqa: PTH110 - Path.exists raises for a name that is too long
            return folder
    return None


def as_written(path: Path, dataset_root: Path | None) -> str:
    """Return `path` as files record it: relative to the dataset root inside a dataset, absolute outside."""
    full = os.path.abspath(path)  # noqa: PTH100 - as `absolute`, without a Path: plans do this for each recording
    base = None if dataset_root is None else str(dataset_root).rstrip("/")
    if full == base:
        return "."
    return full[len(base) + 1 :] if base is not None and full.startswith(f"{base}/") else full


def default_chunks_dir(dataset_root: Path | None, recording_id: str) -> Path:
    """Return the folder of a recording's chunk WAVs: `artifacts/chunks/<recording>` in its dataset or here."""
    return (dataset_root or Path.cwd()) / "artifacts" / "chunks" / recording_id


def default_manifest_path(dataset_root: Path | None, recording_id: str) -> Path:
    """Return the place of a recording's manifest: `manifests/<recording>.csv` in its dataset or here."""
    return (dataset_root or Path.cwd()) / "manifests" / f"{recording_id}.csv"


def cache_dir() -> Path:
    """Return the folder for what BADC fetches or makes once for its user: `~/.cache/badc`, or in `XDG_CACHE_HOME`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "badc"


def default_output_dir(dataset_root: Path | None) -> Path:
    """Return the folder of detections: `artifacts/infer` in the dataset or here."""
    return (dataset_root or Path.cwd()) / "artifacts" / "infer"


def default_summary_csv(detections_dir: Path) -> Path:
    """Return the place of the detections table: `artifacts/aggregate/summary.csv` in the dataset or here."""
    return (find_dataset_root(detections_dir) or Path.cwd()) / "artifacts" / "aggregate" / "summary.csv"


# Folders of systems that had the disk before: what was deleted, snapshots, thumbnails, repairs. In lower case.
_NEVER_SEARCHED = frozenset(
    {
        *("system volume information", "$recycle.bin", "recycler", "recycled", "lost+found", "__macosx"),
        *("@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "@tmp", "~snapshot"),
    }
)
_OF_DATALAD = frozenset({".git", ".datalad"})


def is_passed_over(name: str) -> bool:
    """Whether a file or folder of this name is never looked into: hidden ones, and what is not of its user's making.

    Office programs leave a file `~$NAME` beside NAME while it is open; LibreOffice's `.~lock.NAME#` and macOS's
    `._NAME` are hidden, as are the folders of git and of DataLad, wastebaskets and versions that programs keep.
    """
    return name.startswith((".", "~$")) or name.lower() in _NEVER_SEARCHED


def walk(folder: Path, passed: list[str] | None = None, without: str | None = None) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder at and below `folder`, sorted, with its files' names, unsorted; see `is_passed_over`.

    `folder` itself may have any name. Folders that are passed over are added to `passed`. Those below it that have a
    file of the name `without` are left out, with what is below them.
    """
    for base, folders, files in os.walk(folder):
        if without in files and base != str(folder):
            folders.clear()
            continue
        if passed is not None:
            passed += [f"{base}{os.sep}{name}" for name in sorted(folders) if is_passed_over(name)]
        folders[:] = sorted(name for name in folders if not is_passed_over(name))
        yield base, [name for name in files if not is_passed_over(name)]


def passed_over_notes(top: Path, passed: Iterable[str], suffixes: Collection[str]) -> list[str]:
    """Return what a person should know of folders below `top` that were passed over: a sentence, or nothing.

    Those count that hold a file with one of the suffixes (in lower case). Git's and DataLad's own are not looked into.
    """
    found = [
        os.path.relpath(folder, top)
        for folder in passed
        if os.path.basename(folder) not in _OF_DATALAD  # noqa: PTH119
        and any(os.path.splitext(name)[1].lower() in suffixes for _, _, files in os.walk(folder) for name in files)  # noqa: PTH122
    ]
    if not found:
        return []
    return [f"passed over, as hidden or not of a user's making: {named_few(found)}; rename those that are wanted"]


def first_free(folder: Path, stem: str, at: datetime | None = None) -> Path:
    """Return a free path for a log: `<stem>_<UTC yyyymmddThhmmssZ>.jsonl`, or `…Z_2.jsonl` and so on."""
    named = f"{stem}_{(at or datetime.now(UTC)).strftime('%Y%m%dT%H%M%SZ')}"
    names = chain([named], (f"{named}_{number}" for number in count(2)))
    # A broken link counts as taken.
    return next(path for name in names if not os.path.lexists(path := folder / f"{name}.jsonl"))


def telemetry_log_named(manifest: Path, dataset_root: Path | None, name: str) -> Path:
    """Return the place of a telemetry log: `<manifest stem>_<name>.jsonl`, in the folder of `new_telemetry_log`."""
    return _telemetry_folder(dataset_root) / f"{manifest.stem}_{name}.jsonl"


def _telemetry_folder(dataset_root: Path | None) -> Path:
    return dataset_root / "artifacts" / "telemetry" if dataset_root else Path.cwd() / "data" / "telemetry" / "infer"


def new_telemetry_log(manifest: Path, dataset_root: Path | None, now: datetime | None = None) -> Path:
    """Return a telemetry path that no run has used: `<manifest stem>_<UTC yyyymmddThhmmssZ>.jsonl`.

    It is in `artifacts/telemetry` of the dataset, or outside a dataset in `data/telemetry/infer` of the working
    directory. A second run within the same second gets `_2` and so on.
    """
    return first_free(_telemetry_folder(dataset_root), manifest.stem, now)


def newest_telemetry_log(dataset: Path | None = None) -> Path:
    """Return the telemetry log written last by runs in a dataset, by default in the working directory and its dataset.

    In a folder of recordings, the runs of `badc pipeline run` have theirs with the results.

    Raises
    ------
    RequestError
        When there is none.
    """
    if dataset is not None and not dataset.is_dir():
        raise RequestError(f"{dataset}: no such folder; name a dataset, or a log with --log")
    here = dataset or Path()
    roots = dict.fromkeys((here, here / RESULTS_FOLDER, find_dataset_root(here) or here))
    places = [root / place for root in roots for place in ("artifacts/telemetry", "data/telemetry/infer")]
    logs = [Path(base, name) for place in places for base, files in walk(place) for name in files]
    # A link whose content git-annex dropped cannot be read.
    found = [log for log in logs if log.suffix == ".jsonl" and log.exists()]
    if not found:
        tried = ", ".join(map(str, places))
        raise RequestError(f"no telemetry log in {tried}; --log takes the path that `badc infer run` prints")
    return max(found, key=lambda log: log.stat().st_mtime_ns)


def require_inside(root: Path, path: Path) -> None:
    """Refuse a path that leaves `root` through a link below it, so that nothing is written or removed elsewhere.

    `root` may itself be a link or lie behind one: that is where its user wants it. Links to git-annex's objects are
    allowed; a file is never written through them (see `badc.system.atomic`). The path need not exist.

    Raises
    ------
    RequestError
        When a folder of the path is a link that leads out of `root`.
    """
    full, top = absolute(path), absolute(root)
    real_top: str | None = None
    for step in reversed((full, *full.parents)):
        if step == top or not step.is_relative_to(top) or not step.is_symlink():
            continue
        if is_locked(step) and not step.is_dir():  # git-annex keeps files, never folders
            continue
        real_top = real_top or os.path.realpath(top)
        target = Path(os.path.realpath(step))
        if not target.is_relative_to(real_top):
            raise RequestError(
                f"{step}: is a link to {target}, which is outside of {root}; nothing is written through it. "
                "Replace the link by a folder, or let the link be in place of the whole output folder"
            )


def require_writable(folder: Path, what: str) -> None:
    """Refuse a folder that a run could not write to, before the run. It need not exist yet.

    `what` names it in the message, such as `output folder`.

    Raises
    ------
    RequestError
        When the folder, or the nearest existing folder above it, is not a folder or cannot be written.
    """
    nearest = absolute(folder)
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir():
        raise RequestError(f"{folder}: the {what} cannot be made, because {nearest} is not a folder")
    # A real file, because os.access says yes to root on a read-only file system. Its name is unique: two
    # recordings that start at the same moment must not remove each other's.
    probe = nearest / f".badc-write-test-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        with probe.open("xb") as stream:
            # Some bytes, too: an empty file fits on a full disk.
            stream.write(bytes(_LEAST_FREE_BYTES))
        probe.unlink()
    except OSError as error:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
        raise RequestError(
            f"{folder}: the {what} cannot be written ({error.strerror}); choose another or free it"
        ) from error
