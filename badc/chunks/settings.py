"""The settings of the commands that cut one recording: `badc chunk manifest`, `run` and `split`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from badc.chunks.cutting import DEFAULT_DURATION_S, DEFAULT_MIN_CHUNK_S, Cut
from badc.settings.model import ARGUMENT, Settings, turned_off_by
from badc.settings.salvage import Salvage


class CutSettings(Settings):
    """How recordings are cut."""

    chunk_duration_s: Annotated[float, Field(description="Length of a chunk in seconds.")] = DEFAULT_DURATION_S
    overlap_s: Annotated[float, Field(description="Seconds of a chunk that the next one repeats.")] = 0.0
    min_chunk_s: Annotated[
        float,
        Field(description="Leave out a last chunk shorter than this many seconds, unless it is the whole recording."),
    ] = DEFAULT_MIN_CHUNK_S
    salvage: Salvage = False

    @property
    def cut(self) -> Cut:
        """How recordings are cut; RequestError when the lengths are invalid."""
        return Cut.from_seconds(self.chunk_duration_s, self.overlap_s, self.min_chunk_s, self.salvage)


class SplitSettings(CutSettings):
    """Settings of `badc chunk split`."""

    audio: Annotated[Path, Field(description="The recording: WAV, FLAC, OGG, MP3, …", json_schema_extra=ARGUMENT)]


class _WithId(SplitSettings):
    recording_id: Annotated[
        str | None,
        Field(description="The recording's id, if another recording has the same file name. Default: that name."),
    ] = None
    include_existing: Annotated[
        bool,
        Field(
            description="Cut a recording anew that has other chunks already, and replace its manifest and chunk WAVs; "
            "results of its earlier chunks count no more. Without it, that is refused."
        ),
    ] = False


class ManifestSettings(_WithId):
    """Settings of `badc chunk manifest`."""

    output: Annotated[
        Path | None,
        Field(description="The manifest. Default: manifests/RECORDING.csv, in the recording's dataset if it has one."),
    ] = None
    hash_chunks: Annotated[
        bool,
        Field(
            description="Read all audio and write each chunk's SHA-256, that of its WAV.",
            json_schema_extra=turned_off_by("--no-hash-chunks"),
        ),
    ] = False
    status_dir: Annotated[
        Path | None,
        Field(description="Also keep a chunk status in this folder, as `badc chunk orchestrate` does for a dataset."),
    ] = None


class ChunkWavSettings(_WithId):
    """Settings of `badc chunk run`."""

    output_dir: Annotated[
        Path | None,
        Field(
            description="Folder for the WAVs. Default: artifacts/chunks/RECORDING, in the recording's dataset if any."
        ),
    ] = None
    manifest: Annotated[
        Path | None,
        Field(description="The manifest. Default: manifests/RECORDING.csv, in the recording's dataset if it has one."),
    ] = None
    dry_run: Annotated[
        bool,
        Field(
            description="Say what would be written and write nothing, or write the chunks.",
            json_schema_extra=turned_off_by("--write-chunks"),
        ),
    ] = False
