"""What every runner offers, and the settings from which a worker makes one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Protocol, Self, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

from badc.chunks.manifest import Chunk
from badc.detections.fingerprint import MODEL_VERSION, RUNNER
from badc.detections.result import ChunkResult
from badc.errors import RequestError, RunnerError
from badc.recordings.audio import AudioWindow, require_unchanged, wav_bytes
from badc.runners.embeddings import Embeddings
from badc.system import atomic
from badc.system.paths import absolute


@dataclass(frozen=True, slots=True)
class AtOnce:
    """How many chunks a worker gives its runner at once: one with a GPU, and one without."""

    gpu: int = 1
    cpu: int = 1


@dataclass(frozen=True, slots=True)
class RunnerOutput:
    """What a runner made of a chunk.

    `stdout`, `stderr` and `returncode` are of the process that ran for this chunk alone, if there was one. `raw_files`
    is what the program itself wrote, by file name; it is kept beside the chunk's detections. `fits_at_once` is how many
    chunks the runner can take at once where it found that they are fewer than asked for, and `why_fewer` the reason.
    `note` is what a person should know of the chunk: its audio, or what its runner did not do. `embeddings` are those
    of its windows, from a runner that gives them. `engine` is what computed it, such as a library and its device, where
    that may differ between workers.
    """

    result: ChunkResult
    stdout: str = ""
    stderr: str = ""
    returncode: int | None = None
    raw_files: Mapping[str, bytes] = field(default_factory=dict)
    fits_at_once: int | None = None
    why_fewer: str = ""
    note: str = ""
    engine: str = ""
    embeddings: Embeddings | None = None


@dataclass(frozen=True, slots=True)
class WorkerPlace:
    """What a runner may use on its worker, and whether its embeddings are wanted (`embeds`).

    `scratch_dir` is a folder for temporary files, of this worker process alone; `environment` holds variables for the
    runner's processes, such as `CUDA_VISIBLE_DEVICES`. Up to `at_once` threads call the runner at the same time.
    """

    scratch_dir: Path
    environment: dict[str, str] = field(default_factory=dict)
    at_once: int = 1
    embeds: bool = False


class Runner(Protocol):
    """Turns chunks into detections. One is made per worker process and kept until the process ends."""

    name: str

    def detect(self, chunk: Chunk, audio: AudioWindow) -> RunnerOutput:
        """Analyse one chunk. Several threads may call it, if `RunnerSpec.at_once` says so.

        Raises
        ------
        RunnerError
            When this attempt failed. The runner must be ready for the next call.
        """

    def close(self) -> None:
        """End the runner's processes."""


@runtime_checkable
class BatchRunner(Runner, Protocol):
    """A runner that saves time by taking several chunks in one call (`--chunks-per-task`)."""

    def detect_batch(self, items: Sequence[tuple[Chunk, AudioWindow]]) -> list[RunnerOutput | RunnerError]:
        """Analyse several chunks in one call; return what became of each, in their order.

        Raises
        ------
        RunnerError
            When the call failed as a whole, and with it every chunk's attempt.
        """


ChunkTimeout = Annotated[
    float | None,
    Field(
        gt=0,
        allow_inf_nan=False,
        description="Kill the runner when a chunk takes longer than this many seconds; a failed attempt.",
    ),
]
# The json_schema_extra of a field that is not an option: `RunnerSpec.prepared` finds out its value.
FOUND = {"found": True}


@dataclass(frozen=True, slots=True)
class Switch:
    """The option that chooses a runner without a required field of its own.

    `field` is its name in the settings, such as `use_birdnet`; `off` is the option that turns it off, or empty.
    """

    field: str
    description: str
    off: str = ""


