"""How an ONNX model wants its audio and gives its scores: from a TOML file, a preset, or the model's own metadata."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from badc.errors import RequestError
from badc.system.choices import Choice
from badc.system.texts import read_text
from badc.system.toml import TomlError, parse_toml


class Scores(Choice):
    """What a model's scores are, and so what makes confidences of them."""

    SIGMOID = "logits-sigmoid"
    SOFTMAX = "logits-softmax"
    PROBABILITIES = "probabilities"


class Normalize(Choice):
    """What is done to each window: nothing, or its mean is taken out and it is scaled to a peak or a deviation of 1."""

    NONE = "none"
    PEAK = "peak"
    STANDARD = "standard"


class Preset(Choice):
    """Models whose documentation says how to use them."""

    BIRDNET_3_0 = "birdnet-3.0"
    PERCH_V2 = "perch-v2"


# Not tried with the real weights. Sources: for BirdNET+ V3.0 the README and analyze.py of
# github.com/birdnet-team/birdnet-V3.0-dev (its scores are thresholded as they are); for Perch v2 `perch_v2` and
# `TaxonomyModelTF` in google-research/perch-hoplite (target_peak), and its outputs `label` and `embedding`.
PRESETS: Mapping[Preset, Mapping[str, Any]] = {
    Preset.BIRDNET_3_0: {"sample_rate_hz": 32_000, "window_s": 3.0, "scores": "probabilities", "normalize": "none"},
    Preset.PERCH_V2: {
        "sample_rate_hz": 32_000,
        "window_s": 5.0,
        "scores": "logits-softmax",
        "normalize": "peak",
        "peak": 0.25,
    },
}
# What a file says of a key that is missing, so that it can be filled in.
_EXAMPLES = {
    "sample_rate_hz": "48000  # Hz, of the audio that the model was trained on",
    "window_s": "3.0  # seconds that the model looks at",
    "scores": '"logits-sigmoid"  # or "logits-softmax", "probabilities"',
    "normalize": '"none"  # or "peak" (with peak = 1.0), "standard"; of each window',
    "output": '"scores"  # the output with the scores: one of {outputs}',
}


_SHORTEST_S = 0.001  # times of detections are in ms


class OnnxConfig(BaseModel):
    """How a model is used.

    `overlap_s` is what neighbouring windows share. `output` and `embedding_output` name outputs. `batch_size` is how
    many windows the model takes at once, None if that is to be found out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sample_rate_hz: Annotated[int, Field(ge=1000, le=1_000_000)]
    window_s: Annotated[float, Field(gt=0, le=600, allow_inf_nan=False)]
    scores: Scores
    normalize: Normalize
    output: str
    peak: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    overlap_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    embedding_output: Annotated[str | None, Field(min_length=1)] = None
    batch_size: Annotated[int | None, Field(ge=1)] = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.overlap_s >= self.window_s:
            raise ValueError(f"overlap_s {self.overlap_s:g} is not less than window_s {self.window_s:g}")
        if min(self.window_s, self.window_s - self.overlap_s) < _SHORTEST_S:
            raise ValueError("windows are to be at least 1 ms long, and to begin at least 1 ms apart")
        return self


def config_of(
    model: Path,
    metadata: Mapping[str, str],
    outputs: Sequence[str],
    found: Mapping[str, Any],
    file: Path | None,
    preset: Preset | None,
) -> OnnxConfig:
    """Return how to use a model; a file takes precedence over a preset, and that over the model's own metadata.

    `outputs` are the names of the model's outputs, and `found` is what follows from them where nothing else says it.

    Raises
    ------
    RequestError
        When a value is wrong, or missing; the text has the TOML to write.
    """
    known = OnnxConfig.model_fields
    own = {name: value for name, value in metadata.items() if name in known}
    given = _read(file) if file else {}
    values = {**found, **own, **(PRESETS[preset] if preset else {}), **given}
    missing = [name for name, field in known.items() if field.is_required() and name not in values]
    if missing:
        lines = "\n".join(f"{name} = {_EXAMPLES[name]}" for name in missing).format(outputs=", ".join(outputs))
        raise RequestError(
            f"{model}: {_listed(missing)} not known: the model's metadata does not say it. Put what is missing into a "
            f"TOML file, with the right values, and give it with --onnx-config:\n{lines}"
        )
    try:
        return OnnxConfig(**values)
    except ValidationError as error:
        problems = []
        for problem in error.errors():
            name = ".".join(map(str, problem["loc"]))
            place = file if file and (not name or name in given) else f"the metadata of {model}"
            problems.append(f"{place}: {name + ': ' if name else ''}{problem['msg'].removeprefix('Value error, ')}")
        raise RequestError("\n".join(problems)) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        values = parse_toml(read_text(path, "file with the model's configuration"))
    except TomlError as error:
        raise RequestError(f"{path}: not TOML ({error})") from None
    for name in values:
        if name not in OnnxConfig.model_fields:
            near = difflib.get_close_matches(name, OnnxConfig.model_fields, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(OnnxConfig.model_fields)}"
            raise RequestError(f"{path}: unknown key {name}; {hint}")
    return values


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'}"
