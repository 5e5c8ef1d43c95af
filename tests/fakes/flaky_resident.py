"""A resident command that finds nothing, and fails the first attempt at a random tenth of the chunks.

Argument: a folder in which a file for each chunk that failed keeps the memory of it. It imports little, so that it
starts at once again after its worker was killed.
"""

import json
import random
import sys
from pathlib import Path

SHARE = 0.1
state = Path(sys.argv[1])

print(json.dumps({"ok": True, "protocol": 1, "name": "flaky"}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    answer = {"id": request["id"], "ok": True, "detections": []}
    if random.Random(request["chunk_id"]).random() < SHARE:
        failed = state / request["chunk_id"]
        if not failed.exists():
            failed.touch()
            answer = {"id": request["id"], "ok": False, "error": "fails on purpose"}
    print(json.dumps(answer), flush=True)
