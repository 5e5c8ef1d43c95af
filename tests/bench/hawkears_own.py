"""HawkEars' own run over a folder of WAVs, in HawkEars' interpreter: `PYTHON hawkears_own.py DATA_ROOT FOLDER THREADS`.

Prints WAVs per minute, from the first that is done to the last: without start-up and the loading of the models.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path


def main(data_root: str, folder: str, threads: str) -> None:
    """Run and print."""
    from hawkears.commands import analyze

    ends: list[float] = []
    with tempfile.TemporaryDirectory() as output:
        analyze(
            input_path=folder,
            output_path=output,
            rtype="csv",
            min_score=0.77,
            num_threads=int(threads),
            quiet=True,
            recording_callback=lambda result: ends.append(time.perf_counter()),
            raise_errors=True,
            data_root=data_root,
        )
    assert len(ends) == len(list(Path(folder).glob("*.wav")))
    print((len(ends) - 1) * 60 / (ends[-1] - ends[0]))


if __name__ == "__main__":
    main(*sys.argv[1:])
