"""Report every second whose level is above a threshold: a resident command."""

import sys

import numpy as np
from serve import run  # the helper, copied beside this file

THRESHOLD_DB = float(sys.argv[1])  # a model would be loaded here


def detect(samples, rate):
    """Return the loud seconds of a chunk."""
    found = []
    for start in range(0, len(samples), rate):
        level_db = 20 * np.log10(max(np.std(samples[start : start + rate]), 1e-6))
        if level_db >= THRESHOLD_DB:
            at_ms = start * 1000 // rate
            sure = min(1, 1 + level_db / 60)
            found.append({"label": "loud", "confidence": sure, "timestamp_ms": at_ms, "end_ms": at_ms + 1000})
    return found


run(detect, "Loud", "1")
