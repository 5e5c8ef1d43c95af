"""The settings of `badc chunk orchestrate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from badc.chunks.settings import CutSettings
from badc.datasets.settings import DatasetSettings
from badc.detections.settings import LayoutSettings
from badc.settings.model import turned_off_by
from badc.settings.redo import RedoBefore, redoing

ChunkPattern = Annotated[
    tuple[str, ...],
    Field(
        description="Only recordings that match, such as 'GNWT-290_*' (file name) or 'siteA/*.flac' (path below "
        "audio/; * matches / too). Case does not matter. Repeatable. Default: every audio format."
    ),
]
ChunkLimit = Annotated[
    int | None, Field(ge=0, description="Chunk at most this many recordings; those that are skipped do not count.")
]
CHUNK_AGAIN = (
    "Cut recordings anew that have chunks already, or keep these. What becomes of their results is said before."
)


class ChunkOptions(CutSettings):
    """How a dataset's recordings are chunked."""

    manifest_dir: Annotated[
        Path, Field(description="Folder of the manifests; a relative path is below the dataset.")
    ] = Path("manifests")
    chunks_dir: Annotated[
        Path,
        Field(
            description="Folder with one folder per recording, for its chunk status and chunk WAVs; a relative path is "
            "below the dataset."
        ),
    ] = Path("artifacts/chunks")
    virtual: Annotated[
        bool,
        Field(
            description="Write only manifests, which name the recordings, or write each chunk as a WAV too.",
            json_schema_extra=turned_off_by("--write-chunks"),
        ),
    ] = True
    hash_chunks: Annotated[
        bool,
        Field(
            description="Virtual chunks: read all audio, to write the SHA-256 that each chunk's WAV would have.",
            json_schema_extra=turned_off_by("--no-hash-chunks"),
        ),
    ] = False
    workers: Annotated[int, Field(ge=1, le=256, description="Recordings to chunk at the same time.")] = 4


class ChunkSettings(ChunkOptions, LayoutSettings, DatasetSettings):
    """Settings of the chunking of a dataset."""

    pattern: ChunkPattern = ()
    include_existing: Annotated[
        bool,
        Field(
            description=CHUNK_AGAIN,
            json_schema_extra=turned_off_by("--skip-existing"),
        ),
    ] = False
    redo_before: RedoBefore = None
    limit: ChunkLimit = None
    record_datalad: Annotated[
        bool | None,
        Field(
            description="With --apply: fetch dropped recordings, and record what was done in the DataLad dataset. "
            "Default: if the dataset is one and DataLad is installed.",
            json_schema_extra=turned_off_by("--no-record-datalad"),
        ),
    ] = None

    def going_on(self, begun: str, left: int | None = None) -> ChunkSettings:
        """Return the settings that resume a run of these that began at this time (ISO 8601).

        `left` is the number of its recordings that are not chunked, where it is known: they come first in the order.
        """
        limit = self.limit if left is None or self.limit is None else left
        return self.model_copy(update={"limit": limit, **redoing(self, begun)})
