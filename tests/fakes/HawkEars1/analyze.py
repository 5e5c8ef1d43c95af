"""A stand-in for the script of HawkEars 1.x: its options, its table of labels, its exit codes, its working directory.

It "hears" each of its species once in every recording, at a place that follows from the recording's length.
FAKE_HAWKEARS names a way to fail, FAKE_HAWKEARS_ONLY the one file name (or a part of it) that makes it fail,
FAKE_HAWKEARS_CALLS a file to which each call adds a line.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
from pathlib import Path

import soundfile as sf

COLUMNS = ["filename", "start_time", "end_time", "class_name", "class_code", "score"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-i", "--input", default="")
    parser.add_argument("-o", "--output", default="")
    parser.add_argument("-m", "--merge", type=int, default=1)
    parser.add_argument("-p", "--min_score", type=float, default=0.5)
    parser.add_argument("--rtype", default="audacity")
    parser.add_argument("--lat", type=float)
    parser.add_argument("--lon", type=float)
    parser.add_argument("--date")
    arguments = parser.parse_args()
    # Relative to its own folder, as the real one reads its data.
    species = [line.split(",") for line in Path("species.txt").read_text(encoding="utf-8").splitlines()]
    files = sorted(Path(arguments.input).iterdir())
    note_call(files)
    mode = os.environ.get("FAKE_HAWKEARS", "")
    only = os.environ.get("FAKE_HAWKEARS_ONLY", "")
    fails = not only or any(only in path.name for path in files)
    print(f"analysing {len(files)} recordings", file=sys.stderr)
    if fails and mode == "exit":
        print("no counties found", file=sys.stderr)
        sys.exit(3)
    if fails and mode == "quit":  # how the real one ends after most errors: no output, exit code 0
        print("Error: no checkpoints found", file=sys.stderr)
        sys.exit(0)
    if fails and mode == "thread":
        print("Exception in thread Thread-1 (run):\nRuntimeError: bad recording", file=sys.stderr)
    if fails and mode == "hang":
        time.sleep(600)
    rows = [row for path in files for row in labels(path, species, mode)]
    columns = COLUMNS[:-1] if mode == "column" else COLUMNS
    Path(arguments.output).mkdir(parents=True, exist_ok=True)
    with Path(arguments.output, "HawkEars_labels.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(row[: len(columns)] for row in rows if float(row[-1]) >= arguments.min_score)
        if mode == "short":
            stream.write("half a row\n")
        if mode == "number":
            writer.writerow([rows[0][0], "soon", "later", "Tennessee Warbler", "TEWA", "0.9"])
        if mode == "stranger":
            writer.writerow(["other.wav", "0", "1", "Tennessee Warbler", "TEWA", "0.9"])
        if mode == "bytes":
            stream.flush()
            stream.buffer.write(b"\xff\xfe\n")


def labels(path: Path, species: list[list[str]], mode: str) -> list[list[str]]:
    """Return the rows of one recording."""
    seconds = sf.info(path).duration
    name = path.resolve().name if mode == "resolved" else path.name
    return [
        [name, f"{seconds / 4 * number:.3f}", f"{seconds / 4 * (number + 1):.3f}", *names, f"{0.9 - 0.3 * number:.3f}"]
        for number, names in enumerate(species)
    ]


def note_call(files: list[Path]) -> None:
    """Add a line to the file of calls."""
    if log := os.environ.get("FAKE_HAWKEARS_CALLS"):
        with Path(log).open("a", encoding="utf-8") as stream:
            stream.write(f"{len(files)}\t{os.environ.get('CUDA_VISIBLE_DEVICES')}\n")


if __name__ == "__main__":
    main()
