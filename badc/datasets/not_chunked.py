"""The recordings of a dataset that no manifest lists, for its tables: what was not analysed is no silence."""

from __future__ import annotations

from badc.datasets.chunking.plan import not_chunked
from badc.datasets.chunking.settings import ChunkSettings
from badc.detections.aggregate import NotChunked
from badc.detections.settings import AggregateSettings
from badc.recordings.dataset_file import audio_folder
from badc.system.paths import absolute


def not_chunked_beside(settings: AggregateSettings) -> list[NotChunked]:
    """Return the recordings without chunks of each dataset whose folder of manifests an aggregation is given.

    Such a folder is that of a dataset with recordings. Raises as `badc.datasets.chunking.plan.not_chunked`.
    """
    found: list[NotChunked] = []
    for given in settings.manifest:
        folder = absolute(given)
        if folder.is_dir() and audio_folder(folder.parent).is_dir():
            dataset = ChunkSettings(dataset=folder.parent, manifest_dir=folder)
            base = dataset.place.base
            found += [
                NotChunked(recording.recording_id or recording.audio, base / recording.audio, recording.reason)
                for recording in not_chunked(dataset)
            ]
    return found
