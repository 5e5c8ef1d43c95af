"""Copies of recordings' audio on a disk of this machine, which are read in place of a disk that is slow or shared."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from badc.inference.plan import InferPlan, PlannedChunk
from badc.system.paths import absolute, require_writable
from badc.system.scratch import Scratch, sweep

_BLOCK_BYTES = 8 << 20
_LEFT_FREE_BYTES = 1 << 30  # for what else is written there, such as the Prefect database of a job
_INSTEAD = "it is read where it is"


class Stage:
    """A folder below `parent` for the copies; removes what killed runs of this user left there.

    Copies are made one at a time, and no further once it is `stopped`. Any thread may call it. Raises RequestError if
    the folder cannot be written.
    """

    def __init__(self, parent: Path, stopped: Callable[[], bool] = lambda: False) -> None:
        parent = absolute(parent)
        require_writable(parent, "folder of --stage-dir")
        parent.mkdir(parents=True, exist_ok=True)
        sweep(parent)
        self._scratch = Scratch(parent)
        self._stopped = stopped
        self._copying = threading.Lock()

    @contextmanager
    def of(self, plan: InferPlan, say: Callable[[str], None]) -> Iterator[InferPlan]:
        """Yield the plan with its audio read from copies, which go with the block; what has none is said."""
        if (made_for := self._folder(say)) is None:
            yield plan
            return
        with made_for as folder:
            paths = dict.fromkeys(planned.audio.path for planned in plan.todo if planned.audio is not None)
            # By number, as files of several folders may share a name; the name stays, as commands may look at it.
            copies = {path: Path(folder, str(n), path.name) for n, path in enumerate(paths)}
            made = {path for path, copy in copies.items() if self._copy(path, copy, say)}
            yield replace(plan, todo=[_read_from(planned, copies, made) for planned in plan.todo])

    def _folder(self, say: Callable[[str], None]) -> tempfile.TemporaryDirectory[str] | None:
        """Make the folder for the copies of a recording; None where the disk is gone, which is said."""
        try:
            with self._copying:  # a machine may clear its temporary folders, also those that are in use
                if self._scratch.ensure():
                    return tempfile.TemporaryDirectory(dir=self._scratch.path, ignore_cleanup_errors=True)
            reason = "something else is in its place"
        except OSError as error:
            reason = str(error.strerror)
        say(f"{self._scratch.path}: no copy can be made there ({reason}); the audio is read where it is")
        return None

    def close(self) -> None:
        """Remove the folder."""
        self._scratch.close()

    def _copy(self, path: Path, copy: Path, say: Callable[[str], None]) -> bool:
        try:
            with self._copying:
                size, free = path.stat().st_size, shutil.disk_usage(self._scratch.path).free
                if size > free - _LEFT_FREE_BYTES:
                    room = f"{size / 1e9:.3g} GB, and {free / 1e9:.3g} GB are free, of which 1 stays so"
                    say(f"no room for a copy of {path.name} in {self._scratch.path.parent}: it has {room}; {_INSTEAD}")
                    return False
                copy.parent.mkdir()
                with path.open("rb") as source, copy.open("wb") as target:
                    while block := source.read(_BLOCK_BYTES):
                        if self._stopped():
                            break
                        target.write(block)
        except OSError as error:
            say(f"{error.filename or path}: could not be copied ({error.strerror}); {_INSTEAD}")
        else:
            if copy.stat().st_size == size:
                return True
        copy.unlink(missing_ok=True)
        return False


def _read_from(planned: PlannedChunk, copies: dict[Path, Path], made: set[Path]) -> PlannedChunk:
    audio = planned.audio
    if audio is None or audio.path not in made:
        return planned
    return replace(planned, audio=replace(audio, copy=copies[audio.path]))
