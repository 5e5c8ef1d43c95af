"""Chunking: the windows, virtual chunks, chunk WAVs and the status file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from badc.chunks.cutting import plan_chunks, windows, write_chunk_wavs, write_virtual_manifest
from badc.chunks.manifest import read_manifest
from badc.chunks.status import STATUS_FILE
from badc.errors import RequestError
from badc.recordings.audio import AudioError, probe, read_samples, window_of

MakeAudio = Callable[..., Path]


def status(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / STATUS_FILE).read_bytes())
    return found


def wavs(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.wav"))


@pytest.mark.parametrize(
    ("total", "duration", "overlap", "expected"),
    [
        (120_000, 60_000, 0, [(0, 60_000), (60_000, 120_000)]),
        (90_000, 60_000, 0, [(0, 60_000), (60_000, 90_000)]),
        (61_000, 60_000, 0, [(0, 60_000), (60_000, 61_000)]),
        (60_999, 60_000, 0, [(0, 60_000)]),
        (120_000, 60_000, 30_000, [(0, 60_000), (30_000, 90_000), (60_000, 120_000)]),
        (130_000, 60_000, 30_000, [(0, 60_000), (30_000, 90_000), (60_000, 120_000), (90_000, 130_000)]),
        (10_000, 60_000, 0, [(0, 10_000)]),
        (60_000, 60_000, 0, [(0, 60_000)]),
        (22, 60_000, 0, [(0, 22)]),
    ],
)
def test_windows_cover_the_recording(total: int, duration: int, overlap: int, expected: list[tuple[int, int]]) -> None:
    assert windows(total, duration, overlap) == expected


@pytest.mark.parametrize("duration", [0, -1, -60_000])
def test_a_duration_that_is_not_positive_is_refused(duration: int) -> None:
    with pytest.raises(RequestError, match="--chunk-duration"):
        windows(1000, duration)


@pytest.mark.parametrize("overlap", [1000, 1001, -1])
def test_an_overlap_that_is_not_shorter_than_the_chunk_is_refused(overlap: int) -> None:
    with pytest.raises(RequestError, match=r"--overlap .* --chunk-duration"):
        windows(10_000, 1000, overlap)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -1.0, 0.0001])
def test_lengths_that_make_no_sense_are_refused(make_audio: MakeAudio, wrong: float) -> None:
    with pytest.raises(RequestError, match="--chunk-duration"):
        plan_chunks(make_audio(), wrong)


def test_min_chunk_decides_about_the_tail_and_the_plan_says_what_is_left_out(make_audio: MakeAudio) -> None:
    path = make_audio(seconds=2.6)
    for min_chunk_s, count, left_out_ms in ((1.0, 2, 600), (0.6, 3, 0), (0.0, 3, 0)):
        plan = plan_chunks(path, 1.0, min_chunk_s=min_chunk_s)
        assert (len(plan.chunks), plan.left_out_ms) == (count, left_out_ms)


def test_a_recording_shorter_than_min_chunk_is_one_chunk(make_audio: MakeAudio) -> None:
    (chunk,) = plan_chunks(make_audio(seconds=0.3)).chunks
    assert (chunk.chunk_id, chunk.duration_ms) == ("REC_chunk_0_300", 300)


def test_a_recording_shorter_than_a_millisecond_is_refused(make_audio: MakeAudio) -> None:
    with pytest.raises(RequestError, match="shorter than 1 ms"):
        plan_chunks(make_audio(seconds=3 / 8000))


def test_broken_audio_is_refused(make_audio: MakeAudio, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"no audio")
    with pytest.raises(AudioError, match=r"a\.wav"):
        plan_chunks(tmp_path / "a.wav")


def test_only_the_first_chunk_overlaps_nothing(make_audio: MakeAudio) -> None:
    plan = plan_chunks(make_audio(seconds=4), 2.0, 0.5)
    assert [(c.start_ms, c.end_ms, c.overlap_ms) for c in plan.chunks] == [
        (0, 2000, 0),
        (1500, 3500, 500),
        (3000, 4000, 500),
    ]


def test_an_annexed_recording_keeps_its_own_name(make_audio: MakeAudio, tmp_path: Path) -> None:
    make_audio("ds/.git/annex/objects/MD5E-s1--0a.wav")
    (tmp_path / "ds" / ".datalad").mkdir()
    (tmp_path / "ds" / "audio").mkdir()
    link = tmp_path / "ds" / "audio" / "REC.wav"
    link.symlink_to("../.git/annex/objects/MD5E-s1--0a.wav")
    plan = plan_chunks(link)
    assert (plan.recording_id, plan.dataset_root) == ("REC", tmp_path / "ds")
    assert plan.chunks[0].source_path == "audio/REC.wav"


def test_outside_a_dataset_the_source_is_absolute(make_audio: MakeAudio, tmp_path: Path) -> None:
    make_audio()
    assert plan_chunks(Path("REC.wav")).chunks[0].source_path == str(tmp_path / "REC.wav")


def test_a_virtual_manifest_writes_no_audio(make_audio: MakeAudio, tmp_path: Path) -> None:
    plan = plan_chunks(make_audio(seconds=2), 1.0)
    write_virtual_manifest(plan, tmp_path / "m" / "REC.csv", hash_chunks=False)
    assert list(read_manifest(tmp_path / "m" / "REC.csv").chunks) == list(plan.chunks)
    assert [path.name for path in (tmp_path / "m").iterdir()] == ["REC.csv"]


@pytest.mark.parametrize(("name", "subtype"), [("REC.wav", "PCM_16"), ("REC.wav", "FLOAT"), ("REC.flac", "PCM_24")])
def test_hashes_of_virtual_chunks_are_those_of_the_wavs(
    make_audio: MakeAudio, tmp_path: Path, name: str, subtype: str
) -> None:
    plan = plan_chunks(make_audio(name, seconds=2.5, subtype=subtype), 1.0)
    seen: list[int] = []
    write_virtual_manifest(plan, tmp_path / "virtual.csv", hash_chunks=True, on_chunk=seen.append)
    written = write_chunk_wavs(plan, tmp_path / "chunks", tmp_path / "real.csv")
    virtual = read_manifest(tmp_path / "virtual.csv").chunks
    assert seen == [1, 2]
    assert [c.sha256 for c in virtual] == [c.sha256 for c in written]
    for c in written:
        assert hashlib.sha256(Path(c.source_path).read_bytes()).hexdigest() == c.sha256


def test_chunk_wavs_hold_the_windows_and_can_be_read_in_their_place(make_audio: MakeAudio, tmp_path: Path) -> None:
    path = make_audio(seconds=3, channels=2)
    plan = plan_chunks(path, 1.0)
    write_chunk_wavs(plan, tmp_path / "chunks", tmp_path / "REC.csv")
    for c in read_manifest(tmp_path / "REC.csv").chunks:
        own = Path(c.source_path)
        assert own == tmp_path / "chunks" / f"{c.chunk_id}.wav"
        np.testing.assert_array_equal(
            read_samples(window_of(own, probe(own), c.start_ms, c.end_ms))[0],
            read_samples(window_of(path, probe(path), c.start_ms, c.end_ms))[0],
        )


def test_the_status_file_tells_of_a_completed_cut(make_audio: MakeAudio, tmp_path: Path) -> None:
    plan = plan_chunks(make_audio(seconds=3), 1.0, 0.25)
    folder = tmp_path / "chunks"
    states: list[str] = []
    write_chunk_wavs(plan, folder, tmp_path / "REC.csv", lambda done: states.append(status(folder)["status"]))
    assert set(states) == {"in_progress"}
    found = status(folder)
    assert list(found) == [
        "recording_id",
        "audio_path",
        "manifest_path",
        "status",
        "started_at",
        "completed_at",
        "updated_at",
        "manifest_rows",
        "chunk_duration",
        "overlap",
        "error",
        "audio_bytes",
        "recording_ms",
        "min_chunk",
        "virtual",
        "hash_chunks",
    ]
    assert (found["min_chunk"], found["virtual"], found["hash_chunks"]) == (1.0, False, True)
    assert (found["recording_id"], found["status"], found["error"]) == ("REC", "completed", None)
    assert (found["audio_path"], found["manifest_path"]) == (str(tmp_path / "REC.wav"), str(tmp_path / "REC.csv"))
    assert (found["manifest_rows"], found["chunk_duration"], found["overlap"]) == (len(plan.chunks), 1.0, 0.25)
    assert (found["audio_bytes"], found["recording_ms"]) == ((tmp_path / "REC.wav").stat().st_size, 3000)
    assert found["started_at"] <= found["completed_at"] == found["updated_at"]
    assert found["completed_at"].endswith("+00:00")


def test_a_cut_that_fails_says_so_in_the_status_file(make_audio: MakeAudio, tmp_path: Path) -> None:
    path = make_audio("REC.flac", seconds=4)
    plan = plan_chunks(path, 1.0)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(AudioError):
        write_chunk_wavs(plan, tmp_path / "chunks", tmp_path / "REC.csv")
    found = status(tmp_path / "chunks")
    assert (found["status"], found["completed_at"], found["manifest_rows"]) == ("failed", None, None)
    assert "REC.flac" in found["error"]
    assert not (tmp_path / "REC.csv").exists()


def test_a_cut_that_is_interrupted_says_so_in_the_status_file(make_audio: MakeAudio, tmp_path: Path) -> None:
    def interrupt(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_chunk_wavs(plan_chunks(make_audio()), tmp_path / "chunks", tmp_path / "REC.csv", interrupt)
    assert (status(tmp_path / "chunks")["status"], status(tmp_path / "chunks")["error"]) == (
        "failed",
        "KeyboardInterrupt",
    )


def test_another_cut_removes_the_chunks_of_the_one_before(make_audio: MakeAudio, tmp_path: Path) -> None:
    path = make_audio(seconds=4)
    for duration, expected in ((1.0, 4), (2.0, 2), (3.0, 2)):
        plan = plan_chunks(path, duration)
        write_chunk_wavs(plan, tmp_path / "chunks", tmp_path / "REC.csv", include_existing=True)
        assert wavs(tmp_path / "chunks") == sorted(f"{chunk.chunk_id}.wav" for chunk in plan.chunks)
        assert len(plan.chunks) == expected == status(tmp_path / "chunks")["manifest_rows"]


def test_another_cut_removes_nothing_else(make_audio: MakeAudio, tmp_path: Path) -> None:
    path = make_audio(seconds=2)
    others = ["REC_chunk_notes.wav", "REC_chunk_0_1000.wav.txt", "OTHER_chunk_0_1000.wav", "REC2_chunk_0_1000.wav"]
    (tmp_path / "chunks").mkdir()
    for name in [*others, "REC_chunk_0_777.wav"]:
        (tmp_path / "chunks" / name).touch()
    again = plan_chunks(path, 2.0), tmp_path / "chunks", tmp_path / "REC.csv"
    with pytest.raises(
        RequestError, match=r"has 1 chunk WAV of an earlier cut of REC, such as REC_chunk_0_777\.wav, w"
    ):
        write_chunk_wavs(*again)
    assert (tmp_path / "chunks" / "REC_chunk_0_777.wav").exists()
    write_chunk_wavs(*again, include_existing=True)
    left = {entry.name for entry in (tmp_path / "chunks").iterdir()}
    assert left == {*others, "REC_chunk_0_2000.wav", STATUS_FILE}


def test_hostile_ids_are_cut_and_read_back(make_audio: MakeAudio, tmp_path: Path, hostile_id: str) -> None:
    plan = plan_chunks(make_audio(f"{hostile_id}.wav", seconds=2), 1.0)
    assert plan.recording_id == hostile_id
    write_chunk_wavs(plan, tmp_path / "c" / hostile_id, tmp_path / "m" / f"{hostile_id}.csv")
    found = read_manifest(tmp_path / "m" / f"{hostile_id}.csv").chunks
    assert [sf.info(chunk.source_path).frames for chunk in found] == [8000, 8000]


def test_a_chunks_folder_that_cannot_be_made_is_an_os_error_and_leaves_no_manifest(
    make_audio: MakeAudio, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        write_chunk_wavs(plan_chunks(make_audio()), tmp_path / "file" / "chunks", tmp_path / "REC.csv")
    assert not (tmp_path / "REC.csv").exists()


def test_the_chunks_of_another_recording_of_the_same_name_are_not_replaced(tmp_path: Path) -> None:
    for site in ("s1", "s2"):
        (tmp_path / site).mkdir()
        sf.write(tmp_path / site / "20230509_094500.wav", np.zeros(16_000, dtype=np.int16), 8000)
    first, second = (plan_chunks(tmp_path / site / "20230509_094500.wav", 1) for site in ("s1", "s2"))
    write_chunk_wavs(first, tmp_path / "chunks", tmp_path / "m.csv")
    before = (tmp_path / "m.csv").read_text()
    with pytest.raises(RequestError, match=r"s1/20230509_094500\.wav, another recording of the same name"):
        write_chunk_wavs(second, tmp_path / "chunks", tmp_path / "m.csv")
    assert (tmp_path / "m.csv").read_text() == before
    write_chunk_wavs(first, tmp_path / "chunks", tmp_path / "m.csv")


def test_the_manifest_of_another_recording_of_the_same_name_is_not_replaced(
    make_audio: MakeAudio, tmp_path: Path
) -> None:
    first, second = (plan_chunks(make_audio(f"{site}/x.wav", seconds=2), 1) for site in ("s1", "s2"))
    for write in (
        lambda plan: write_virtual_manifest(plan, tmp_path / "m.csv", hash_chunks=False),
        lambda plan: write_chunk_wavs(plan, tmp_path / "chunks", tmp_path / "m.csv"),
    ):
        write(first)
        before = (tmp_path / "m.csv").read_text()
        with pytest.raises(RequestError, match=r"m\.csv: is the manifest of .*s1/x\.wav, another recording"):
            write_virtual_manifest(second, tmp_path / "m.csv", hash_chunks=False)
        with pytest.raises(RequestError, match=r"m\.csv: is the manifest of .*s1/x\.wav, another recording"):
            write_chunk_wavs(second, tmp_path / "other", tmp_path / "m.csv")
        assert (tmp_path / "m.csv").read_text() == before
        assert not (tmp_path / "other").exists()
        write_virtual_manifest(first, tmp_path / "m.csv", hash_chunks=False)


@pytest.mark.parametrize("cut", [(1.0, 0.0, 0.0), (1.0, 0.5), (0.5,), (5.0,)])
def test_a_manifest_of_another_cut_is_only_replaced_if_that_is_asked_for(
    make_audio: MakeAudio, tmp_path: Path, cut: tuple[float, ...]
) -> None:
    """One with a last chunk of 300 ms, of an overlap, of half the length, and of one chunk alone."""
    audio, path = make_audio(seconds=2.3), tmp_path / "m.csv"
    write_virtual_manifest(plan_chunks(audio, 1.0), path, hash_chunks=False)
    before, other = path.read_text(), plan_chunks(audio, *cut)
    words = rf"m\.csv: has another cut of REC, 2 chunks of up to 1 s, where {len(other.chunks)} chunk"
    with pytest.raises(RequestError, match=rf"{words}.*--output, or replace it with --include-existing"):
        write_virtual_manifest(other, path, hash_chunks=False)
    with pytest.raises(RequestError, match=rf"{words}.*--manifest and --output-dir, or replace it with --include-exis"):
        write_chunk_wavs(other, tmp_path / "chunks", path)
    assert path.read_text() == before
    assert not (tmp_path / "chunks").exists()
    write_virtual_manifest(plan_chunks(audio, 1.0), path, hash_chunks=True)
    write_virtual_manifest(other, path, hash_chunks=False, include_existing=True)
    assert len(read_manifest(path).chunks) == len(other.chunks)
    write_chunk_wavs(plan_chunks(audio, 1.0), tmp_path / "chunks", path, include_existing=True)
    assert len(wavs(tmp_path / "chunks")) == len(read_manifest(path).chunks) == 2


def test_what_is_no_manifest_is_not_replaced(make_audio: MakeAudio, tmp_path: Path) -> None:
    plan = plan_chunks(make_audio())
    (tmp_path / "notes.csv").write_text("mine\n")
    with pytest.raises(RequestError, match=r"notes\.csv:1: (?s:.*)in the way of the manifest; remove it"):
        write_virtual_manifest(plan, tmp_path / "notes.csv", hash_chunks=False)
    (tmp_path / "gone.csv").symlink_to(".git/annex/objects/MD5E-s1--0a")
    with pytest.raises(RequestError, match=r"gone\.csv: the content of the manifest .* get gone\.csv`"):
        write_virtual_manifest(plan, tmp_path / "gone.csv", hash_chunks=False)
    assert (tmp_path / "notes.csv").read_text() == "mine\n"


def test_an_annexed_manifest_is_replaced_and_not_written_through(make_audio: MakeAudio, tmp_path: Path) -> None:
    audio = make_audio(seconds=2)
    write_virtual_manifest(plan_chunks(audio, 1), tmp_path / "object", hash_chunks=False)
    before = (tmp_path / "object").read_text()
    (tmp_path / "m.csv").symlink_to("object")
    write_virtual_manifest(plan_chunks(audio, 2), tmp_path / "m.csv", hash_chunks=False, include_existing=True)
    assert (tmp_path / "object").read_text() == before
    assert len(read_manifest(tmp_path / "m.csv").chunks) == 1


def test_a_virtual_manifest_can_keep_a_status(make_audio: MakeAudio, tmp_path: Path) -> None:
    first, second = (make_audio(f"{site}/x.wav", seconds=2) for site in ("s1", "s2"))
    folder = tmp_path / "chunks"
    write_chunk_wavs(plan_chunks(first, 1), folder, tmp_path / "m.csv")
    again = plan_chunks(first, 1), tmp_path / "n.csv"
    with pytest.raises(RequestError, match=r"has 2 chunk WAVs of an earlier cut of x.*Name .* place with --status-dir"):
        write_virtual_manifest(*again, hash_chunks=False, status_dir=folder)
    assert len(wavs(folder)) == 2
    write_virtual_manifest(
        plan_chunks(first, 0.5), tmp_path / "m.csv", hash_chunks=False, status_dir=folder, include_existing=True
    )
    assert (status(folder)["status"], status(folder)["manifest_rows"]) == ("completed", 4)
    assert wavs(folder) == [], "chunk WAVs of the earlier cut are gone"
    with pytest.raises(RequestError, match=r"holds the chunks of .*s1/x\.wav, another recording"):
        write_virtual_manifest(plan_chunks(second, 1), tmp_path / "n.csv", hash_chunks=False, status_dir=folder)


def test_an_id_can_be_given(make_audio: MakeAudio) -> None:
    plan = plan_chunks(make_audio("x.wav", seconds=2), 1, recording_id="siteA_x")
    assert {c.recording_id for c in plan.chunks} == {"siteA_x"}
    assert plan.chunks[0].chunk_id == "siteA_x_chunk_0_1000"
    with pytest.raises(RequestError, match=r"recording id '\.\./x' cannot be used"):
        plan_chunks(make_audio("x.wav"), recording_id="../x")


@pytest.mark.parametrize("wrong", [-0.001, -1.0, float("nan"), float("inf")])
def test_a_min_chunk_that_makes_no_sense_is_refused(make_audio: MakeAudio, wrong: float) -> None:
    with pytest.raises(RequestError, match="--min-chunk"):
        plan_chunks(make_audio(), min_chunk_s=wrong)
