"""The HawkEars 2.x host, run by `badc.runners.hawkears.resident` in the interpreter that has HawkEars.

It calls HawkEars' own Python entry, `hawkears.commands.analyze`, once per chunk. By itself that call would load every
checkpoint each time; here the objects that read files are made at the first call and kept.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import inspect
import json
import sys
import tempfile
import wave
from collections.abc import Callable
from pathlib import Path
from threading import get_ident
from typing import Any

from badc.runners.hawkears.checkpoints import digest_of_checkpoints
from badc.runners.process.serve import Message, serve

# What BADC decides itself: what is read, what is written, and how it is reported.
_OURS = frozenset(
    {
        *("input_arg", "input_path", "output_path", "rtype", "filelist", "start_seconds_str"),
        *("label_field", "recurse", "top", "debug", "quiet"),
    }
)
_WARM_UP_RATE_HZ = 28_000
_WARM_UP_S = 6


class RefusedError(Exception):
    """The options or the data root cannot be used; the text is for the user, the code for the program that asked."""

    def __init__(self, text: str, code: str = "options") -> None:
        super().__init__(text)
        self.code = code


def main(options: dict[str, Any]) -> None:
    """Check options, or serve requests `{path, date}`, maybe with `place`, as `options["do"]` says.

    For `check`, the options are `arguments` (words of HawkEars' command line) and `data_root` (or None). For `serve`,
    they are `parameters` and `data_root` as the check returned them, `scratch`, a folder for HawkEars' own files, and
    `at_once`, how many requests are served at once.
    """
    if options["do"] == "check":
        try:
            answer = {"ok": True} | _check(options["arguments"], options["data_root"])
        except RefusedError as error:
            answer = {"ok": False, "error": str(error), "code": error.code}
        print(json.dumps(answer))
    else:
        serve(lambda: _load(options), options["at_once"], lambda handle: _warm_up(handle, options["scratch"]))


def _check(arguments: list[str], data_root: str | None) -> dict[str, Any]:
    """Return HawkEars' version, the parameters that the arguments mean, and the data root, or raise RefusedError."""
    import hawkears
    from hawkears.core.app_paths import resolve_application_paths
    from hawkears.core.initializer import get_initialization_status

    parameters = _parse(arguments)
    root = resolve_application_paths(data_root).data_root
    status = get_initialization_status(root)
    missing = [*status.missing_resources, *(f"the {name} models" for name in status.missing_bundles)]
    if missing:
        raise RefusedError(f"{root}: HawkEars' data root lacks {', '.join(missing)}", code="data_root")
    config = _config(parameters, str(root))
    return {
        "version": hawkears.__version__,
        "model_version": _model_version(config),
        "parameters": parameters,
        "data_root": str(root),
        "min_score": parameters.get("min_score", config.infer.min_score),
        "window_s": config.audio.spec_duration,
        "takes_places": _takes_places(),
        "devices": {device: _on_device(device, parameters, str(root)) for device in ("cuda", "cpu")},
    }


def _takes_places() -> bool:
    """Whether HawkEars takes a place and a date for each recording."""
    from hawkears.commands import _analyze

    return "occurrence_metadata" in inspect.signature(_analyze.analyze).parameters


def _on_device(device: str, parameters: dict[str, Any], data_root: str) -> dict[str, Any]:
    """Return what HawkEars has on this device, where its configuration differs by device.

    They are parameters, but for `choose_channel`, whether it chooses one of two channels or takes their mean, and
    `openvino`, the version of the library that it then runs its models with, if that is installed.
    """
    from hawkears.core import config_loader

    own_device = config_loader.util.get_device
    config_loader.util.get_device = lambda: device
    try:
        config = _config(parameters, data_root)
    finally:
        config_loader.util.get_device = own_device
    with_openvino = device == "cpu" and importlib.util.find_spec("openvino") is not None
    every_model = len(list(Path(config.misc.ckpt_folder).glob("*.onnx" if with_openvino else "*.ckpt")))
    found = {
        "low_band": config.hawkears.low_band_classifier,
        "max_models": config.infer.max_models or every_model,
        "choose_channel": getattr(config.audio, "choose_channel", False),
        "openvino": importlib.metadata.version("openvino") if with_openvino else None,
    }
    return found | {name: parameters[name] for name in found if parameters.get(name) is not None}


def _config(parameters: dict[str, Any], data_root: str) -> Any:
    from hawkears.core.config_loader import get_config

    return get_config(parameters.get("cfg_path"), data_root=data_root)


def _model_version(config: Any) -> str:
    """Return HawkEars' version, and the digest of the checkpoints of the ensemble and the low-band classifier."""
    import hawkears

    digest = digest_of_checkpoints([Path(config.misc.ckpt_folder), Path(config.hawkears.low_band_ckpt_folder)])
    return f"HawkEars {hawkears.__version__} {digest}"


def _parse(arguments: list[str]) -> dict[str, Any]:
    import click
    from hawkears.commands import _analyze

    command = _analyze._analyze_cmd
    try:
        context = command.make_context("hawkears analyze", list(arguments), resilient_parsing=False)
    except click.exceptions.Exit:
        raise RefusedError("--help is not an option for a run; see `hawkears analyze --help`") from None
    except click.ClickException as error:
        raise RefusedError(f"{error.format_message()} (see `hawkears analyze --help`)") from None
    accepted = inspect.signature(_analyze.analyze).parameters
    found = {}
    for parameter in command.params:
        name = parameter.name or ""
        if context.get_parameter_source(name) is not click.core.ParameterSource.COMMANDLINE:
            continue
        option = max(parameter.opts, key=len)
        if name in _OURS or name not in accepted:
            raise RefusedError(f"{option}: BADC decides this itself, so it cannot be passed on to HawkEars")
        value = context.params[name]
        # The host may run in another folder.
        found[name] = str(Path(value).absolute()) if isinstance(parameter.type, click.Path) else value
    return found


def _load(options: dict[str, Any]) -> tuple[str, Callable[[Message], Message]]:
    model = _Hawkears(options)
    return _model_version(_config(options["parameters"], options["data_root"])), model.handle


def _warm_up(handle: Callable[[Message], Message], scratch: str) -> None:
    """Analyse a few seconds of silence, so that everything is loaded and known to work before the first chunk."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        path = Path(folder, "silence.wav")
        with wave.open(str(path), "wb") as wav:
            wav.setparams((1, 2, _WARM_UP_RATE_HZ, 0, "NONE", ""))
            wav.writeframes(bytes(2 * _WARM_UP_RATE_HZ * _WARM_UP_S))
        handle({"path": str(path), "date": None})


class _Hawkears:
    def __init__(self, options: dict[str, Any]) -> None:
        self._parameters = options["parameters"]
        self._root = options["data_root"]
        self._scratch = options["scratch"]
        self._by_location = self._parameters.get("region") is not None or self._parameters.get("lat") is not None
        self._classes = _keep_what_is_loaded()

    def handle(self, request: Message) -> Message:
        from hawkears.commands import analyze

        parameters = dict(self._parameters)
        # HawkEars uses the date only with a location. The chunk's file may have any name, so for `file` (the date in
        # the file's name) the request brings the recording's date.
        if self._by_location and parameters.get("date") in (None, "file"):
            parameters["date"] = request["date"]
        if "place" in request:
            date = parameters.pop("date", None)
            date = request["date"] if date in (None, "file") else date
            parameters["occurrence_metadata"] = {request["path"]: _metadata(request["place"], date)}
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            result = analyze(
                input_path=request["path"],
                recording_paths=[Path(request["path"])],
                output_path=folder,
                rtype=None,
                label_field="codes",
                return_results=True,
                quiet=True,
                raise_errors=True,
                data_root=self._root,
                **parameters,
            )
        if result is None:
            raise RuntimeError("HawkEars returned no result; its log says why")
        return {"detections": [self._detection(found) for found in result.detections]}

    def _detection(self, found: Any) -> dict[str, Any]:
        classes = self._classes()
        info = None if classes is None else classes.class_info_by_code(found.species)
        name = found.species if info is None else info.name
        start_ms = max(0, round(found.start_time * 1000))
        return {
            "timestamp_ms": start_ms,
            "end_ms": max(start_ms, round(found.end_time * 1000)),
            "label": found.species,
            "label_code": found.species,
            "label_name": name,
            "confidence": min(1.0, max(0.0, round(float(found.score), 6))),
        }


def _metadata(place: list[float] | None, date: str | None) -> dict[str, object]:
    """Return a recording's place and date as HawkEars takes them; without a place it leaves no species out."""
    if place is None:
        return {}
    latitude, longitude = place
    return {"latitude": latitude, "longitude": longitude, "recorded_at": date}


def _keep_what_is_loaded() -> Callable[[], Any]:
    """Make HawkEars build each object that reads a file only once; return a function that gives its class manager.

    All calls of a host have the same options, so the objects of the first call suit every call. Each thread has its own
    objects, as HawkEars' threads have their own predictors. If a version of HawkEars lacks such an object, the models
    are loaded for each chunk, which is slow but right.
    """
    from hawkears.commands import _analyze
    from hawkears.core import analyzer, occurrence_manager
    from hawkears.heuristics.canada import low_band

    managers: dict[Any, Any] = {}
    _keep(_analyze, "deepcopy", lambda config: "config", {})  # which each call then sets the same options in
    _keep(analyzer, "ClassManager", lambda config, *rest, **more: "main", managers)
    _keep(low_band, "ClassManager", lambda config, *rest, **more: "low band", {})
    _write_no_manifest(getattr(analyzer, "Predictor", None))
    _keep(analyzer, "Predictor", lambda path, *rest, **more: path, {}, _as_made)
    _keep(low_band, "Predictor", lambda path, *rest, **more: path, {})
    _keep(occurrence_manager, "OccurrencePickleProvider", lambda path: path, {})
    _configure_once(getattr(low_band, "LowBandHeuristics", None))
    return lambda: managers.get((get_ident(), "main"))


def _write_no_manifest(predictor: Any) -> None:
    """Spare the description of the models that HawkEars writes beside each result: nobody reads it."""
    if hasattr(predictor, "save_manifest"):
        predictor.save_manifest = lambda self, *arguments, **more: None


def _configure_once(heuristics: Any) -> None:
    """Have the low-band classifier merge its configuration at its first call only: it costs time."""
    original = getattr(heuristics, "_init_config", None)
    if original is None:
        return
    kept: dict[int, Any] = {}

    def configure(self: Any, config: Any) -> Any:
        if get_ident() not in kept:
            made = original(self, config)
            if not self.enabled:  # it has none
                return made
            kept[get_ident()] = made
        return kept[get_ident()]

    heuristics._init_config = configure


def _as_made(predictor: Any) -> None:
    """Give a predictor's audio the settings that it was made with.

    After a recording, HawkEars leaves its own defaults there instead of the checkpoints' settings. Where they differ, a
    chunk's scores would depend on whether another chunk came before it.
    """
    predictor.audio.set_config(predictor.cfg)


def _keep(
    module: Any,
    name: str,
    key_of: Callable[..., Any],
    kept: dict[Any, Any],
    renew: Callable[[Any], None] = lambda made: None,
) -> None:
    original = getattr(module, name, None)
    if original is None:
        print(f"{module.__name__} has no {name}: it will be loaded for each chunk", file=sys.stderr)
        return

    def make(*arguments: Any, **more: Any) -> Any:
        key = (get_ident(), key_of(*arguments, **more))
        if key in kept:
            renew(kept[key])
        else:
            kept[key] = original(*arguments, **more)
        return kept[key]

    setattr(module, name, make)
