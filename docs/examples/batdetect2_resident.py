"""Find bats with BatDetect2: a resident command. Run it with an interpreter that has `pip install batdetect2`."""

import sys
from importlib.metadata import version

from batdetect2 import api
from serve import run  # the helper, copied beside this file

CONFIG = api.get_config(detection_threshold=float(sys.argv[1]))


def detect(samples, rate):
    """Return the calls in a chunk; the model wants 256 kHz."""
    calls, _, _ = api.process_audio(samples, rate, config=CONFIG)
    return [
        {
            "label": call["class"],
            "confidence": call["class_prob"],
            "timestamp_ms": call["start_time"] * 1000,
            "end_ms": call["end_time"] * 1000,
            "is_a_call": call["det_prob"],
            "low_hz": call["low_freq"],
            "high_hz": call["high_freq"],
        }
        for call in calls
    ]


run(detect, "BatDetect2", version("batdetect2"), rate=256_000)
