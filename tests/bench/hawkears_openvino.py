"""HawkEars' model in torch and in OpenVINO, one thread: `PYTHON -P hawkears_openvino.py DATA_ROOT PACKAGES`.

PYTHON has HawkEars, and PACKAGES is a folder with openvino, openvino-telemetry, onnx, onnxscript and onnx-ir, so that
HawkEars' own environment stays without them (`uv pip install --no-deps --target PACKAGES …`). Prints seconds for a
block of windows, by turns, the median of three. With OpenVINO, HawkEars fills every block up to 100 windows.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BLOCK = 100
# Windows of 3 s: of chunks of 15 s, of one minute, of five.
WINDOWS = (5, 20, 100)
ROUNDS = 3


def main(data_root: str, packages: str) -> None:
    """Measure and print."""
    import torch
    from britekit.models.model_loader import load_from_checkpoint
    from hawkears.core.config_loader import get_config

    torch.set_num_threads(1)
    audio = get_config(data_root=data_root).audio
    model = load_from_checkpoint(str(min(Path(data_root, "data", "ckpt").glob("*.ckpt")))).eval()
    inputs = {number: torch.rand(number, 1, audio.spec_height, audio.spec_width) for number in (*WINDOWS, BLOCK)}
    compiled = _compiled(model, inputs[BLOCK], packages)
    seconds: dict[str, list[float]] = {}
    with torch.no_grad():
        for _ in range(ROUNDS):
            for number in WINDOWS:
                seconds.setdefault(f"torch, {number} windows", []).append(_timed(model, inputs[number]))
            seconds.setdefault(f"OpenVINO, {BLOCK} windows", []).append(_timed(compiled, inputs[BLOCK].numpy()))
    for what, times in seconds.items():
        print(f"{what}: {statistics.median(times):.2f} s")


def _compiled(model: Any, block: Any, packages: str) -> Any:
    import torch

    sys.path.append(packages)
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        torch.onnx.export(model, block, str(path), dynamo=False, opset_version=17)
        return openvino.Core().compile_model(path, "CPU", {"INFERENCE_NUM_THREADS": 1})


def _timed(model: Any, block: Any) -> float:
    begin = time.perf_counter()
    model(block)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main(*sys.argv[1:])
