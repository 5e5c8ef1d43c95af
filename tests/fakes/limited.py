"""A detector that can take windows up to a length; what it does beyond is chosen by `--then`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
import wave
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--input", required=True)
parser.add_argument("--output", required=True)
parser.add_argument("--limit-s", type=float, default=float("inf"))
parser.add_argument("--then", choices=("oom", "exit", "kill", "hang"), default="oom")
parser.add_argument("--hold-mib", type=int, default=0, help="memory to fill for a moment")
parser.add_argument("--record", type=Path, help="a file that gets a line per call: seconds, and the GPUs it may see")
options = parser.parse_args()

with wave.open(options.input) as audio:
    seconds = audio.getnframes() / audio.getframerate()
if options.record:
    with options.record.open("a") as stream:
        stream.write(f"{seconds} {os.environ.get('CUDA_VISIBLE_DEVICES')!r}\n")
if options.hold_mib:
    held = b"x" * (options.hold_mib << 20)
    time.sleep(0.5)
if seconds > options.limit_s:
    if options.then == "oom":
        sys.exit("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.")
    if options.then == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if options.then == "hang":
        time.sleep(600)
    sys.exit(f"{seconds} s are too many")
Path(options.output).write_text(json.dumps({"detections": []}))
