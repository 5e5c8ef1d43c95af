"""Stands in for badc in the tests of job scripts: it writes down how it was called, and ends as the environment says.

FAKE_BADC_CALLS    file that gets one JSON line per call: its words, its process, and what its environment says
FAKE_BADC_CODES    JSON object of exit codes by the first two words, such as {"infer run": 1}; 0 for the others
FAKE_BADC_WAITS    if set, a call waits for SIGTERM, then ends with 130
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

command = " ".join(sys.argv[1:3])


def stopped(*_: object) -> None:
    write("signals", "SIGTERM")
    time.sleep(0.3)  # as a run that closes its books; the script has to wait for it
    sys.exit(130)


def write(name: str, value: object) -> None:
    with Path(os.environ["FAKE_BADC_CALLS"]).open("a") as calls:
        home, again = os.environ.get("PREFECT_HOME"), os.environ.get("BADC_RESUME_WITH")
        calls.write(json.dumps({name: value, "pid": os.getpid(), "prefect_home": home, "resume_with": again}) + "\n")


signal.signal(signal.SIGTERM, stopped)
write("words", sys.argv[1:])
if os.environ.get("FAKE_BADC_WAITS"):
    time.sleep(60)
sys.exit(json.loads(os.environ.get("FAKE_BADC_CODES", "{}")).get(command, 0))
