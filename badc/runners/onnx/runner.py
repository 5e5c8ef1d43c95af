"""A classifier that is an ONNX file as a runner: a resident host process in the interpreter that has onnxruntime."""

from __future__ import annotations

import hashlib
import importlib.util
import mmap
import os
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from badc.chunks.manifest import Chunk
from badc.detections.result import ChunkResult, Detection, ResultStatus
from badc.errors import NotInstalledError, RequestError, RunnerError
from badc.recordings.audio import AudioWindow
from badc.recordings.channels import mono_at
from badc.runners.embeddings import parse_embeddings
from badc.runners.interface import FOUND, AtOnce, ChunkTimeout, ConfidentSpec, RunnerOutput, WorkerPlace
from badc.runners.onnx.config import Normalize, OnnxConfig, Preset, config_of
from badc.runners.onnx.labels import read_labels
from badc.runners.onnx.remembered import remember, remembered
from badc.runners.process.elsewhere import answer_of, host_command
from badc.runners.process.resident import Host
from badc.settings.model import number_or_auto
from badc.system.annex import require_content
from badc.system.gpus import gpu_in

_HOST = "badc.runners.onnx.host"
_INSTALL = (
    "`make env` in BADC's folder, or `pip install 'badc[onnx]'`, installs onnxruntime, which works on the CPU; "
    "--onnx-python names an interpreter that has onnxruntime, or onnxruntime-gpu, and NumPy"
)
# How a model in ONNX's protobuf names a file beside it that has weights: an entry `location`, and the name's length.
_LOCATION = re.compile(rb"\n\x08location\x12([\x01-\x7f])")
_DIGITS = 16


class Model(BaseModel):
    """What was found out of a model before a run: how it is used, its digest and that of its labels.

    `scores` is how many it gives for a window, where it says so, and `cuda` whether its onnxruntime has CUDA.
    """

    model_config = ConfigDict(frozen=True)

    python: str
    config: OnnxConfig
    digest: str
    labels_digest: str
    scores: int | None
    cuda: bool


class OnnxSpec(ConfidentSpec):
    """Settings of an ONNX model."""

    name = "onnx"
    kind = "onnx"
    title = "An ONNX model"
    section = "ONNX"
    about = "A classifier of waveforms that is an ONNX file, on GPUs or CPUs."
    reads = ("use_onnx", "labels", "onnx_config")
    aside = frozenset({"use_onnx", "labels", "onnx_config", "onnx_preset", "onnx_python", "batch_size", "model"})
    keeps_model = True
    own_channel = "mean"
    embeds = ("sample_rate_hz", "window_s", "overlap_s", "normalize", "peak", "embedding_output")
    # While one chunk is at the GPU, the audio of the next is read.
    at_once = AtOnce(gpu=2, cpu=1)

    use_onnx: Annotated[
        Path,
        Field(description="Run this ONNX file, a classifier of waveforms (extra: onnx), on the GPU of each worker."),
    ]
    labels: Annotated[
        Path | None,
        Field(description="ONNX: the model's labels, one a line, or a table of scientific and common names."),
    ] = None
    onnx_config: Annotated[
        Path | None,
        Field(description="ONNX: a TOML file that says how to use the model, where its metadata does not."),
    ] = None
    onnx_preset: Annotated[
        Preset | None,
        Field(description="ONNX: use the model as the documentation of this one says."),
    ] = None
    onnx_python: Annotated[
        Path | None,
        Field(
            description="ONNX: interpreter that has onnxruntime and NumPy; onnxruntime-gpu for GPUs. Default: this one."
        ),
    ] = None
    batch_size: Annotated[
        int | Literal["auto"],
        BeforeValidator(number_or_auto),
        Field(
            description="ONNX: windows of a chunk that the model takes at once. `auto` finds out how many are fastest, "
            "and remembers it for the GPU."
        ),
    ] = "auto"
    chunk_timeout_s: ChunkTimeout = None
    model: Annotated[Model | None, Field(json_schema_extra=FOUND)] = None

    @property
    def description(self) -> str:
        """See `RunnerSpec.description`."""
        if self.model is None:
            return self.title
        config = self.model.config
        return (
            f"{self.use_onnx.name} ({self.known_version}): {config.sample_rate_hz} Hz, windows of {config.window_s:g} s"
        )

    @property
    def known_version(self) -> str | None:
        """See `RunnerSpec.known_version`."""
        return None if self.model is None else f"ONNX sha256:{self.model.digest}"

    @property
    def no_embeddings(self) -> str | None:
        """See `RunnerSpec.no_embeddings`."""
        if self.model is None or self.model.config.embedding_output is not None:
            return None
        return (
            f"nothing says which output of {self.use_onnx} is an embedding; put embedding_output = NAME into a TOML "
            "file for --onnx-config"
        )

    def made_with(self, root: Path | None = None) -> dict[str, Any]:
        """See `RunnerSpec.made_with`; the model and its labels count by their content."""
        made = super().made_with(root)
        if self.model is None:
            return made
        config = self.model.config
        unused = {"batch_size"} if config.normalize is Normalize.PEAK else {"batch_size", "peak"}
        used = config.model_dump(mode="json", exclude=unused, exclude_none=True)
        return {**made, "labels_sha256": self.model.labels_digest, **used}

    def prepared(self) -> Self:
        """Have onnxruntime open the model, and check what is known of it (see `RunnerSpec.prepared`)."""
        if self.labels is None:
            raise RequestError("--use-onnx needs --labels, the file with the model's labels")
        require_content([self.use_onnx], "ONNX model")
        if not self.use_onnx.is_file():
            raise RequestError(f"{self.use_onnx}: no such ONNX model")
        if self.onnx_python is None and importlib.util.find_spec("onnxruntime") is None:
            raise NotInstalledError(f"onnxruntime is not installed; {_INSTALL}")
        python = sys.executable if self.onnx_python is None else str(self.onnx_python.absolute())
        path = self.use_onnx.absolute()
        checked = _check(python, path, _state_of(path))
        config, scores = _config_of(self, checked)
        read_labels(self.labels, scores)
        model = Model(
            python=python,
            config=config,
            digest=_digest_of(path, _state_of(path)),
            labels_digest=_digest_of_labels(self.labels),
            scores=scores,
            cuda=checked["cuda"],
        )
        return self.model_copy(update={"model": model, "use_onnx": path, "labels": self.labels.absolute()})

    def placed(self, has_gpus: Callable[[], bool]) -> Self:
        """See `RunnerSpec.placed`; RequestError if there are GPUs that its onnxruntime cannot use."""
        assert self.model is not None
        if not self.model.cuda and has_gpus():
            raise RequestError(
                f"the onnxruntime of {self.model.python} has no CUDA, so GPU workers cannot run the model. Install "
                "onnxruntime-gpu and NumPy in an environment, and give its interpreter with --onnx-python; or give "
                "--max-gpus 0, which leaves the GPUs unused"
            )
        return self

    def open(self, place: WorkerPlace) -> OnnxRunner:
        """Make the runner; its host starts at the first chunk."""
        return OnnxRunner(self, place)


