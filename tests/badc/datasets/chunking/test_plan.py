"""Chunking a dataset: what is planned, what is skipped and why, and what is left behind."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from badc.chunks.cutting import plan_chunks, write_chunk_wavs, write_virtual_manifest
from badc.chunks.manifest import read_manifest
from badc.chunks.status import ChunkState, read_chunk_status, status_path
from badc.datasets.chunking.decision import ChunkDecision
from badc.datasets.chunking.plan import plan_dataset
from badc.datasets.chunking.provenance import prepared
from badc.datasets.chunking.recording import ChunkingInterruptedError, chunk_recording
from badc.datasets.chunking.settings import ChunkSettings
from badc.errors import RequestError
from badc.recordings.dataset_file import kept_layout
from tests.badc.datasets.chunking.planning import (
    SITES,
    decisions,
    ids_of,
    only,
    plan,
    remove_manifest,
    run,
    set_status,
    spoil_nothing,
    tree,
)

MakeAudio = Callable[..., Path]


def test_a_plan_tells_everything_and_writes_nothing(dataset: Path) -> None:
    before = tree(dataset)
    planned = plan(dataset)
    assert [(r.recording_id, r.audio, r.decision, r.reason, r.recording_ms, r.chunks) for r in planned.recordings] == [
        ("c", "audio/north/c.flac", "chunk", "new", 2500, 2),
        ("siteA_20230509_094500", "audio/siteA/20230509_094500.wav", "chunk", "new", 2500, 2),
        ("siteB_20230509_094500", "audio/siteB/20230509_094500.WAV", "chunk", "new", 2500, 2),
    ]
    assert planned.rows()[0].model_dump() == {
        "recording_id": "c",
        "audio_path": "audio/north/c.flac",
        "manifest_path": "manifests/c.csv",
        "chunk_output_dir": "artifacts/chunks/c",
        "chunk_duration": 1.0,
        "overlap": 0.0,
    }
    assert tree(dataset) == before


def test_a_plan_says_where_stations_are_read(dataset: Path, make_audio: MakeAudio) -> None:
    make_audio("ds/audio/20230510/20230510_094500.wav")
    assert plan(dataset, pattern=("c.flac",)).places == [
        "stations are read from the folders, else the file names (--layout folder): 3 stations: north, siteA, siteB",
        "1 recording has no station (20230510/20230510_094500.wav); --layout says where it stands in their paths",
    ]
    assert plan(dataset, layout="{station}/{name}").places[0].endswith("4 stations: 20230510, north, siteA, siteB")


def test_a_rule_that_was_given_once_is_kept_with_the_dataset(dataset: Path) -> None:
    (dataset / ".badc.toml").write_text('later = "key"\n')
    with prepared(plan(dataset), False, print):
        assert kept_layout(dataset) is None
    with prepared(plan(dataset, layout="{station}/{name}"), False, print):
        assert kept_layout(dataset) == "{station}/{name}"
    assert "the template --layout '{station}/{name}': " in plan(dataset).places[0]
    assert "(--layout folder)" in plan(dataset, layout="folder").places[0]
    assert (dataset / ".badc.toml").read_text() == 'later = "key"\nlayout = "{station}/{name}"\n'


@pytest.mark.parametrize(
    ("content", "says"),
    [("layout = 3", "layout: 3 is not text"), ('layout = "x"', "has no {station}"), ("layout", "not TOML: ")],
)
def test_a_bad_file_of_a_dataset_is_named(dataset: Path, content: str, says: str) -> None:
    (dataset / ".badc.toml").write_text(content)
    with pytest.raises(RequestError, match=re.escape(f"{dataset}/.badc.toml: ") + ".*" + re.escape(says)):
        plan(dataset)


def test_chunked_recordings_are_skipped_and_have_manifest_and_status(dataset: Path) -> None:
    assert [(o.recording_id, o.chunks, o.error) for o in run(dataset)] == [
        ("c", 2, None),
        ("siteA_20230509_094500", 2, None),
        ("siteB_20230509_094500", 2, None),
    ]
    manifest = read_manifest(dataset / "manifests" / "siteA_20230509_094500.csv")
    assert {c.source_path for c in manifest.chunks} == {"audio/siteA/20230509_094500.wav"}
    assert manifest.chunks[1].chunk_id == "siteA_20230509_094500_chunk_1000_2000"
    status = read_chunk_status(status_path(dataset / "artifacts" / "chunks", "c"))
    assert status is not None
    assert (status.state, status.audio_path, status.manifest_path) == (
        ChunkState.COMPLETED,
        "audio/north/c.flac",
        "manifests/c.csv",
    )
    assert (status.manifest_rows, status.recording_ms, status.duration_s, status.overlap_s) == (2, 2500, 1.0, 0.0)
    again = plan(dataset)
    assert {d for d, _ in decisions(again).values()} == {ChunkDecision.SKIP}
    assert again.todo == again.rows() == []
    assert len(plan(dataset, include_existing=True).todo) == 3


@pytest.mark.parametrize(
    ("spoil", "settings", "reason"),
    [
        (remove_manifest, {}, "its manifest is missing"),
        (set_status(status="failed", error="disk full"), {}, "its chunking failed: disk full"),
        (set_status(status="in_progress"), {}, "and not finished"),
        (spoil_nothing, {"virtual": False}, "its chunks are virtual"),
        (spoil_nothing, {"hash_chunks": True}, "its chunks have no hashes"),
    ],
)
def test_what_is_not_complete_is_planned_again_if_its_chunks_stay_the_same(
    dataset: Path, spoil: Callable[[Path], None], settings: dict[str, Any], reason: str
) -> None:
    run(dataset)
    before = ids_of(dataset)
    spoil(dataset)
    planned = only(plan(dataset, **settings))
    assert (planned.decision, planned.anew) == (ChunkDecision.CHUNK, None)
    assert reason in planned.reason
    run(dataset, **settings)
    assert {d for d, _ in decisions(plan(dataset, **settings)).values()} == {ChunkDecision.SKIP}
    assert ids_of(dataset) == before


def test_chunking_everything_again_is_gone_on_with(dataset: Path) -> None:
    run(dataset)
    everything = ChunkSettings(dataset=dataset, include_existing=True)
    before, after = "2001-01-01T00:00:00Z", "2101-01-01T00:00:00Z"
    assert everything.going_on(before).redo_before == before
    assert {r.decision for r in plan(dataset, redo_before=before).recordings} == {ChunkDecision.SKIP}
    assert {(r.decision, r.reason) for r in plan(dataset, redo_before=after).recordings} == {
        (ChunkDecision.CHUNK, f"chunked before {after}")
    }


def test_chunk_wavs_are_written_checked_and_removed_by_another_cut(dataset: Path) -> None:
    run(dataset, virtual=False)
    folder = dataset / "artifacts" / "chunks" / "c"
    assert sorted(p.name for p in folder.glob("*.wav")) == ["c_chunk_0_1000.wav", "c_chunk_1000_2000.wav"]
    assert decisions(plan(dataset, virtual=False))["c"][0] is ChunkDecision.SKIP
    assert decisions(plan(dataset))["c"][0] is ChunkDecision.SKIP, "the same chunks, with WAVs besides"
    whole = tree(folder)
    (folder / "c_chunk_0_1000.wav").unlink()
    assert decisions(plan(dataset))["c"] == (ChunkDecision.KEEP, "1 of its chunk WAVs is missing")
    assert decisions(plan(dataset, virtual=False))["c"] == (ChunkDecision.CHUNK, "1 of its chunk WAVs is missing")
    run(dataset, virtual=False)
    assert tree(folder).keys() == whole.keys()
    assert tree(folder)["c_chunk_0_1000.wav"] == whole["c_chunk_0_1000.wav"]
    run(dataset, chunk_duration_s=2.0, include_existing=True)
    assert [p.name for p in folder.iterdir()] == [".chunk_status.json"], "virtual chunks need no WAVs"


def test_a_recording_that_cannot_be_read_fails_alone(dataset: Path) -> None:
    (dataset / "audio" / "bad.wav").write_bytes(b"no audio")
    assert only(plan(dataset), "bad").decision is ChunkDecision.UNUSABLE
    outcomes = {o.recording_id: o.error for o in run(dataset)}
    assert [name for name, error in outcomes.items() if error] == ["bad"]
    status = read_chunk_status(status_path(dataset / "artifacts" / "chunks", "bad"))
    assert status is not None
    assert status.state is ChunkState.FAILED
    assert status.error == f"{dataset}/audio/bad.wav: {outcomes['bad']}"
    assert "bad.wav" in (status.error or "")
    assert not (dataset / "manifests" / "bad.csv").exists()
    assert [r.recording_id for r in plan(dataset).todo] == ["bad"]


def test_an_interrupted_recording_says_so_and_is_done_again(dataset: Path) -> None:
    planned = plan(dataset, virtual=False, limit=1)
    with pytest.raises(ChunkingInterruptedError):
        chunk_recording(planned.todo[0], planned.order, interrupted=lambda: True)
    status = read_chunk_status(status_path(dataset / "artifacts" / "chunks", "c"))
    assert status is not None
    assert (status.state, status.error) == (ChunkState.FAILED, "interrupted")
    again = only(plan(dataset, virtual=False))
    assert again.resumed
    assert (again.decision, again.reason) == (ChunkDecision.CHUNK, "its chunking failed: interrupted")


def test_dropped_content_is_absent_or_fetched_and_no_link_is_resolved(dataset: Path) -> None:
    store = dataset / ".git" / "annex" / "objects"
    store.mkdir(parents=True)
    audio = dataset / "audio" / "north" / "c.flac"
    size = audio.stat().st_size
    kept = store / f"MD5E-s{size}--0a.flac"
    audio.rename(kept)
    audio.symlink_to(f"../../.git/annex/objects/{kept.name}")
    kept.rename(dataset / "away")
    absent = plan(dataset)
    assert only(absent).decision is ChunkDecision.ABSENT
    assert f"`datalad -C {dataset} get audio/north/c.flac`" in only(absent).reason
    assert [r.recording_id for r in absent.not_possible] == ["c"]
    assert "c" not in [r.recording_id for r in absent.todo]
    assert only(plan(dataset, fetching=True)).decision is ChunkDecision.FETCH

    (dataset / "away").rename(kept)
    run(dataset)
    assert read_manifest(dataset / "manifests" / "c.csv").chunks[0].source_path == "audio/north/c.flac"
    kept.unlink()
    assert only(plan(dataset)).decision is ChunkDecision.SKIP, "chunked, whether or not the content is still here"
    audio.unlink()
    audio.symlink_to("../../.git/annex/objects/MD5E-s77--0b.flac")
    assert only(plan(dataset)).decision is ChunkDecision.KEEP
    assert "the audio has changed since: 77 bytes" in only(plan(dataset)).reason


def test_dropped_manifests_and_statuses_are_asked_for(dataset: Path) -> None:
    run(dataset)
    for path in (
        dataset / "manifests" / "c.csv",
        status_path(dataset / "artifacts" / "chunks", SITES[0][:5] + "_20230509_094500"),
    ):
        path.unlink()
        path.symlink_to(".git/annex/objects/MD5E-s9--0a")
    with pytest.raises(RequestError, match=r" get (?s:.*)c\.csv\n.*siteA_20230509_094500/\.chunk_status\.json$"):
        plan(dataset)


def test_limit_counts_what_is_chunked_only(dataset: Path) -> None:
    run(dataset, limit=1)
    planned = plan(dataset, limit=1)
    assert {k: d.value for k, (d, _) in decisions(planned).items()} == {
        "c": "skip",
        "siteA_20230509_094500": "chunk",
        "siteB_20230509_094500": "later",
    }
    assert [r.recording_id for r in planned.todo] == ["siteA_20230509_094500"]


def test_patterns_choose_recordings_but_not_their_ids(dataset: Path) -> None:
    assert list(decisions(plan(dataset, pattern=("siteA/*",)))) == ["siteA_20230509_094500"]
    assert list(decisions(plan(dataset, pattern=("*.flac", "siteB/*")))) == ["c", "siteB_20230509_094500"]
    with pytest.raises(RequestError, match="--pattern nothing: no recording"):
        plan(dataset, pattern=("nothing",))


def test_a_second_recording_of_that_name_leaves_the_first_its_id(dataset: Path, make_audio: MakeAudio) -> None:
    run(dataset)
    before = tree(dataset / "manifests")
    make_audio("ds/audio/south/c.wav")
    planned = plan(dataset)
    assert decisions(planned)["c"][0] is ChunkDecision.SKIP
    assert [(r.recording_id, r.audio) for r in planned.todo] == [("south_c", "audio/south/c.wav")]
    run(dataset)
    assert {name: data for name, data in tree(dataset / "manifests").items() if name in before} == before


def test_an_id_that_only_failed_so_far_is_kept_too(dataset: Path, make_audio: MakeAudio) -> None:
    (dataset / "audio" / "siteA" / "bad.wav").write_bytes(b"no audio")
    run(dataset)
    make_audio("ds/audio/siteB/bad.wav")
    ids = {r.audio: r.recording_id for r in plan(dataset).recordings}
    assert (ids["audio/siteA/bad.wav"], ids["audio/siteB/bad.wav"]) == ("bad", "siteB_bad")


def test_the_manifest_of_a_recording_that_is_gone_is_not_replaced(dataset: Path, make_audio: MakeAudio) -> None:
    run(dataset)
    (dataset / "audio" / "north" / "c.flac").unlink()
    make_audio("ds/audio/south/c.wav")
    assert only(plan(dataset), "south_c").decision is ChunkDecision.CHUNK


def test_a_manifest_of_several_recordings_is_not_replaced(dataset: Path) -> None:
    run(dataset)
    folder = dataset / "manifests"
    rows = (folder / "siteA_20230509_094500.csv").read_text() + (folder / "c.csv").read_text().partition("\n")[2]
    (folder / "c.csv").write_text(rows)
    shutil.rmtree(dataset / "artifacts" / "chunks" / "c")
    assert only(plan(dataset)).decision is ChunkDecision.ADOPT


def test_chunks_of_the_single_commands_are_known(dataset: Path) -> None:
    audio = dataset / "audio" / "north" / "c.flac"
    write_virtual_manifest(plan_chunks(audio, 1.0), dataset / "manifests" / "c.csv", hash_chunks=False)
    assert (only(plan(dataset)).decision, only(plan(dataset)).reason) == (ChunkDecision.ADOPT, "it has no chunk status")
    write_chunk_wavs(plan_chunks(audio, 1.0), dataset / "artifacts" / "chunks" / "c", dataset / "manifests" / "c.csv")
    assert only(plan(dataset)).decision is ChunkDecision.SKIP


@pytest.mark.parametrize("virtual", [True, False])
@pytest.mark.parametrize("absolute", [False, True], ids=["as written now", "absolute, as written once"])
def test_a_dataset_without_datalad_can_be_moved_and_copied(
    dataset: Path, tmp_path: Path, virtual: bool, absolute: bool
) -> None:
    shutil.rmtree(dataset / ".datalad")
    run(dataset, virtual=virtual)
    manifest, status = dataset / "manifests" / "c.csv", status_path(dataset / "artifacts" / "chunks", "c")
    source = "audio/north/c.flac" if virtual else "artifacts/chunks/c/c_chunk_0_1000.wav"
    assert read_manifest(manifest).chunks[0].source_path == source
    assert read_manifest(manifest).locate(source) == dataset / source
    assert json.loads(status.read_bytes())["audio_path"] == "audio/north/c.flac"
    assert json.loads(status.read_bytes())["manifest_path"] == "manifests/c.csv"
    assert plan(dataset, virtual=virtual).rows() == []
    if absolute:
        for path in (manifest, status):
            path.write_text(re.sub(r'(?<=[,"])(audio|artifacts|manifests)/', rf"{dataset}/\1/", path.read_text()))
        assert str(dataset) in manifest.read_text()
        assert str(dataset) in status.read_text()
    shutil.copytree(dataset, tmp_path / "copy")
    dataset.rename(tmp_path / "moved")
    (tmp_path / "mount").symlink_to("moved")
    for place in ("copy", "moved", "mount"):
        found = decisions(plan(tmp_path / place, virtual=virtual))
        assert set(found) == {"c", "siteA_20230509_094500", "siteB_20230509_094500"}
        assert {d for d, _ in found.values()} == {ChunkDecision.SKIP}, found
        read = read_manifest(tmp_path / place / "manifests" / "c.csv")
        assert read.locate(read.chunks[0].source_path) == tmp_path / place / source


def test_a_manifest_outside_of_its_dataset_has_absolute_paths(dataset: Path, tmp_path: Path) -> None:
    shutil.rmtree(dataset / ".datalad")
    run(dataset, manifest_dir=tmp_path / "lists")
    assert read_manifest(tmp_path / "lists" / "c.csv").chunks[0].source_path == str(dataset / "audio/north/c.flac")


def test_hostile_names_are_chunked_and_read_back(
    tmp_path: Path, make_audio: MakeAudio, hostile_ids: tuple[str, ...]
) -> None:
    for name in hostile_ids:
        make_audio(f"ds/audio/s;1/{name}.wav", seconds=1.5)
    assert [o.error for o in run(tmp_path / "ds")] == [None] * len(hostile_ids)
    planned = plan(tmp_path / "ds")
    assert {k for k, (d, _) in decisions(planned).items() if d is ChunkDecision.SKIP} == set(hostile_ids)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"overlap_s": 1.0}, "--overlap"),
        ({"chunk_duration_s": 0.0}, "--chunk-duration"),
        ({"min_chunk_s": -1.0}, "--min-chunk -1 s must be 0 or more"),
    ],
)
def test_lengths_that_make_no_sense_are_refused(dataset: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        plan(dataset, **settings)


def test_no_such_dataset(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no such folder"):
        plan(tmp_path / "none")
    (tmp_path / "ds" / "audio").mkdir(parents=True)
    assert plan(tmp_path / "ds").recordings == []


def test_reasons_leave_out_the_path_that_stands_beside_them(dataset: Path) -> None:
    (dataset / "audio" / "bad.wav").write_bytes(b"not audio " * 30)
    plan = plan_dataset(ChunkSettings(dataset=dataset, pattern=("bad.wav",)), fetching=False)
    (planned,) = plan.recordings
    assert planned.reason == (
        "cannot be read as audio (Format not recognised): damaged, or not what its name says. If it plays elsewhere: "
        f"ffmpeg -i {dataset}/audio/bad.wav bad_converted.wav"
    )
    outcome = chunk_recording(planned, plan.order)
    assert outcome.error == planned.reason
    (again,) = plan_dataset(ChunkSettings(dataset=dataset, pattern=("bad.wav",)), fetching=False).recordings
    assert again.reason.count(str(dataset)) == 1, "in the line to paste"
