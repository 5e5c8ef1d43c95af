"""A detector by the contract of custom commands: one detection per chunk, made from its real samples.

Options choose how it misbehaves: `--fail-times N --state DIR` fails the first N attempts at each chunk, `--only TEXT`
restricts the misbehaviour to chunks whose name contains TEXT.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import soundfile as sf

parser = argparse.ArgumentParser()
parser.add_argument("--input", required=True)
parser.add_argument("--output", required=True)
parser.add_argument("--only", default="")
parser.add_argument("--until", type=Path, help="misbehave only until this file exists")
parser.add_argument("--fail-times", type=int, default=0)
parser.add_argument("--state", type=Path)
parser.add_argument("--seconds", type=float, default=0.0)
parser.add_argument("--cpu-seconds", type=float, help="how long it takes without a GPU")
parser.add_argument("--touch", type=Path, help="a file to make")
parser.add_argument("--remove", type=Path, help="a folder to remove")
parser.add_argument("--then", choices=("crash", "hang", "nothing", "garbage", "bytes", "oom"))
options = parser.parse_args()

name = Path(options.output).stem
concerned = options.only in name and not (options.until and options.until.exists())
if options.state:
    options.state.mkdir(exist_ok=True)
    with (options.state / name).open("a") as log:
        log.write(f"{os.getpid()}\n")
    attempt = len((options.state / name).read_text().splitlines())
    if concerned and attempt <= options.fail_times:
        print(f"attempt {attempt} at {name} fails on purpose", file=sys.stderr)
        sys.exit(3)
if concerned and options.then == "hang":
    # With a child of its own: the whole process group has to go.
    subprocess.Popen(["sleep", "600"])
    time.sleep(600)
if concerned and options.then == "crash":
    os.kill(os.getpid(), signal.SIGSEGV)
on_cpu = options.cpu_seconds is not None and not os.environ.get("CUDA_VISIBLE_DEVICES")
time.sleep(options.cpu_seconds if on_cpu else options.seconds)
if options.touch:
    options.touch.touch()
if concerned and options.remove:
    shutil.rmtree(options.remove)
if concerned and options.then == "oom":
    print("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", file=sys.stderr)
    sys.exit(1)
samples, rate = sf.read(options.input)
if concerned and options.then == "nothing":
    sys.exit(0)
if concerned and options.then == "garbage":
    Path(options.output).write_text('{"detections": [')
    sys.exit(0)
if concerned and options.then == "bytes":
    os.write(2, b"\xff\xfe not text\n")
    sys.exit(1)
detection = {
    "timestamp_ms": 0,
    "end_ms": round(len(samples) / rate * 1000),
    "label": "noise",
    "confidence": round(min(1.0, float(abs(samples).mean())), 6),
    "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
}
Path(options.output).write_text(json.dumps({"detections": [detection], "model_version": "detector 1"}))