class OnnxRunner:
    """Reads each chunk's audio, at the model's rate, and hands it to the host as a temporary file of samples."""

    name = OnnxSpec.name

    def __init__(self, spec: OnnxSpec, place: WorkerPlace) -> None:
        assert spec.model is not None
        assert spec.labels is not None
        model = spec.model
        if _digest_of_labels(spec.labels) != model.labels_digest:
            raise _changed(spec.labels)
        self._config = model.config
        self._model, self._digest = spec.use_onnx, model.digest
        self._labels = read_labels(spec.labels, model.scores)
        self._timeout_s = spec.chunk_timeout_s
        self._scratch_dir = place.scratch_dir
        on_gpu = bool(place.environment.get("CUDA_VISIBLE_DEVICES"))
        gpu = gpu_in(place.environment)
        self._memory_key = f"{gpu.name if gpu else 'GPU' if on_gpu else 'CPU'} {model.digest}"
        given = model.config.batch_size if spec.batch_size == "auto" else spec.batch_size
        self._remembered = remembered(self._memory_key) if given is None else given
        self._finds_out = given is None
        self._version = spec.known_version
        options = {
            "do": "serve",
            "model": str(spec.use_onnx),
            "model_version": self._version,
            "config": model.config.model_dump(mode="json"),
            "labels": len(self._labels),
            "min_confidence": spec.min_confidence,
            "embeds": place.embeds and model.config.embedding_output is not None,
            "gpu": on_gpu,
            "batch": (self._remembered or 1, self._remembered is not None),
        }
        threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
        self._host = Host(host_command(model.python, _HOST, options), {**place.environment, **threads}, "ONNX")

    def detect(self, chunk: Chunk, audio: AudioWindow) -> RunnerOutput:
        """Analyse one chunk in the host (see `Runner.detect`)."""
        # A host that starts anew would load whatever is there now.
        if _digest_of(self._model, _state_of(self._model)) != self._digest:
            raise _changed(self._model)
        samples, note = mono_at(audio, self._config.sample_rate_hz)
        with tempfile.NamedTemporaryFile(dir=self._scratch_dir, suffix=".f32") as file:
            file.write(samples.astype("<f4", copy=False).tobytes())
            file.flush()
            answer = self._host.request({"path": file.name}, self._timeout_s)
        self._remember(answer.get("batch_size"))
        detections = tuple(self._detection(*found) for found in answer["found"])
        status = ResultStatus.OK if detections else ResultStatus.NO_DETECTIONS
        result = ChunkResult(chunk, self.name, status, detections, model_version=self._version)
        if answer["not_finite"]:
            dropped = f"{answer['not_finite']} scores of the model are not finite, and left out"
            note = "; ".join(filter(None, [note, dropped]))
        told = answer.get("embeddings")
        embeddings = None if told is None else parse_embeddings(told)
        return RunnerOutput(result, note=note, engine=answer["engine"], embeddings=embeddings)

    def close(self) -> None:
        """End the host."""
        self._host.close()

    def _detection(self, start_ms: int, end_ms: int, number: int, confidence: float) -> Detection:
        label = self._labels[number]
        return Detection(label.label, confidence, start_ms, end_ms, label.code, label.name)

    def _remember(self, size: int | None) -> None:
        if self._finds_out and size is not None and size != self._remembered:
            remember(self._memory_key, size)
            self._remembered = size


