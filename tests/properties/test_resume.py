"""A run that is interrupted, at whatever moment and however often, ends as one that is not: same outputs, same summary.

What a flow does is done here without Prefect and Dask: the plan, the worker's function and the books are the real ones.
`tests/flows/test_infer_ends.py` interrupts whole runs.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import orjson
import pytest
import soundfile as sf
from hypothesis import example, given
from hypothesis import strategies as st

from badc.chunks.cutting import plan_chunks, write_virtual_manifest
from badc.chunks.manifest import Chunk
from badc.detections.result import ChunkResult, Detection, ResultStatus
from badc.errors import RunnerError
from badc.inference.attempt import Attempt
from badc.inference.ledger import RunLedger
from badc.inference.plan import InferPlan, PlannedChunk, plan_inference
from badc.inference.settings import InferSettings
from badc.inference.worker import infer_chunks
from badc.recordings.audio import AudioWindow, read_samples
from badc.runners.current import close_runner
from badc.runners.interface import RunnerOutput, RunnerSpec, WorkerPlace
from badc.telemetry.events import read_events
from badc.telemetry.summary import RunState, read_jobs, resumable, summary_path
from tests.properties.examples import examples

_CHUNKS = 4
_ATTEMPTS = 2
# How an attempt goes on before its end is known.
_FAILS, _LOST_BEFORE, _LOST_AFTER, _TOLD_TWICE = "fails", "lost before the output", "lost after it", "told twice"


class LoudestSpec(RunnerSpec):
    """Finds the loudest sample of each chunk; the first attempts at some chunks fail."""

    name = kind = "loudest"
    title = about = "The loudest sample"
    aside = frozenset({"failing"})
    failing: tuple[str, ...] = ()

    def open(self, place: WorkerPlace) -> Loudest:
        return Loudest(set(self.failing))


class Loudest:
    """The runner of `LoudestSpec`."""

    name = "loudest"

    def __init__(self, failing: set[str]) -> None:
        self._failing = failing

    def detect(self, chunk: Chunk, audio: AudioWindow) -> RunnerOutput:
        if chunk.chunk_id in self._failing:
            self._failing.discard(chunk.chunk_id)
            raise RunnerError("it failed on purpose")
        samples, rate = read_samples(audio)
        at_ms = int(np.argmax(np.abs(samples[:, 0]))) * 1000 // rate
        found = Detection("loud", round(float(np.abs(samples).max()), 6), at_ms, at_ms)
        return RunnerOutput(ChunkResult(chunk, self.name, ResultStatus.OK, (found,)))

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class Interruption:
    """The end of a run at its nth event: before it is written or after, by a signal or as by `kill -9`.

    After a kill, `cut` bytes of the log's last line are missing, and its summary is that of the last save. `from_log`
    has the next run resume from the log in any case.
    """

    at: int
    before: bool
    killed: bool
    cut: int
    saves: bool
    from_log: bool


class _InterruptedError(Exception):
    pass


class Run:
    """One run to its end or its interruption, as `flows.infer` does it."""

    def __init__(self, plan: InferPlan, faults: Mapping[str, str], until: Interruption | None) -> None:
        self._plan = plan
        self._faults = dict(faults)
        self._until = until
        self._events = itertools.count()
        self.ledger = RunLedger(plan)

    def complete(self) -> bool:
        """Run all chunks; return whether that was not interrupted."""
        try:
            for planned in self._plan.todo:
                self._chunk(planned)
        except _InterruptedError:
            assert self._until is not None
            if not self._until.killed:
                self.ledger.finish(RunState.INTERRUPTED)
            elif self._until.cut:
                content = self._plan.telemetry_log.read_bytes()
                last = content[:-1].rpartition(b"\n")[2] + b"\n"
                self._plan.telemetry_log.write_bytes(content[: -min(self._until.cut, len(last))] if last else content)
            return False
        assert self.ledger.check_disk() == []
        self.ledger.finish(RunState.COMPLETED)
        return True

    def _chunk(self, planned: PlannedChunk) -> None:
        for number in range(_ATTEMPTS + 1):
            self.ledger.expect([planned.key], 2.0 if number < _ATTEMPTS else None)
            fault = self._faults.pop(planned.key, None)
            attempts: list[Attempt] = []
            infer_chunks([planned], self._plan.order, self._reports(fault, attempts))
            if fault in (_LOST_BEFORE, _LOST_AFTER) and number == 0:
                self._event(lambda: self.ledger.close_open([planned.key], "the worker died during this attempt"))
            if not self.ledger.undone([planned]):
                return
        raise AssertionError("it never succeeded")

    def _reports(self, fault: str | None, attempts: list[Attempt]) -> Callable[[Attempt], None]:
        def report(attempt: Attempt) -> None:
            attempts.append(attempt)
            tell = self.ledger.started if attempt.ok is None else self.ledger.ended
            if attempt.ok is not None and fault in (_LOST_BEFORE, _LOST_AFTER):
                if fault == _LOST_BEFORE:
                    path = self._plan.order.output_dir / "REC" / f"{attempt.key}.json"
                    path.unlink(missing_ok=True)
                return
            for _ in range(2 if fault == _TOLD_TWICE else 1):
                self._event(lambda: tell(attempt, "cpu-0"))

        return report

    def _event(self, write: Callable[[], Any]) -> None:
        is_last = self._until is not None and next(self._events) == self._until.at
        if is_last and self._until is not None and self._until.before:
            raise _InterruptedError
        write()
        if self._until is not None and self._until.saves:
            self.ledger.save(force=True)
        if is_last:
            raise _InterruptedError


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording and its manifest."""
    folder = tmp_path_factory.mktemp("dataset")
    audio = folder / "REC.wav"
    sf.write(audio, np.random.default_rng(5).normal(0, 0.1, 1000 * _CHUNKS), 1000, subtype="PCM_16")
    write_virtual_manifest(plan_chunks(audio, 1.0), folder / "REC.csv", hash_chunks=False)
    return folder


