"""The command line as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def badc(*words: object, cwd: Path, module: str = "flows") -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, words)], cwd=cwd, env=environment, capture_output=True, text=True
    )
