"""Small ONNX models that hear tones: the share of each band in the energy of a window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

RATE_HZ = 8000
BANDS_HZ = (500, 1500, 3000)
# How such a model is used, as its metadata says it.
METADATA = {"sample_rate_hz": "8000", "window_s": "1.0", "scores": "probabilities", "normalize": "none"}
_TAPS, _STRIDE = 256, 3

# Zero, made of 128 TiB for each time that there are too many windows.
_HUNGRY = [
    helper.make_node("Shape", ["audio"], ["windows"], start=0, end=1),
    helper.make_node("Div", ["windows", "too many"], ["times"]),
    helper.make_node("Mul", ["times", "huge"], ["more"]),
    helper.make_node("Add", ["more", "one"], ["size"]),
    helper.make_node("ConstantOfShape", ["size"], ["zeros"]),
    helper.make_node("ReduceMax", ["zeros"], ["zero"], keepdims=0),
    helper.make_node("Add", ["zero", "least"], ["silence"]),
]


def band_model(
    path: Path,
    bands_hz: Sequence[int] = BANDS_HZ,
    rate_hz: int = RATE_HZ,
    *,
    window_s: float | None = 1.0,
    batch: int | None = None,
    axes: int = 2,
    log: bool = False,
    embedding: bool = False,
    of_silence: float = 1e-9,
    most_windows: int | None = None,
    metadata: Mapping[str, str] = METADATA,
) -> Path:
    """Write a model and return its path.

    Its input is `[batch, samples]`, or `[batch, 1, samples]` with three axes; its output `scores` the share of each
    band, or the logarithm of it. With `of_silence` 0 silence gives NaN. An `embedding` has the energies, twice. A batch
    of more than `most_windows` asks for more memory than any machine has.
    """
    taps = np.arange(_TAPS) - _TAPS / 2
    kernels = [np.hanning(_TAPS) * np.cos(2 * np.pi * hz / rate_hz * taps) for hz in bands_hz]
    constants = {
        "kernels": np.stack(kernels)[:, None, :].astype(np.float32),
        "one": np.array([1], np.int64),
        "last": np.array([2], np.int64),
        "least": np.array(of_silence, np.float32),
    }
    if most_windows:
        constants |= {"too many": np.array([most_windows + 1], np.int64), "huge": np.array([2**45], np.int64)}
    nodes = [] if axes == 3 else [helper.make_node("Unsqueeze", ["audio", "one"], ["channels"])]
    nodes += [
        helper.make_node("Conv", ["audio" if axes == 3 else "channels", "kernels"], ["filtered"], strides=[_STRIDE]),
        helper.make_node("Mul", ["filtered", "filtered"], ["squared"]),
        helper.make_node("ReduceMean", ["squared", "last"], ["means"], keepdims=0),
        *(_HUNGRY if most_windows else []),
        helper.make_node("Add", ["means", "silence" if most_windows else "least"], ["energies"]),
        helper.make_node("ReduceSum", ["energies", "one"], ["all"], keepdims=1),
        helper.make_node("Div", ["energies", "all"], ["share" if log else "scores"]),
        *([helper.make_node("Concat", ["energies", "energies"], ["embedding"], axis=1)] if embedding else []),
        *([helper.make_node("Log", ["share"], ["scores"])] if log else []),
    ]
    samples = None if window_s is None else round(window_s * rate_hz)
    shape = [batch or "batch", *([1] if axes == 3 else []), samples or "samples"]
    outputs = {"embedding": 2 * len(bands_hz), "scores": len(bands_hz)}
    if not embedding:
        del outputs["embedding"]
    graph = helper.make_graph(
        nodes,
        "bands",
        [helper.make_tensor_value_info("audio", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch or "batch", size])
            for name, size in outputs.items()
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
