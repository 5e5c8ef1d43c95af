"""The settings of `badc chunk orchestrate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from badc.chunks.cutting import DEFAULT_DURATION_S, DEFAULT_MIN_CHUNK_S, Cut
from badc.settings.dataset import DatasetSettings
from badc.settings.model import turned_off_by
from badc.settings.redo import RedoBefore, redoing


class ChunkSettings(DatasetSettings):
    """Settings of the chunking of a dataset."""

    pattern: Annotated[
        tuple[str, ...],
        Field(
            description="Only recordings that match, such as 'GNWT-290_*' (file name) or 'siteA/*.flac' (path below "
            "audio/; * matches / too). Case does not matter. Repeatable. Default: every audio format."
        ),
    ] = ()
    chunk_duration_s: Annotated[float, Field(description="Length of a chunk in seconds.")] = DEFAULT_DURATION_S
    overlap_s: Annotated[float, Field(description="Seconds of a chunk that the next one repeats.")] = 0.0
    min_chunk_s: Annotated[
        float,
        Field(description="Leave out a last chunk shorter than so many seconds, unless it is the whole recording."),
    ] = DEFAULT_MIN_CHUNK_S
    manifest_dir: Annotated[
        Path, Field(description="Folder of the manifests; a relative path is below the dataset.")
    ] = Path("manifests")
    chunks_dir: Annotated[
        Path,
        Field(
            description="Folder with one folder a recording, for its chunk status and chunk WAVs; a relative path is "
            "below the dataset."
        ),
    ] = Path("artifacts/chunks")
    virtual: Annotated[
        bool,
        Field(
            description="Only write manifests that name the recordings, or each chunk as a WAV too.",
            json_schema_extra=turned_off_by("--write-chunks"),
        ),
    ] = True
    hash_chunks: Annotated[
        bool, Field(description="Virtual chunks: read all audio and write each chunk's SHA-256, that of its WAV.")
    ] = False
    include_existing: Annotated[
        bool,
        Field(
            description="Chunk again what is chunked completely and in the same way, or skip it.",
            json_schema_extra=turned_off_by("--skip-existing"),
        ),
    ] = False
    redo_before: RedoBefore = None
    limit: Annotated[
        int | None, Field(ge=1, description="Chunk at most so many recordings; those that are skipped do not count.")
    ] = None
    workers: Annotated[int, Field(ge=1, le=256, description="Recordings that are chunked at the same time.")] = 4
    record_datalad: Annotated[
        bool | None,
        Field(
            description="With --apply: fetch dropped recordings, and record what was done in the DataLad dataset. "
            "Default: if the dataset is one and DataLad is installed.",
            json_schema_extra=turned_off_by("--no-record-datalad"),
        ),
    ] = None

    def going_on(self, begun: str) -> ChunkSettings:
        """Return the settings that go on with a run of these that began at this time (ISO 8601)."""
        return self.model_copy(update=redoing(self, begun))

    @property
    def cut(self) -> Cut:
        """How recordings are cut.

        Raises
        ------
        RequestError
            When the lengths make no sense.
        """
        return Cut.from_seconds(self.chunk_duration_s, self.overlap_s, self.min_chunk_s)
