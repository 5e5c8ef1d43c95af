"""A detector by the contract of custom commands that works on the GPU, and says on which."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

parser = argparse.ArgumentParser()
parser.add_argument("--input", required=True)
parser.add_argument("--output", required=True)
parser.add_argument("--busy-seconds", type=float, default=0.0, help="multiply matrices for so long")
parser.add_argument("--too-large-once", type=Path, help="run out of memory unless this file exists; make it")
options = parser.parse_args()

seen = []
if torch.cuda.is_available():
    seen = [f"GPU-{torch.cuda.get_device_properties(n).uuid}" for n in range(torch.cuda.device_count())]
    if options.too_large_once and not options.too_large_once.exists():
        options.too_large_once.touch()
        torch.empty(2 * torch.cuda.get_device_properties(0).total_memory, dtype=torch.uint8, device="cuda")
    matrix = torch.rand(4096, 4096, device="cuda")
    end = time.monotonic() + options.busy_seconds
    while time.monotonic() < end:
        for _ in range(20):
            matrix = torch.nn.functional.normalize(matrix @ matrix)
        torch.cuda.synchronize()
detection = {"timestamp_ms": 0, "end_ms": 1000, "label": "noise", "confidence": 0.5, "seen": seen}
Path(options.output).write_text(json.dumps({"detections": [detection]}))
