#!/usr/bin/env python3
"""Report every second whose level is above a threshold."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import soundfile as sf

parser = argparse.ArgumentParser()
parser.add_argument("--threshold-db", type=float, default=-30.0)
parser.add_argument("--input", type=Path, required=True)
parser.add_argument("--output", type=Path, required=True)
options = parser.parse_args()

samples, rate = sf.read(options.input, dtype="float32", always_2d=True)
mono = samples.mean(axis=1)
detections = []
for start in range(0, len(mono), rate):
    piece = mono[start : start + rate]
    level_db = 20 * np.log10(max(float(np.sqrt(np.mean(piece**2))), 1e-6))
    if level_db < options.threshold_db:
        continue
    detections.append(
        {
            "timestamp_ms": round(start / rate * 1000),
            "end_ms": round((start + len(piece)) / rate * 1000),
            "label": "loud",
            "confidence": round(min(1.0, 1 + level_db / 60), 3),
            "level_db": round(level_db, 1),
        }
    )
options.output.write_text(json.dumps({"detections": detections, "model_version": "loud 1"}))
print(f"{len(detections)} loud seconds", file=sys.stderr)