@lru_cache(maxsize=8)
def _check(python: str, model: Path, version: tuple[int, int]) -> dict[str, Any]:
    options = {"do": "check", "model": str(model)}
    answer = answer_of(python, _HOST, options, what="onnxruntime", option="--onnx-python", install=_INSTALL)
    if not answer["ok"]:
        raise RequestError(f"{model}: onnxruntime {answer['version']} cannot open it ({answer['error']})")
    return answer


@lru_cache(maxsize=8)
def _digest_of(model: Path, version: tuple[int, int]) -> str:
    """Return the digest of a model, and of the weights that lie beside it."""
    digest = hashlib.sha256()
    for path in (model, *_weights_of(model)):
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:_DIGITS]


def _digest_of_labels(labels: Path) -> str:
    return hashlib.sha256(labels.read_bytes()).hexdigest()[:_DIGITS]


def _state_of(model: Path) -> tuple[int, int]:
    """Return what changes when a file does: its size and time."""
    status = model.stat()
    return status.st_size, status.st_mtime_ns


def _changed(path: Path) -> RunnerError:
    return RunnerError(f"{path}: has changed since the run began; start it again, or put the file back")


def _weights_of(model: Path) -> list[Path]:
    """Return the files beside a model in which it keeps weights, as large ones do."""
    with model.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        names = {content[found.end() : found.end() + found[1][0]] for found in _LOCATION.finditer(content)}
    paths = (model.parent / os.fsdecode(name) for name in sorted(names) if b"\0" not in name)
    return [path for path in paths if path.is_file()]


def _config_of(spec: OnnxSpec, checked: Mapping[str, Any]) -> tuple[OnnxConfig, int | None]:
    """Return how to use a model, and how many scores it gives, None if it does not say.

    RequestError if its inputs or outputs do not fit that.
    """
    path, outputs = spec.use_onnx, {output["name"]: output["shape"] for output in checked["outputs"]}
    found: dict[str, Any] = {}
    if len(outputs) == 1:
        found["output"] = next(iter(outputs))
    elif spec.labels is not None:
        number = len(read_labels(spec.labels))
        fitting = [name for name, shape in outputs.items() if shape and shape[-1] in (number, number - 1)]
        if len(fitting) == 1:
            found["output"] = fitting[0]
    frames = _frames_of(path, checked["inputs"])
    config = config_of(path, checked["metadata"], list(outputs), found, spec.onnx_config, spec.onnx_preset)
    for name in filter(None, (config.output, config.embedding_output)):
        if name not in outputs:
            raise RequestError(f"{path}: it has no output {name!r}; there are {', '.join(outputs)}")
    wanted = round(config.window_s * config.sample_rate_hz)
    if frames is not None and frames != wanted:
        raise RequestError(
            f"{path}: it takes {frames:,} samples, but windows of {config.window_s:g} s at {config.sample_rate_hz} Hz "
            f"have {wanted:,}; put sample_rate_hz and window_s right, in a TOML file for --onnx-config"
        )
    _require_batch(spec, checked["inputs"][0]["shape"])
    shape = outputs[config.output]
    return config, shape[-1] if shape else None


def _frames_of(path: Path, inputs: list[Mapping[str, Any]]) -> int | None:
    """Return how many samples a model takes, None for any number; RequestError if it takes no waveform."""
    shape = inputs[0]["shape"] if inputs else []
    is_waveform = len(shape) in (1, 2) or (len(shape) == 3 and 1 in shape[1:])
    if len(inputs) > 1 or not is_waveform or inputs[0]["type"] not in ("tensor(float)", "tensor(float16)"):
        told = ", ".join(f"{one['name']} {one['type']} {one['shape']}" for one in inputs)
        raise RequestError(
            f"{path}: not a classifier of waveforms; it takes {told or 'no input'}, and BADC gives one input of float "
            "samples, [windows, samples] or [windows, 1, samples]"
        )
    frames = shape[1] if len(shape) == 3 and shape[2] == 1 else shape[-1]
    return None if frames is None else int(frames)


def _require_batch(spec: OnnxSpec, shape: list[int | None]) -> None:
    fixed = 1 if len(shape) == 1 else shape[0]
    if fixed is not None and spec.batch_size not in ("auto", fixed):
        raise RequestError(f"--batch-size {spec.batch_size}: {spec.use_onnx} takes {fixed} windows at a time, always")
