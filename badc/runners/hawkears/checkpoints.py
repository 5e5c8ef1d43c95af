"""Which model it was: a digest of an ensemble's checkpoint files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

_SUFFIXES = frozenset({".ckpt", ".onnx", ".pt", ".pth", ".xml", ".bin"})
_BLOCK_BYTES = 1 << 20


def digest_of_checkpoints(folders: Iterable[Path]) -> str:
    """Return the first 12 hex digits of the SHA-256 over the checkpoints' names and contents, in order of name.

    A folder that does not exist counts as empty.
    """
    digest = hashlib.sha256()
    for folder in folders:
        if not folder.is_dir():
            continue
        for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES):
            digest.update(path.name.encode(errors="surrogateescape") + b"\0")
            with path.open("rb") as stream:
                while block := stream.read(_BLOCK_BYTES):
                    digest.update(block)
    return digest.hexdigest()[:12]
