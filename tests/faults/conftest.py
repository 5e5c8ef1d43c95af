"""Faults of the field, each caused for real (docs/reliability.md)."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.flows.conftest import badc, dask, frozen

__all__ = ["badc", "dask", "frozen"]


class SmallDisk:
    """A file system of a few MiB in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filling = path / "filling"

    def fill(self) -> None:
        """Leave no byte free."""
        with suppress(OSError), self._filling.open("ab", buffering=0) as stream:
            while True:
                stream.write(bytes(4096))

    def free(self) -> None:
        """Take away what filled it."""
        self._filling.unlink()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], SmallDisk]]:
    """Return a function that mounts a small disk at a name in `tmp_path`."""
    mounted: list[Path] = []

    def mount(name: str) -> SmallDisk:
        path = tmp_path / name
        path.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", path], capture_output=True)
        if done.returncode != 0:
            pytest.skip("only root can mount a disk here")
        mounted.append(path)
        return SmallDisk(path)

    yield mount
    for path in mounted:
        subprocess.run(["umount", "--lazy", path], check=True)
