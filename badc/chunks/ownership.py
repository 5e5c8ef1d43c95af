"""Keep recordings of the same name from replacing each other's manifests and chunks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from badc.chunks.manifest import Chunk, Manifest, read_manifest
from badc.chunks.status import STATUS_FILE, read_chunk_status
from badc.errors import RequestError
from badc.recordings.locate import dataset_of, in_dataset
from badc.system.annex import require_content
from badc.system.paths import as_written


def recordings_of(manifest: Manifest) -> set[Path]:
    """Return the recordings that a manifest's rows are chunks of, absolute.

    A row of a chunk WAV does not name its recording; the chunk status beside the WAV does. Without one it adds nothing.
    """
    found: set[Path] = set()
    folders: set[Path] = set()
    for source, chunk_id in {chunk.source_path: chunk.chunk_id for chunk in manifest.chunks}.items():
        path = Path(source)
        if path.name != f"{chunk_id}.wav":
            found.add(manifest.locate(source))
        elif path.parent not in folders:
            folders.add(path.parent)
            status = read_chunk_status(manifest.locate(source).parent / STATUS_FILE)
            if status is not None and status.audio_path is not None:
                found.add(in_dataset(status.audio_path, manifest.audio_root))
    return found


def refuse_another_recordings_folder(audio: Path, folder: Path) -> None:
    """Refuse (RequestError) to replace the chunks of another recording of the same name.

    Recorders name files by the time alone. `audio` is absolute; `folder` holds the chunk status.
    """
    try:
        status = read_chunk_status(folder / STATUS_FILE)
    except RequestError:  # a broken status, which this cut replaces
        return
    if status is None or status.audio_path is None:
        return
    root = dataset_of(folder / STATUS_FILE)
    if in_dataset(status.audio_path, root) != audio:
        raise RequestError(
            f"{folder}: holds the chunks of {status.audio_path}, another recording of the same name as "
            f"{as_written(audio, root)}; give --recording-id, or other places for chunks and manifest"
        )


def refuse_another_recordings_manifest(audio: Path, path: Path) -> Sequence[Chunk]:
    """Refuse (RequestError) to write a manifest over anything but an earlier one of this recording (absolute).

    Returns the chunks of the earlier one; none without one.
    """
    if not (path.exists() or path.is_symlink()):
        return ()
    require_content([path], "manifest")
    try:
        manifest = read_manifest(path)
        others = recordings_of(manifest) - {audio}
    except RequestError as error:
        raise RequestError(f"{error}\n{path} is in the way of the manifest; remove it, or name another file") from None
    if others:
        raise RequestError(
            f"{path}: is the manifest of {min(map(str, others))}, another recording of the same name as "
            f"{audio}; give --recording-id, or name another file"
        )
    return manifest.chunks
