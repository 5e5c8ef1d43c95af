"""A `datalad save` while a run writes: nothing of the run is lost, spoiled or saved half-made."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from badc.datalad.environment import environment
from badc.errors import RequestError
from badc.system import atomic
from badc.system.annex import is_locked
from badc.system.output_lock import FOLDER, output_lock
from badc.system.scratch import folder_beside
from badc.telemetry.events import ChunkEvent, EventStatus, TelemetryLog, read_events

pytestmark = pytest.mark.datalad


def _git(dataset: Path, *words: str) -> str:
    return subprocess.run(
        ["git", "-C", str(dataset), *words], env=environment(), check=True, capture_output=True, text=True
    ).stdout


def _save(dataset: Path) -> None:
    subprocess.run(["datalad", "save", "-d", str(dataset)], env=environment(), check=True, capture_output=True)


def _events(log: TelemetryLog, *chunks: str) -> None:
    for chunk in chunks:
        log.write(ChunkEvent(chunk, "REC", EventStatus.START, "2026-05-09T07:18:55.729+00:00"))


def test_a_save_during_a_run_spoils_nothing(datalad_dataset: Path) -> None:
    out, table = datalad_dataset / "artifacts" / "infer", datalad_dataset / "table.parquet"
    path = datalad_dataset / "artifacts" / "telemetry" / "run.jsonl"
    log = TelemetryLog(path)
    _events(log, "a", "b")
    with (
        output_lock(out, frozenset(["REC"]), path),
        folder_beside(datalad_dataset) as scratch,
        atomic.replacing(table) as half,
        half.open("wb") as stream,
    ):
        (scratch / "half.duckdb").write_text("half")
        stream.write(b"half")
        stream.flush()
        _save(datalad_dataset)
        assert is_locked(path)
        stream.write(b" and half")
        assert log.is_whole()
        _events(log, "c")
        assert not path.is_symlink()
        assert log.is_whole()
        with pytest.raises(RequestError, match="another run is writing"), output_lock(out, frozenset(["REC"]), path):
            pass
    log.close()
    assert [event.chunk_id for event in read_events(path)] == ["a", "b", "c"]
    assert not (out / FOLDER).exists()
    assert (table.read_bytes(), table.is_symlink()) == (b"half and half", False)
    saved = _git(datalad_dataset, "ls-files")
    assert "run.jsonl" in saved
    assert FOLDER not in saved
    assert "half.duckdb" not in saved
    _git(datalad_dataset, "annex", "fsck", "artifacts")
    _save(datalad_dataset)
    assert _git(datalad_dataset, "status", "--porcelain") == ""
