"""Audio of an archive that is larger than the disk: fetched ahead of the workers, and dropped after them."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from badc.chunks.manifest import read_manifest
from badc.datalad.content import drop, fetch
from badc.datalad.environment import DataladError, datalad_problem, git
from badc.datasets.inference.plan import OrchestrationPlan
from badc.datasets.inference.recording import RecordingToInfer
from badc.errors import BadcError, RequestError
from badc.system.annex import content_is_elsewhere, key_of, size_of_content
from badc.system.paths import find_dataset_root

_TICK_S = 0.25
_LAST_FETCH_S = 5.0  # of a run that is stopped: what is fetched later stays here


def require_streamable(plan: OrchestrationPlan) -> None:
    """Raise RequestError if audio is to be fetched ahead or dropped, and the dataset is not git-annex's."""
    if plan.settings.streams and (problem := datalad_problem(find_dataset_root(plan.settings.root))) is not None:
        raise RequestError(f"--fetch-ahead and --drop-after: {problem}")


@dataclass(slots=True)
class _Recording:
    """The audio files of a recording with their contents, by git-annex's keys: files may be copies of each other.

    `lacking` are to be fetched; `error` if some could not be had.
    """

    audio: dict[Path, str] = field(default_factory=dict)
    lacking: list[Path] = field(default_factory=list)
    ready: bool = False
    error: BadcError | None = None
    ended: bool = False


