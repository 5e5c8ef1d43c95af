"""A real recording for trying BADC: ten seconds of warblers from the PyPI package opensoundscape (MIT).

The package is not a dependency and is never imported; its wheel is unpacked into a temporary folder for that file.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from badc.errors import BadcError
from badc.system import atomic
from badc.system.paths import cache_dir

PACKAGE = "opensoundscape==0.13.2"
_MEMBER = "opensoundscape/sample_data/birds_10s.wav"
_SHA256 = "90e70f9ceb33392a948c10465db50fbf4bf252ae412c2e9f18d0bf9a1e7f31a7"


def fetch_birds_wav() -> Path:
    """Return `birds_10s.wav` (32 kHz, mono, 16 bit, 10.1 s), fetched once into the user's cache folder.

    Raises
    ------
    BadcError
        When the package registry cannot be reached, or returns a different file.
    """
    target = cache_dir() / "birds_10s.wav"
    if target.is_file() and hashlib.sha256(target.read_bytes()).hexdigest() == _SHA256:
        return target
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([*_installer(), "--no-deps", "--target", folder, PACKAGE], capture_output=True, text=True)
        if done.returncode != 0:
            raise BadcError(f"{PACKAGE} cannot be fetched for its sample recording:\n{done.stderr.strip()}")
        data = Path(folder, _MEMBER).read_bytes()
    if hashlib.sha256(data).hexdigest() != _SHA256:
        raise BadcError(f"{PACKAGE}: its {_MEMBER} is not the recording that is expected")
    atomic.write_bytes(target, data)
    return target


def _installer() -> list[str]:
    """Return the command that installs into a folder: uv, whose environments have no pip, else this Python's pip."""
    if shutil.which("uv"):
        return ["uv", "pip", "install", "--quiet", "--python", sys.executable]
    return [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