def _plan(dataset: Path, folder: Path, number: int, failing: Sequence[str], resume: Path | None) -> InferPlan:
    settings = InferSettings(
        manifest=dataset / "REC.csv",
        output_dir=folder / "out",
        telemetry_log=folder / f"{number}.jsonl",
        resume_summary=resume,
        max_gpus=0,
    )
    return plan_inference(settings, runner=LoudestSpec(failing=tuple(failing)))


def _outputs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "out" / "REC").iterdir() if path.name[0] != "."}


def _jobs(log: Path) -> dict[str, dict[str, Any]]:
    jobs = orjson.loads(summary_path(log).read_bytes())["jobs"]
    return {key: {name: job[name] for name in ("recording_id", "status", "last_error")} for key, job in jobs.items()}


def _assert_each_start_has_its_end(log: Path) -> None:
    starts: Counter[Any] = Counter()
    for event in read_events(log):
        if event.status != "skipped":
            starts[event.chunk_id, event.details["attempt"]] += 1 if event.status == "start" else -1
    assert set(starts.values()) <= {0}


_KEYS = [f"REC_chunk_{start}_{start + 1000}" for start in range(0, 1000 * _CHUNKS, 1000)]
_INTERRUPTIONS = st.builds(
    Interruption,
    at=st.integers(0, 2 * _CHUNKS),
    before=st.booleans(),
    killed=st.booleans(),
    cut=st.integers(0, 400),
    saves=st.booleans(),
    from_log=st.booleans(),
)


@pytest.mark.usefixtures("_fresh_runner")
@examples(8, 1000)
# Killed while the first line of its log was written, and after a chunk had failed once and then succeeded.
@example(interruptions=[Interruption(0, False, True, cut=200, saves=False, from_log=True)], faults={})
@example(interruptions=[Interruption(4, False, True, cut=0, saves=False, from_log=True)], faults={_KEYS[0]: _FAILS})
@given(
    interruptions=st.lists(_INTERRUPTIONS, min_size=1, max_size=3),
    faults=st.dictionaries(
        st.sampled_from(_KEYS), st.sampled_from([_FAILS, _LOST_BEFORE, _LOST_AFTER, _TOLD_TWICE]), max_size=2
    ),
)
def test_an_interrupted_run_ends_as_one_that_is_not(
    dataset: Path, interruptions: list[Interruption], faults: dict[str, str]
) -> None:
    with TemporaryDirectory() as base:
        straight, halting = Path(base, "straight"), Path(base, "halting")
        whole = _plan(dataset, straight, 0, (), None)
        assert Run(whole, {}, None).complete()

        failing = [key for key, fault in faults.items() if fault == _FAILS]
        resume: Path | None = None
        for number, until in enumerate([*interruptions, None]):
            close_runner()
            plan = _plan(dataset, halting, number, failing, resume)
            done = {key for key, _, _ in plan.done}
            ended = Run(plan, faults, until).complete()
            log = plan.telemetry_log
            assert not done & {event.chunk_id for event in read_events(log) if event.status == "start"}, "only the rest"
            if until is None or not until.killed:
                _assert_each_start_has_its_end(log)
            if ended and until is not None:
                break
            resume = log if until is not None and until.from_log else resumable(log)
        assert ended
        assert _outputs(halting) == _outputs(straight)
        assert _jobs(log) == _jobs(whole.telemetry_log)
        assert asdict(read_jobs(log).find(plan.manifest.chunks[0]))["status"] == "success"
