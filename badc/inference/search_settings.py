"""The settings of `badc report search`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import BeforeValidator, Field, model_validator

from badc.reports.review.settings import ClipSettings
from badc.reports.which_table import asked_for, needed
from badc.runners.interface import ChunkTimeout
from badc.runners.settings import RunnerSettings
from badc.settings.model import ARGUMENT


class SearchSettings(ClipSettings, RunnerSettings):
    """Settings of one search for windows that sound like a clip, or like a window of a recording."""

    sections: ClassVar = {
        "Search": ("embeddings", "recording", "start_s", "top", "as_json"),
        "Review": ("review", "label", "pad_s", "format", "output_dir", "audio_root"),
        **RunnerSettings.sections,
    }

    clip: Annotated[
        Path | None,
        Field(
            description="The sound to search for: WAV, FLAC, OGG, MP3, … of up to a minute. Of a clip with several "
            "windows, the one counts that is most like the window compared.",
            json_schema_extra=ARGUMENT,
        ),
    ] = None
    embeddings: Annotated[
        Path,
        BeforeValidator(asked_for),
        Field(
            description="Folder of embeddings, of a run with --embeddings or of `badc infer aggregate --embeddings`."
        ),
    ] = needed()
    recording: Annotated[
        str | None, Field(description="Id of a recording with embeddings: search for its window at --start.")
    ] = None
    start_s: Annotated[
        float | None,
        Field(ge=0, allow_inf_nan=False, description="Seconds into the recording: the window that contains this time."),
    ] = None
    top: Annotated[int, Field(ge=1, le=10_000, description="How many windows to show, the most similar first.")] = 50
    label: Annotated[
        str | None,
        Field(description="What the review calls the sound, such as a species. Default: the name of the clip."),
    ] = None
    output_dir: Annotated[
        Path | None,
        Field(
            description="A new folder for the review. Default: beside the embeddings, named after them and the clip."
        ),
    ] = None
    review: Annotated[
        bool,
        Field(
            description="Write the clips, and a page to check them with by ear (see `badc review`).",
            json_schema_extra={"off": "--no-review"},
        ),
    ] = True
    chunk_timeout_s: ChunkTimeout = None

    @model_validator(mode="after")
    def _check_query(self) -> Self:
        if (self.clip is None) == (self.recording is None):
            raise ValueError("give a clip, or --recording and --start for a window that has embeddings")
        if (self.recording is None) != (self.start_s is None):
            raise ValueError("--recording and --start belong together")
        return self
