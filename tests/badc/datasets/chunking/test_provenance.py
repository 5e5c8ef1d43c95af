"""Chunking in real DataLad datasets: printed lines, fetching, what is refused, records and reruns."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from badc.chunks.manifest import read_manifest
from badc.chunks.status import read_chunk_status, status_path
from badc.datalad.environment import recording_wanted
from badc.datalad.record import record
from badc.datalad.worktree import not_saved_note
from badc.datasets.chunking.decision import ChunkDecision
from badc.datasets.chunking.plan import DatasetPlan, plan_dataset
from badc.datasets.chunking.provenance import (
    batch_run,
    batches,
    fetch_audio,
    recording_run,
    require_recordable,
    unsaved_before,
)
from badc.datasets.chunking.recording import chunk_recording
from badc.datasets.chunking.settings import ChunkSettings
from badc.errors import RequestError
from tests.conftest import shell_variables

pytestmark = pytest.mark.datalad
MakeAudio = Callable[..., Path]


def git(root: Path, *words: str) -> str:
    command = ["git", "-C", str(root), *words]
    return subprocess.run(command, env=shell_variables(), check=True, capture_output=True, text=True).stdout


def datalad(root: Path, *words: str) -> None:
    done = subprocess.run(["datalad", "-C", str(root), *words], env=shell_variables(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def plan(root: Path, fetching: bool = True, **settings: Any) -> DatasetPlan:
    return plan_dataset(ChunkSettings(dataset=root, **{"chunk_duration_s": 1.0, **settings}), fetching)


def chunk_all(planned: DatasetPlan) -> None:
    assert [chunk_recording(r, planned.order).error for r in planned.todo] == [None] * len(planned.todo)


@pytest.fixture
def two_sites(datalad_dataset: Path, make_audio: MakeAudio) -> Path:
    """A DataLad dataset with two recordings of one hostile name, saved."""
    for site in ("site A", "site;B"):
        made = make_audio("o'brien {x} $(touch pwned)é.wav", seconds=2, rate=8000 if site == "site A" else 16000)
        (datalad_dataset / "audio" / site).mkdir()
        made.rename(datalad_dataset / "audio" / site / made.name)
    datalad(datalad_dataset, "save", "-m", "two sites")
    return datalad_dataset


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"virtual": False}, {"hash_chunks": True, "overlap_s": 0.25}])
def test_printed_lines_run_as_pasted_and_make_what_applying_makes(
    two_sites: Path, settings: dict[str, Any], tmp_path: Path
) -> None:
    planned = plan(two_sites, pattern=("site*/*",), **settings)
    lines = [recording_run(planned.order, recording).line() for recording in planned.todo]
    assert git(two_sites, "status", "--porcelain") == "", "printing makes nothing"
    assert len(lines) == 2
    for line in lines:
        done = subprocess.run(["sh", "-c", line], env=shell_variables(), cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr + done.stdout
    assert git(two_sites, "status", "--porcelain") == ""
    assert not list(tmp_path.rglob("pwned"))
    again = plan(two_sites, pattern=("site*/*",), **settings)
    assert {r.decision for r in again.recordings} == {ChunkDecision.SKIP}


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("virtual", [True, False])
def test_a_record_of_several_recordings_can_be_run_again(two_sites: Path, virtual: bool, prefect_api: str) -> None:
    planned = plan(two_sites, virtual=virtual, pattern=("site*/*",))
    require_recordable(planned)
    before = git(two_sites, "rev-parse", "HEAD")
    chunk_all(planned)
    commit = record(batch_run(planned.settings, planned.order, planned.todo))
    assert commit is not None
    assert git(two_sites, "rev-parse", "HEAD~1") == before
    assert git(two_sites, "status", "--porcelain") == ""
    manifests = {r.recording_id: planned.order.manifest_of(r.recording_id).read_text() for r in planned.todo}

    for recording in planned.todo:
        planned.order.manifest_of(recording.recording_id).unlink()
        shutil.rmtree(planned.order.chunks_dir / recording.recording_id)
    datalad(two_sites, "save", "-m", "all gone")
    datalad(two_sites, "rerun", commit)
    assert {name: planned.order.manifest_of(name).read_text() for name in manifests} == manifests
    assert git(two_sites, "status", "--porcelain") == ""
    again = plan(two_sites, virtual=virtual, pattern=("site*/*",))
    assert {r.decision for r in again.recordings} == {ChunkDecision.SKIP}


def test_a_record_of_one_recording_names_the_single_command(datalad_dataset: Path) -> None:
    planned = plan(datalad_dataset, include_existing=True)
    chunk_all(planned)
    run = batch_run(planned.settings, planned.order, planned.todo)
    assert run.command[:4] == ("badc", "chunk", "manifest", "audio/REC.wav")
    assert (run.inputs, run.output_files, run.output_folders) == (
        ("audio/REC.wav",),
        ("manifests/REC.csv",),
        ("artifacts/chunks/REC",),
    )
    assert record(run) is not None
    assert "Chunk REC" in git(datalad_dataset, "log", "-1", "--format=%s")
    assert git(datalad_dataset, "status", "--porcelain") == ""


def test_the_status_that_a_manifest_gets_is_recorded_by_itself(datalad_dataset: Path, make_audio: MakeAudio) -> None:
    make_audio("new.wav").rename(datalad_dataset / "audio" / "new.wav")
    datalad(datalad_dataset, "save", "-m", "one more")
    planned = plan(datalad_dataset)
    require_recordable(planned)
    cut, kept = batches(planned.todo, recorded=True)
    assert [r.recording_id for r in cut] == ["new"]
    chunk_all(planned)
    run = batch_run(planned.settings, planned.order, kept)
    assert (run.inputs, run.outputs) == (("manifests/REC.csv",), ("artifacts/chunks/REC/.chunk_status.json",))
    assert "--include-existing" not in run.command, "run again, it keeps the chunks, too"
    assert record(run) is not None
    assert "artifacts/chunks/REC" not in git(datalad_dataset, "status", "--porcelain")


def test_chunk_wavs_that_are_locked_in_the_annex_are_replaced_and_not_written_through(datalad_dataset: Path) -> None:
    first = plan(datalad_dataset, virtual=False, include_existing=True)
    chunk_all(first)
    record(batch_run(first.settings, first.order, first.todo))
    folder = datalad_dataset / "artifacts" / "chunks" / "REC"
    links = [path for path in folder.glob("*.wav") if path.is_symlink()]
    assert len(links) == 3
    contents = {path.resolve(): path.read_bytes() for path in links}
    again = plan(datalad_dataset, virtual=False, chunk_duration_s=1.5, include_existing=True)
    chunk_all(again)
    record(batch_run(again.settings, again.order, again.todo))
    assert {path: path.read_bytes() for path in contents} == contents
    assert sorted(path.name for path in folder.glob("*.wav")) == ["REC_chunk_0_1500.wav", "REC_chunk_1500_3000.wav"]
    assert git(datalad_dataset, "status", "--porcelain") == ""


def test_dropped_recordings_are_fetched_under_their_own_names(datalad_clone: Path) -> None:
    planned = plan(datalad_clone, include_existing=True)
    assert [r.decision for r in planned.recordings] == [ChunkDecision.FETCH]
    seen: list[tuple[int, int]] = []
    fetch_audio(planned, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (1, 1)
    chunk_all(planned)
    assert read_manifest(datalad_clone / "manifests" / "REC.csv").chunks[0].source_path == "audio/REC.wav"
    status = read_chunk_status(status_path(datalad_clone / "artifacts" / "chunks", "REC"))
    assert status is not None
    assert (status.audio_path, status.recording_ms) == ("audio/REC.wav", 3000)


def test_content_that_no_remote_has_is_told(datalad_clone: Path, datalad_dataset: Path) -> None:
    shutil.rmtree(datalad_dataset)
    planned = plan(datalad_clone, include_existing=True)
    with pytest.raises(RequestError, match=r"audio/REC\.wav"):
        fetch_audio(planned, lambda done, total: None)
    error = chunk_recording(planned.todo[0], planned.order).error
    assert f"`datalad -C {datalad_clone} get audio/REC.wav`" in str(error)


@pytest.mark.long
def test_printed_lines_run_one_after_the_other_although_one_fails(datalad_dataset: Path) -> None:
    audio = datalad_dataset / "audio"
    (audio / "A bad one.wav").write_bytes(b"no audio")
    shutil.copy(audio / "REC.wav", audio / "Z.wav")
    note = not_saved_note(datalad_dataset)
    assert note is not None
    assert "which 2 files have" in note
    words = shlex.split(note.split("`")[3].replace("MESSAGE", "more"))
    subprocess.run(words, env=shell_variables(), check=True, capture_output=True)
    assert not_saved_note(datalad_dataset) is None
    planned = plan(datalad_dataset, pattern=("A*", "Z*"))
    ended = [
        subprocess.run(
            ["sh", "-c", recording_run(planned.order, r).line_among_others()], env=shell_variables()
        ).returncode
        for r in planned.todo
    ]
    assert ended == [1, 0]
    assert not_saved_note(datalad_dataset) is None
    assert (datalad_dataset / "manifests" / "Z.csv").exists()


def test_a_dataset_that_is_dirty_where_the_run_writes_is_refused(datalad_dataset: Path) -> None:
    (datalad_dataset / "README.md").write_text("elsewhere\n")
    require_recordable(plan(datalad_dataset))
    manifest = datalad_dataset / "manifests" / "REC.csv"
    manifest.write_text(manifest.read_text() + "\n")
    with pytest.raises(RequestError, match=r"manifests/REC\.csv: changed"):
        require_recordable(plan(datalad_dataset))


def test_audio_that_is_not_saved_is_refused(datalad_dataset: Path, make_audio: MakeAudio) -> None:
    made = make_audio("new.wav")
    made.rename(datalad_dataset / "audio" / "new.wav")
    with pytest.raises(RequestError, match=r"audio/new\.wav: not saved"):
        require_recordable(plan(datalad_dataset))


def test_what_an_interrupted_run_left_is_no_reason_to_refuse(datalad_dataset: Path) -> None:
    first = plan(datalad_dataset, virtual=False, include_existing=True)
    chunk_all(first)
    path = status_path(datalad_dataset / "artifacts" / "chunks", "REC")
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"status": "in_progress"}))
    again = plan(datalad_dataset, virtual=False)
    assert [r.resumed for r in again.todo] == [True]
    require_recordable(again)


def test_what_was_chunked_but_never_recorded_is_told(datalad_dataset: Path) -> None:
    chunk_all(plan(datalad_dataset))  # and killed before its record
    again = plan(datalad_dataset)
    assert again.todo == []
    assert "artifacts/chunks/REC/.chunk_status.json: not saved" in str(unsaved_before(again))
    datalad(datalad_dataset, "save", "-m", "by hand")
    assert unsaved_before(again) is None


def test_whether_a_run_is_recorded(datalad_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert recording_wanted(datalad_dataset, None) == (True, None)
    assert recording_wanted(datalad_dataset, False) == (False, None)
    plain = tmp_path / "plain"
    plain.mkdir()
    assert recording_wanted(plain, None) == (False, None)
    with pytest.raises(RequestError, match="--record-datalad: "):
        recording_wanted(plain, True)
    for role in ("AUTHOR", "COMMITTER"):
        for what in ("NAME", "EMAIL"):
            monkeypatch.delenv(f"GIT_{role}_{what}")
    monkeypatch.setenv("EMAIL", "")
    recorded, why_not = recording_wanted(datalad_dataset, None)
    assert (recorded, "git does not know who you are" in str(why_not)) == (False, True)


def test_audio_behind_a_linked_folder_cannot_be_recorded(datalad_dataset: Path, make_audio: MakeAudio) -> None:
    make_audio("disk/x.wav")
    (datalad_dataset / "audio" / "linked").symlink_to(datalad_dataset.parent / "disk")
    with pytest.raises(RequestError, match=r"behind the link .*; give --no-record-datalad"):
        require_recordable(plan(datalad_dataset))
