"""The contract of HawkEars 1.x on the models of HawkEars 2.x, whose data root HAWKEARS_DATA_DIR names.

HawkEars 1.x could not be had for the benchmark. This costs what it costs: imports and models once per call, then the
recordings.
"""

from __future__ import annotations

import argparse
import csv
import os
from pathlib import Path

COLUMNS = ("filename", "start_time", "end_time", "class_name", "class_code", "score")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-i", "--input")
    parser.add_argument("-o", "--output")
    parser.add_argument("-m", "--merge", type=int)
    parser.add_argument("-p", "--min_score", type=float)
    parser.add_argument("--rtype")
    arguments = parser.parse_args()
    from hawkears.commands import analyze

    found = analyze(
        input_path=arguments.input,
        recording_paths=sorted(Path(arguments.input).iterdir()),
        output_path=arguments.output,
        rtype=None,
        min_score=arguments.min_score,
        label_field="codes",
        return_results=True,
        quiet=True,
        raise_errors=True,
        data_root=os.environ["HAWKEARS_DATA_DIR"],
    )
    with Path(arguments.output, "HawkEars_labels.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for d in found.detections:
            name = Path(d.recording_path).name
            writer.writerow([name, d.start_time, d.end_time, d.species, d.species, min(d.score, 1.0)])


if __name__ == "__main__":
    main()