class AudioStream:
    """Gets the audio of recordings in their order, and drops it again: only what it fetched, where git-annex agrees.

    At most `fetch_ahead` recordings are ready and not begun, and no more than `disk_limit` bytes of what it fetched are
    here, which are those of the recordings that are ready, under way, or could not be dropped. Any thread may call it.
    """

    def __init__(
        self, plan: OrchestrationPlan, say: Callable[[str], None], stopped: Callable[[], bool] = lambda: False
    ) -> None:
        settings = plan.settings
        self._plan = plan
        self._root = find_dataset_root(settings.root) or settings.root
        self._ahead = settings.fetch_ahead or 1
        self._limit = settings.disk_limit_bytes
        self._drops = settings.drop_after
        self._say = say
        self._stopped = stopped
        self._changed = threading.Condition()
        self._begun: set[str] = set()
        self._known: dict[str, _Recording] = {}
        # By content.
        self._users: Counter[str] = Counter()
        self._fetched: dict[str, int] = {}  # what it has fetched, or will at once, and not dropped; with the sizes
        self._dropping: set[str] = set()
        self._not_had: dict[str, bool] = {}  # whose audio could not be fetched; whether it was tried again
        self._closed = False
        self._waiting = deque(plan.todo)
        self._thread = threading.Thread(target=self._fetch_all, name="fetch-ahead", daemon=True)
        self._thread.start()

    def wait_for(self, recording: RecordingToInfer) -> None:
        """Return when the audio of a recording is here; raises BadcError if it cannot be had, for this one alone."""
        with self._changed:
            self._begun.add(recording.recording_id)
            self._changed.notify_all()
            while not (found := self._known.get(recording.recording_id)) or not found.ready:
                if self._stopped():
                    return
                if not self._thread.is_alive():
                    raise BadcError("its audio could not be fetched, as fetching has ended")
                self._changed.wait(_TICK_S)
        if found.error is not None:
            raise found.error

    def ended(self, recording: RecordingToInfer) -> None:
        """Drop what was fetched for a recording that has ended, if that is wanted; what stays here is said."""
        with self._changed:
            self._begun.add(recording.recording_id)
            found = self._known.get(recording.recording_id)
            if found is None or found.ended:
                return
            found.ended = True
            self._users.subtract(found.audio.values())
            unused = {p: c for p, c in found.audio.items() if self._users[c] <= 0 and c in self._fetched}
            self._dropping |= set(unused.values())
        if self._drops:
            self._drop(recording, [path for path in unused if not content_is_elsewhere(path)])
        with self._changed:
            self._dropping -= set(unused.values())
            for path in filter(content_is_elsewhere, unused):
                self._fetched.pop(unused[path], None)
            del self._known[recording.recording_id]
            self._begun.discard(recording.recording_id)
            self._changed.notify_all()

    def again(self, recording: RecordingToInfer) -> bool:
        """Whether to try a recording that has ended once more, as its audio could not be fetched: after all others."""
        with self._changed:
            if self._closed or self._not_had.get(recording.recording_id, True):
                return False
            self._not_had[recording.recording_id] = True
            self._waiting.append(recording)
            self._changed.notify_all()
        return True

    def close(self) -> None:
        """Fetch nothing more, and drop what was fetched and not needed."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(_LAST_FETCH_S)
        for recording in self._plan.todo:
            self.ended(recording)

    def _drop(self, recording: RecordingToInfer, paths: Sequence[Path]) -> None:
        try:
            drop(self._root, paths)
        except DataladError as error:
            self._say(f"{recording.recording_id}: its audio stays here: {' '.join(str(error).split())}")

    def _fetch_all(self) -> None:
        while True:
            with self._changed:
                while not self._closed and not (batch := self._next()):
                    self._changed.wait(_TICK_S)
                if self._closed:
                    return
            self._fetch(batch)

    def _next(self) -> list[RecordingToInfer]:
        """Return the recordings to fetch now, as far as the limits allow: one to begin with, later several at once.

        One that cannot be fetched within the limit is known with the reason, and is among them.
        """
        ready = sum(name not in self._begun for name in self._known)
        asked = sum(name not in self._known for name in self._begun)
        most = 1 if len(self._waiting) == len(self._plan.todo) else self._ahead - ready
        batch: list[RecordingToInfer] = []
        while self._waiting and len(batch) < max(most, asked):
            recording = self._waiting[0]
            wanted = self._look_at(recording)
            if not self._dropping.isdisjoint(wanted.audio.values()):
                break
            sizes = {wanted.audio[path]: size_of_content(path) or 0 for path in wanted.lacking}
            if self._limit is not None and sum(self._fetched.values()) + sum(sizes.values()) > self._limit:
                if any(content in self._fetched for each in self._known.values() for content in each.audio.values()):
                    break  # something will be dropped
                wanted = _Recording(error=RequestError(self._too_much(sum(sizes.values()))))
            else:
                self._fetched |= sizes
            self._users.update(wanted.audio.values())
            self._known[recording.recording_id] = wanted
            batch.append(self._waiting.popleft())
        return batch

    def _too_much(self, size: int) -> str:
        kept = sum(self._fetched.values())
        here = f", and {kept:,} bytes could not be dropped" if kept else ""
        return f"its audio has {size:,} bytes, more than --disk-limit {self._plan.settings.disk_limit} allows{here}"

    def _look_at(self, recording: RecordingToInfer) -> _Recording:
        try:
            manifest = read_manifest(recording.manifest, self._plan.settings.root)
            sources = dict.fromkeys(chunk.source_path for chunk in manifest.chunks)
            audio = {path: _content_of(path) for path in map(manifest.locate, sources)}
            return _Recording(audio, [p for p in audio if audio[p] not in self._fetched and content_is_elsewhere(p)])
        except BadcError as error:
            return _Recording(error=error)

    def _fetch(self, batch: Sequence[RecordingToInfer]) -> None:
        found = [self._known[recording.recording_id] for recording in batch]
        reason: BadcError | None = None
        try:
            fetch(self._root, [path for each in found for path in each.lacking])
        except BadcError as error:
            reason = error
        with self._changed:
            for recording, each in zip(batch, found, strict=True):
                if reason is not None and any(map(content_is_elsewhere, each.audio)):
                    each.error = reason
                    self._not_had.setdefault(recording.recording_id, False)
                each.ready = True
            self._changed.notify_all()


def _content_of(path: Path) -> str:
    """Return git-annex's key of a file, or the path of one that it does not keep."""
    if not path.exists() and not path.is_symlink():
        return str(path)
    if (key := key_of(path)) is not None:
        return key
    try:
        return git(path.parent, "annex", "lookupkey", "--", path.name).strip()
    except DataladError:
        return str(path)
