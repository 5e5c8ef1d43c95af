"""Audio of an archive larger than the disk: fetched ahead of the workers and dropped after them, within a limit."""

from __future__ import annotations

import shutil
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest

from badc.chunks.cutting import plan_chunks, write_virtual_manifest
from badc.chunks.status import ChunkState, ChunkStatus, status_path, write_chunk_status
from badc.datalad.content import drop, fetch
from badc.datalad.environment import DataladError
from badc.datasets.inference.plan import plan_orchestration
from badc.datasets.inference.settings import OrchestrateSettings
from badc.datasets.inference.streaming import AudioStream
from badc.errors import RequestError
from badc.system.annex import content_is_here, size_of_content
from tests.conftest import shell_variables

pytestmark = pytest.mark.datalad


def run(folder: Path, *words: object) -> str:
    done = subprocess.run(
        [*map(str, words)], cwd=folder, env=shell_variables(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.fixture
def archive(datalad_dataset: Path, tmp_path: Path) -> Path:
    """A clone of a dataset of eight recordings. It has the audio of `here`; of `lost` nobody has it."""
    root = datalad_dataset
    names = ("REC", *"ABCDE", "here", "lost")
    for number, name in enumerate(names):
        if name != "REC":
            audio = root / "audio" / f"{name}.wav"
            shutil.copy(root / "audio" / "REC.wav", audio)
            with audio.open("r+b") as stream:  # another content, so another key
                stream.seek(1000)
                stream.write(bytes([number]) * 8)
            write_virtual_manifest(plan_chunks(audio, 1.0), root / "manifests" / f"{name}.csv", hash_chunks=False)
        write_chunk_status(
            status_path(root / "artifacts" / "chunks", name), ChunkStatus(name, None, None, ChunkState.COMPLETED)
        )
    with (root / ".gitattributes").open("a") as stream:
        stream.write("*.json annex.largefiles=nothing\n")
    run(root, "datalad", "save", "-m", "eight")
    run(root, "git", "annex", "drop", "--force", "--quiet", "audio/lost.wav")
    clone = tmp_path / "clone"
    run(tmp_path, "git", "clone", "-q", root, clone)
    run(clone, "git", "annex", "init", "-q", "clone")
    run(clone, "datalad", "get", "audio/here.wav")
    return clone


@pytest.mark.long
@pytest.mark.parametrize("recorded", ["--record-datalad", "--no-record-datalad"])
def test_audio_is_streamed_within_the_limit_and_a_lost_one_costs_its_recording_alone(badc, archive, fake, recorded):
    files = {path.stem: path for path in (archive / "audio").iterdir()}
    limit = 2.5 * (size_of_content(files["A"]) or 0)
    words = ("infer", "orchestrate", archive, "--apply", recorded, "--runner-cmd", fake("detector"), "--max-gpus", 0)
    streaming = ("--fetch-ahead", 2, "--drop-after", "--disk-limit", f"{limit / 1000}K", "--cpu-workers", 1)
    process = badc(*words, *streaming)
    most = 0
    while process.poll() is None:
        most = max(most, sum(content_is_here(path) for name, path in files.items() if name != "here"))
        time.sleep(0.02)
    out, err = process.communicate()
    assert process.returncode == 1, err
    rows = {line.split("\t")[0]: line.split("\t")[1] for line in out.splitlines() if line.count("\t") == 6}
    assert {name: rows[name] for name in files} == {n: "failed" if n == "lost" else "completed" for n in files}
    assert "lost: " in err
    assert "whereis" in err
    assert err.count("lost: tried once more after the others") == 1
    assert 1 <= most <= 2, "two fit"
    assert [name for name, path in sorted(files.items()) if content_is_here(path)] == ["here"], "it was here before"
    if recorded == "--record-datalad":
        assert run(archive, "git", "log", "--format=%s", "--grep", "RUNCMD").count("Infer") == len(files) - 1


@pytest.mark.long
def test_audio_that_comes_at_the_second_try_costs_nothing(badc, archive: Path, datalad_dataset: Path, fake) -> None:
    hidden = datalad_dataset.rename(datalad_dataset.with_name("hidden"))
    words = ("infer", "orchestrate", archive, "--apply", "--no-record-datalad", "--runner-cmd", fake("detector"))
    pattern = ("--pattern", "A", "--pattern", "here", "--max-gpus", 0, "--cpu-workers", 1, "--fetch-ahead", 1)
    process = badc(*words, *pattern)
    for line in process.stderr:
        if "A: tried once more" in line:
            hidden.rename(datalad_dataset)
            break
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert content_is_here(archive / "audio" / "A.wav")


@pytest.mark.long
def test_a_pipeline_streams_from_a_special_remote(badc, archive: Path, datalad_dataset: Path, tmp_path, fake) -> None:
    store = tmp_path / "store"
    store.mkdir()
    remote = ("store", "type=directory", f"directory={store}", "encryption=none")
    run(archive, "git", "annex", "initremote", "-q", *remote)
    for name in "AB":
        run(archive, "git", "annex", "get", "-q", f"audio/{name}.wav")
        run(archive, "git", "annex", "move", "-q", "--to", "store", f"audio/{name}.wav")
    datalad_dataset.rename(datalad_dataset.with_name("hidden"))
    words = ("pipeline", "run", archive, "--runner-cmd", fake("detector"), "--max-gpus", 0, "--cpu-workers", 1)
    streaming = ("--fetch-ahead", 1, "--drop-after", "--disk-limit", "1M", "--infer-pattern", "[AB]")
    process = badc(*words, *streaming)
    _, err = process.communicate()
    assert process.returncode == 0, err
    for name in "AB":
        assert not content_is_here(archive / "audio" / f"{name}.wav"), "fetched from the remote, and dropped again"
        assert list((archive / "artifacts" / "infer" / name).glob("*.json"))


@pytest.mark.long
@pytest.mark.parametrize("unlocked", [False, pytest.param(True, marks=pytest.mark.long)])
def test_the_same_audio_under_two_names_stays_until_both_have_ended(archive: Path, unlocked: bool) -> None:
    first, second = (archive / "audio" / f"{name}.wav" for name in "AB")
    second.unlink()
    second.symlink_to(first.readlink())
    run(archive, "git", "add", "audio")
    if unlocked:
        run(archive, "git", "annex", "unlock", "audio/A.wav", "audio/B.wav")
    settings = {"use_hawkears": False, "pattern": ("A", "B"), "fetch_ahead": 2, "drop_after": True}
    plan = plan_orchestration(OrchestrateSettings(dataset=archive, **settings))
    said: list[str] = []
    with closing(AudioStream(plan, said.append)) as stream:
        for recording in plan.todo:
            stream.wait_for(recording)
        stream.ended(plan.todo[0])
        assert [content_is_here(path) for path in (first, second)] == [True, True]
        stream.ended(plan.todo[1])
    assert [content_is_here(path) for path in (first, second)] == [False, False]
    assert said == []


def test_what_no_other_place_has_is_not_dropped(archive: Path, datalad_dataset: Path) -> None:
    fetch(archive, ["audio/A.wav"])
    shutil.rmtree(datalad_dataset, ignore_errors=True)
    with pytest.raises(DataladError, match="Could not verify the existence of the 1 necessary copy"):
        drop(archive, [archive / "audio" / "A.wav"])
    assert content_is_here(archive / "audio" / "A.wav")


def test_a_limit_is_a_size_and_for_dropping(tmp_path: Path) -> None:
    given = {"dataset": tmp_path, "drop_after": True}
    assert OrchestrateSettings(**given, disk_limit="1.5M").disk_limit_bytes == 1_500_000
    for wrong in ({"disk_limit": "200"}, {"disk_limit": "2G", "drop_after": False}):
        with pytest.raises((ValueError, RequestError)):
            OrchestrateSettings(**given | wrong)
