"""HawkEars 2.x as a runner: a resident host process in the interpreter that has HawkEars."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import orjson
from pydantic import Field

from badc.chunks.manifest import Chunk
from badc.detections.result import ChunkResult, ResultStatus, parse_detections
from badc.errors import NotInstalledError, RequestError
from badc.recordings.audio import AudioWindow
from badc.recordings.names import parse_recording_name
from badc.runners.hawkears.places import Coordinates, RecordingCoordinates, digest_of, read_coordinates
from badc.runners.hawkears.script import HawkearsScriptSpec
from badc.runners.hawkears.settings import INSTALL, HawkearsEngine, HawkearsSettings
from badc.runners.interface import FOUND, AtOnce, ChunkTimeout, RunnerOutput, WorkerPlace, chunk_wav
from badc.runners.process.elsewhere import answer_of, host_command
from badc.runners.process.resident import Host
from badc.species.hawkears_files import OWN_PYTHON

_HOST = "badc.runners.hawkears.host"


class HawkearsSpec(HawkearsSettings):
    """Settings of HawkEars 2.x, checked by HawkEars itself.

    `parameters` are those of `hawkears.commands.analyze`, as JSON; `data_root` is absolute.
    """

    kind = "hawkears-resident"
    title = "HawkEars 2.x"
    section = "HawkEars"
    about = "HawkEars 2.x, one process a worker that keeps its models."
    fixed: ClassVar[Mapping[str, Any]] = {"hawkears_engine": HawkearsEngine.RESIDENT}
    keeps_model = True
    threshold = "min_score"
    reads = ("hawkears_sites",)
    aside = HawkearsSettings.aside | {"hawkears_data", "parameters", "data_root", "hawkears_sites", "places"}
    # HawkEars' own default is three threads for a GPU; on a CPU torch keeps every core busy with one chunk.
    at_once = AtOnce(gpu=3, cpu=1)

    hawkears_data: Annotated[
        Path | None,
        Field(description="HawkEars 2.x: its data root, with the weights. Default: where HawkEars itself looks."),
    ] = None
    hawkears_sites: Annotated[
        Path | None,
        Field(
            description="HawkEars 2.x: CSV of the stations, station,latitude,longitude. Each recording is analysed for "
            "its own place and date, and species that HawkEars does not know there and then are left out."
        ),
    ] = None
    chunk_timeout_s: ChunkTimeout = None
    places: Annotated[tuple[tuple[str, Coordinates], ...] | None, Field(json_schema_extra=FOUND)] = None
    parameters: Annotated[str, Field(json_schema_extra=FOUND)] = ""
    data_root: Annotated[str, Field(json_schema_extra=FOUND)] = ""
    # What HawkEars' own configuration says, where it is known: the lowest score that it keeps, and the model's window.
    min_score: Annotated[float | None, Field(json_schema_extra=FOUND)] = None
    window_s: Annotated[float | None, Field(json_schema_extra=FOUND)] = None
    # What HawkEars has otherwise on a CPU than on a GPU: the grouse classifier (on or off), models of the ensemble, and
    # the choice of the cleaner of two channels (on or off).
    low_band: Annotated[str | None, Field(json_schema_extra=FOUND)] = None
    models: Annotated[int | None, Field(json_schema_extra=FOUND)] = None
    choose_channel: Annotated[str | None, Field(json_schema_extra=FOUND)] = None
    # The version of OpenVINO, with which HawkEars runs its models on a CPU where it is installed: scores then differ.
    openvino: Annotated[str | None, Field(json_schema_extra=FOUND)] = None

    @classmethod
    def is_meant(cls, settings: Any) -> bool:
        """Whether the script is not (see `RunnerSpec.is_meant`)."""
        return not HawkearsScriptSpec.is_meant(settings)

    @property
    def description(self) -> str:
        """See `RunnerSpec.description`."""
        as_on_cpus = (
            f"; {self.models} models and the low-band (grouse) classifier off, as HawkEars has it on CPUs "
            "(--hawkears-arg=--low-band has it on)"
        )
        told = f"HawkEars {self.version}, resident in {self.python}, data in {self.data_root}"
        return told + as_on_cpus if self.low_band == "off" and "--no-low-band" not in self.hawkears_arg else told

    def made_with(self, root: Path | None = None) -> dict[str, Any]:
        """See `RunnerSpec.made_with`."""
        sites = None if self.places is None else digest_of(self.places)
        made = super().made_with(root) | {"hawkears_sites": sites}
        return {name: value for name, value in made.items() if value is not None}

    def prepared(self) -> Self:
        """Have HawkEars itself check the settings (see `RunnerSpec.prepared`)."""
        python = find_python(self.hawkears_python)
        if python is None:
            raise NotInstalledError(f"HawkEars is not installed; {INSTALL}")
        checked = self._checked(python)
        found = {
            "python": python,
            "places": self._read_places(checked),
            "version": checked["version"],
            "model_version": checked["model_version"],
            "parameters": orjson.dumps(checked["parameters"], option=orjson.OPT_SORT_KEYS).decode(),
            "data_root": checked["data_root"],
            "min_score": checked["min_score"],
            "window_s": checked["window_s"],
        }
        return self.model_copy(update=found)

    def placed(self, has_gpus: Callable[[], bool]) -> Self:
        """See `RunnerSpec.placed`; a run with GPUs has its CPU workers, too, do as HawkEars does on a GPU."""
        found = dict(self._checked(self.python)["devices"]["cuda" if has_gpus() else "cpu"])
        choose_channel, openvino = found.pop("choose_channel"), found.pop("openvino")
        parameters = orjson.loads(self.parameters) | found
        return self.model_copy(
            update={
                "parameters": orjson.dumps(parameters, option=orjson.OPT_SORT_KEYS).decode(),
                "low_band": "on" if found["low_band"] else "off",
                "models": found["max_models"],
                "choose_channel": "on" if choose_channel else "off",
                "openvino": openvino,
            }
        )

    def _read_places(self, checked: dict[str, Any]) -> tuple[tuple[str, Coordinates], ...] | None:
        if self.hawkears_sites is None:
            return None
        if other := [name for name in ("region", "lat", "lon") if checked["parameters"].get(name) is not None]:
            raise RequestError(
                f"--hawkears-sites gives each recording its own place; leave out --hawkears-arg=--{other[0]}"
            )
        if not checked["takes_places"]:
            raise RequestError(
                f"--hawkears-sites: HawkEars {checked['version']} takes one place for a run; `make hawkears` installs "
                "one that takes each recording's own"
            )
        return read_coordinates(self.hawkears_sites)

    def _checked(self, python: str) -> dict[str, Any]:
        data_root = None if self.hawkears_data is None else str(self.hawkears_data.absolute())
        return _check(python, data_root, self.hawkears_arg)

    def open(self, place: WorkerPlace) -> HawkearsRunner:
        """Make the runner; its host starts at the first chunk."""
        return HawkearsRunner(self, place)


class HawkearsRunner:
    """Sends each chunk to the host as a WAV of its own: HawkEars reads whole files."""

    name = HawkearsSpec.name

    def __init__(self, spec: HawkearsSpec, place: WorkerPlace) -> None:
        options = {
            "do": "serve",
            "parameters": orjson.loads(spec.parameters),
            "data_root": spec.data_root,
            "scratch": str(place.scratch_dir),
            "at_once": place.at_once,
        }
        self._places = None if spec.places is None else RecordingCoordinates(dict(spec.places))
        self._timeout_s = spec.chunk_timeout_s
        self._scratch_dir = place.scratch_dir
        self._host = Host(host_command(spec.python, _HOST, options), place.environment, "HawkEars")

    def detect(self, chunk: Chunk, audio: AudioWindow) -> RunnerOutput:
        """Analyse one chunk in the host (see `Runner.detect`)."""
        recorded_at = parse_recording_name(chunk.recording_id).recorded_at
        date = None if recorded_at is None else f"{recorded_at:%Y%m%d}"
        request: dict[str, Any] = {"date": date}
        note = ""
        if self._places is not None:
            request["place"], note = self._places.of(chunk.recording_id, audio.path)
        with chunk_wav(chunk, audio, self._scratch_dir) as wav:
            answer = self._host.request({"path": str(wav), **request}, self._timeout_s)
        detections = parse_detections(answer["detections"])
        status = ResultStatus.OK if detections else ResultStatus.NO_DETECTIONS
        greeting = self._host.greeting
        result = ChunkResult(chunk, self.name, status, detections, model_version=greeting["model_version"])
        why_fewer = str(greeting.get("why_fewer", ""))
        fits_at_once = greeting["at_once"] if why_fewer else None
        return RunnerOutput(result, note=note, fits_at_once=fits_at_once, why_fewer=why_fewer)

    def close(self) -> None:
        """End the host."""
        self._host.close()


def find_python(given: Path | None) -> str | None:
    """Return the interpreter to look for HawkEars in: the given one, that of `make hawkears`, this one, or None."""
    if given is not None:
        return str(given.absolute())
    if OWN_PYTHON.exists():
        return str(OWN_PYTHON)
    return sys.executable if importlib.util.find_spec("hawkears") is not None else None


@lru_cache(maxsize=8)
def _check(python: str, data_root: str | None, arguments: tuple[str, ...]) -> dict[str, Any]:
    options = {"do": "check", "arguments": arguments, "data_root": data_root}
    answer = answer_of(python, _HOST, options, what="HawkEars", option="--hawkears-python", install=INSTALL)
    if not answer["ok"]:
        if answer.get("code") == "data_root":
            hawkears = Path(python).with_name("hawkears")
            advice = f"`{hawkears} init --dest FOLDER` downloads it, --hawkears-data FOLDER names it"
            raise NotInstalledError(f"HawkEars: {answer['error']}; {advice}")
        raise RequestError(f"HawkEars: {answer['error']}")
    return answer
