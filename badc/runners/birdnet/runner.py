"""BirdNET 2.4 as a runner, in a resident host process."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Self

import orjson
from pydantic import Field

from badc.chunks.manifest import Chunk
from badc.detections.result import ChunkResult, ResultStatus, parse_detections
from badc.errors import MOST_LISTED, RequestError, listed
from badc.recordings.audio import AudioWindow
from badc.runners.birdnet.host import WINDOW_S
from badc.runners.embeddings import parse_embeddings
from badc.runners.interface import FOUND, ChunkTimeout, ConfidentSpec, RunnerOutput, Switch, WorkerPlace
from badc.runners.process.resident import Host
from badc.species.birdnet_files import labels_file, model_file, model_folder, read_labels
from badc.system.texts import read_text, spelling

MODEL_VERSION = "BirdNET_GLOBAL_6K_V2.4_FP32"


class BirdnetSpec(ConfidentSpec):
    """Settings of BirdNET.

    `species` are the labels (`Scientific name_Common name`) of the species list, or None for all.
    """

    name = "birdnet"
    kind = "birdnet"
    title = "BirdNET 2.4"
    section = "BirdNET"
    about = "BirdNET 2.4, on one CPU core a worker."
    switch = Switch(
        "use_birdnet",
        "Run BirdNET 2.4 (extra: birdnet), on CPU workers. On GPUs, an ONNX file of it runs with --use-onnx.",
    )
    reads = ("species_list",)
    aside = frozenset({"species_list"})
    keeps_model = True
    gpu_advice = "BirdNET 2.4 runs on CPUs; an ONNX file of it, given with --use-onnx, runs on GPUs"
    own_channel = "mean"
    embeds = ("birdnet_overlap_s", "window_s")

    birdnet_overlap_s: Annotated[
        float, Field(ge=0, lt=3, description="BirdNET: seconds that neighbouring 3 s windows share.")
    ] = 0.0
    species_list: Annotated[
        Path | None,
        Field(description="BirdNET: report only the species in this file, one scientific or common name a line."),
    ] = None
    chunk_timeout_s: ChunkTimeout = None
    species: Annotated[tuple[str, ...] | None, Field(json_schema_extra=FOUND)] = None

    @property
    def description(self) -> str:
        """See `RunnerSpec.description`."""
        return f"{MODEL_VERSION}, resident on the CPU"

    @property
    def known_version(self) -> str:
        """See `RunnerSpec.known_version`."""
        return MODEL_VERSION

    def made_with(self, root: Path | None = None) -> dict[str, Any]:
        """See `RunnerSpec.made_with`."""
        return super().made_with(root) | {"window_s": WINDOW_S}

    def prepared(self) -> Self:
        """Check that the model is installed, and read the species list (see `RunnerSpec.prepared`)."""
        model_folder()
        species = None if self.species_list is None else read_species_list(self.species_list)
        return self.model_copy(update={"species": species})

    def open(self, place: WorkerPlace) -> BirdnetRunner:
        """Make the runner; its host starts at the first chunk."""
        return BirdnetRunner(self, place)


class BirdnetRunner:
    """Sends each chunk's place to the host, which reads the audio itself: no temporary WAV is written."""

    name = BirdnetSpec.name

    def __init__(self, spec: BirdnetSpec, place: WorkerPlace) -> None:
        options = {
            "model": str(model_file()),
            "labels": str(labels_file()),
            "model_version": MODEL_VERSION,
            "embeds": place.embeds,
            **spec.model_dump(mode="json", include={"min_confidence", "birdnet_overlap_s", "species"}),
        }
        command = [sys.executable, "-m", "badc.runners.birdnet.host", orjson.dumps(options).decode()]
        self._timeout_s = spec.chunk_timeout_s
        # BLAS would take every core for its products; what starts a worker says how many are its own.
        threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
        self._host = Host(command, {**place.environment, **threads}, "BirdNET")

    def detect(self, chunk: Chunk, audio: AudioWindow) -> RunnerOutput:
        """Analyse one chunk in the host (see `Runner.detect`)."""
        place = asdict(audio) | {"path": str(audio.path), "copy": None if audio.copy is None else str(audio.copy)}
        answer = self._host.request(place, self._timeout_s)
        detections = parse_detections(answer["detections"])
        status = ResultStatus.OK if detections else ResultStatus.NO_DETECTIONS
        version = self._host.greeting["model_version"]
        result = ChunkResult(chunk, self.name, status, detections, model_version=version)
        told = answer.get("embeddings")
        embeddings = None if told is None else parse_embeddings(told)
        return RunnerOutput(result, note=answer["note"], embeddings=embeddings)

    def close(self) -> None:
        """End the host."""
        self._host.close()


def read_species_list(path: Path) -> tuple[str, ...]:
    """Read a species list; return the model's labels that it means, in the model's order.

    Each line is a label, a scientific name or a common name; `#` starts a comment. Of a line with tabs, as of a table,
    every cell that is a name counts. Case, kinds of apostrophes and Unicode's two ways to write é do not matter.

    Raises
    ------
    RequestError
        When the file cannot be read, or lines name no species that the model knows; all of them are listed.
    """
    lines = read_text(path, "species list").splitlines()
    labels = read_labels()
    names: dict[str, str] = {}
    for label in labels:
        scientific, _, common = label.partition("_")
        names |= {spelling(label): label, spelling(scientific): label, spelling(common): label}
    wanted: set[str] = set()
    unknown: list[tuple[int, str]] = []
    for number, line in enumerate(lines, start=1):
        cells = [cell for cell in map(str.strip, line.split("#", 1)[0].split("\t")) if cell]
        known = {names[key] for cell in cells if (key := spelling(cell)) in names}
        wanted |= known
        if cells and not known:
            unknown.append((number, cells[0]))
    if unknown:
        shown = [
            f"{path}:{number}: BirdNET 2.4 knows no species {name!r}{_suggestion(name, names)}"
            for number, name in unknown[:MOST_LISTED]
        ]
        raise RequestError(f"{listed(shown, len(unknown))}\nall names: {labels_file()}")
    if not wanted:
        raise RequestError(f"{path}: the species list is empty")
    return tuple(label for label in labels if label in wanted)


def _suggestion(name: str, names: Mapping[str, str]) -> str:
    near = difflib.get_close_matches(spelling(name), names, 1, cutoff=0.75)
    if not near:
        return ""
    scientific, _, common = names[near[0]].partition("_")
    return f"; did you mean {common} ({scientific})?"