class RunnerSpec(BaseModel):
    """A runner's settings, all that a worker needs to make it: frozen, hashable, and small enough to travel.

    Its fields, except those marked `FOUND`, are options, keys of run configurations, and fields of a block and a form.
    A field's name is unique among the runners, unless they have it from a common base. A required field (one without a
    default) chooses its runner.

    Attributes
    ----------
    name
        What results say as `runner`.
    kind
        Names its block and form: `badc-KIND`. It differs from the name where a program has several runners.
    title, about
        What a person calls it, and a sentence about it.
    section
        The heading of its options in the help.
    switch
        The option that chooses it; None if a required field does, or if it runs when nothing is chosen.
    fixed
        Values of fields that follow from choosing it as a block or a form.
    reads
        Fields that name files which a run reads; its record names them.
    aside
        Fields that cannot change a detection: how the program is found and run, and what others stand for.
    takes_batches, keeps_model
        Whether its runner is a `BatchRunner`, and whether it loads a model at its first chunk and keeps it.
    at_once
        How many chunks at once suit its runner; None if that can take one only.
    gpu_advice
        How GPUs can be used instead, where it cannot use them; it then gets no GPU workers. None if it can.
    threshold
        Its setting that is the lowest confidence of what it keeps, among those that `made_with` returns; or None.
    own_channel
        What it does by itself of the choices of `--channel`; None for what is none of them.
    embeds
        Which settings, among those that `made_with` returns, make its embeddings, beside its name and model version;
        None if it gives none.
    secrets_from
        Its field of names of environment variables, whose values its program gets and no record shows; or None.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]
    kind: ClassVar[str]
    title: ClassVar[str]
    about: ClassVar[str]
    section: ClassVar[str] = "Runner"
    switch: ClassVar[Switch | None] = None
    fixed: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    reads: ClassVar[tuple[str, ...]] = ()
    aside: ClassVar[frozenset[str]] = frozenset()
    takes_batches: ClassVar[bool] = False
    keeps_model: ClassVar[bool] = False
    at_once: ClassVar[AtOnce | None] = None
    gpu_advice: ClassVar[str | None] = None
    threshold: ClassVar[str | None] = None
    own_channel: ClassVar[str | None] = None
    embeds: ClassVar[tuple[str, ...] | None] = None
    secrets_from: ClassVar[str | None] = None

    @classmethod
    def options(cls) -> dict[str, FieldInfo]:
        """Return the fields that are options."""
        return {name: field for name, field in cls.model_fields.items() if field.json_schema_extra != FOUND}

    @classmethod
    def own_options(cls) -> dict[str, FieldInfo]:
        """Return the options without the time limit, which a command has among its own limits."""
        return {name: field for name, field in cls.options().items() if name != "chunk_timeout_s"}

    @classmethod
    def choice(cls) -> str | None:
        """Return the field of the settings that chooses this runner, or None if it runs when no field does."""
        if cls.switch is not None:
            return cls.switch.field
        return next((name for name, field in cls.options().items() if field.is_required()), None)

    @classmethod
    def is_meant(cls, settings: Any) -> bool:
        """Whether settings mean this one among the runners with the same switch."""
        return True

    @classmethod
    def from_anywhere(cls, name: str, value: Any) -> Any:
        """Return the value of an option as it is in another working directory: a path becomes absolute.

        Raises
        ------
        RequestError
            When it names a file that is not here.
        """
        return absolute(value) if isinstance(value, Path) else value

    def prepared(self) -> Self:
        """Return the settings as workers get them, with the `FOUND` fields filled in.

        Raises
        ------
        RequestError
            When the runner is not installed, or a setting names something that is not there.
        """
        return self

    def placed(self, has_gpus: Callable[[], bool]) -> Self:
        """Return prepared settings with what depends on whether the run's workers have GPUs; asking that takes time."""
        return self

    @property
    def description(self) -> str:
        """What a run says it uses: name, version if known, and how it is run."""
        return self.title

    @property
    def known_version(self) -> str | None:
        """The `model_version` of its results, if it is known before a run."""
        return None

    @property
    def no_embeddings(self) -> str | None:
        """Why it gives no embeddings although its runner can, and the way out; None if it gives some."""
        return None

    def made_with(self, root: Path | None = None) -> dict[str, Any]:
        """Return what makes its results, for their fingerprint: runner, model version if known, and its own settings.

        Settings not yet prepared are unknown, thus absent. Files below `root`, the dataset's, are named from there.
        """
        version = {} if self.known_version is None else {MODEL_VERSION: self.known_version}
        own = self.model_dump(mode="json", exclude={"chunk_timeout_s", *self.aside})
        return {RUNNER: self.name, **version, **own}

    def open(self, place: WorkerPlace) -> Runner:
        """Make the runner on its worker."""
        raise NotImplementedError


class ConfidentSpec(RunnerSpec):
    """The settings of runners that leave out what is not confident enough."""

    threshold = "min_confidence"

    min_confidence: Annotated[
        float, Field(ge=0, le=1, description="BirdNET and ONNX models: leave out detections below this confidence.")
    ] = 0.25


@contextmanager
def chunk_wav(chunk: Chunk, audio: AudioWindow, folder: Path) -> Iterator[Path]:
    """Yield a chunk as a WAV: its own file if it has one, else a file in `folder` that goes when the block ends."""
    if audio.whole_file:
        require_unchanged(audio)
        yield audio.file
        return
    path = folder / f"{chunk.chunk_id}.wav"
    try:
        with atomic.naming(path):
            path.write_bytes(wav_bytes(audio))
        yield path
    finally:
        path.unlink(missing_ok=True)


def variables_named(option: str, names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return environment variables of this process with their values; RequestError with `option` if one is not set."""
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise RequestError(
            f"{option} {missing[0]}: this variable is not set here; set it with `export {missing[0]}=…`, or give the "
            "--runner-block that keeps it"
        )
    return tuple((name, os.environ[name]) for name in names)
