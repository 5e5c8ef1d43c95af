"""Links in a dataset: nothing is written, emptied or removed where they lead, unless the user chose their place."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from badc.datasets.chunking.plan import plan_dataset
from badc.datasets.chunking.recording import chunk_recording
from badc.datasets.chunking.settings import ChunkSettings
from badc.datasets.inference.plan import plan_orchestration, require_runnable
from badc.datasets.inference.settings import OrchestrateSettings
from badc.errors import RequestError
from badc.inference.plan import plan_inference
from badc.inference.settings import InferSettings
from badc.inference.worker import infer_chunks
from badc.reports.bundle import make_bundle
from badc.reports.settings import BundleSettings
from badc.system.output_lock import FOLDER, output_lock
from badc.system.paths import new_telemetry_log, require_inside
from badc.telemetry.events import TelemetryLog
from tests.badc.elsewhere import is_untouched, make_elsewhere

LOG = Path("log.jsonl")
NAMES = ("12-0123abcd.lock", "guard", "thesis.lock")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder outside, with files that look like ours."""
    return make_elsewhere(tmp_path / "elsewhere", NAMES)


def _lock(output_dir: Path) -> None:
    with output_lock(output_dir, frozenset({"REC"}), LOG):
        pass


def test_a_link_in_place_of_the_locks_is_refused_and_not_followed(tmp_path: Path, elsewhere: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / FOLDER).symlink_to(elsewhere)
    with pytest.raises(RequestError, match=r"out/\.badc-lock: is in the place of the locks"):
        _lock(tmp_path / "out")
    assert is_untouched(elsewhere, NAMES)


def test_a_link_to_nothing_and_a_file_in_place_of_the_locks_are_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / FOLDER).symlink_to(tmp_path / "nothing")
    with pytest.raises(RequestError, match="in the place of the locks"):
        _lock(tmp_path / "out")
    assert not (tmp_path / "nothing").exists()
    (tmp_path / "out" / FOLDER).unlink()
    (tmp_path / "out" / FOLDER).write_text("mine")
    with pytest.raises(RequestError, match="in the place of the locks"):
        _lock(tmp_path / "out")
    assert (tmp_path / "out" / FOLDER).read_text() == "mine"


def test_links_among_the_locks_are_not_followed(tmp_path: Path, elsewhere: Path) -> None:
    locks = tmp_path / "out" / FOLDER
    locks.mkdir(parents=True)
    (locks / "7-89abcdef.lock").symlink_to(elsewhere / "thesis.lock")
    _lock(tmp_path / "out")
    (locks / "guard").symlink_to(elsewhere / "guard")
    with pytest.raises(RequestError, match="in the place of the locks"):
        _lock(tmp_path / "out")
    assert is_untouched(elsewhere, NAMES)


def test_files_of_others_among_the_locks_stay(tmp_path: Path) -> None:
    locks = tmp_path / "out" / FOLDER
    locks.mkdir(parents=True)
    for name in ("thesis.lock", "12-0123abcd.lock", "yarn.lock"):
        (locks / name).write_text("precious")
    (locks / "34-0123abcd.lock").mkdir()
    (locks / "guard").write_text("precious")
    _lock(tmp_path / "out")
    assert (locks / "guard").read_text() == "precious"
    (locks / "guard").unlink()
    assert sorted(path.name for path in locks.iterdir()) == [
        ".gitignore",
        "12-0123abcd.lock",
        "34-0123abcd.lock",
        "thesis.lock",
        "yarn.lock",
    ]


def _plan(make_recording: Callable[..., Path], make_manifest: Callable[..., Path]) -> InferSettings:
    return InferSettings(manifest=make_manifest(make_recording()), output_dir=Path("out"))


def test_an_output_folder_that_is_a_link_to_elsewhere_is_refused_before_the_run(
    make_recording: Callable[..., Path], make_manifest: Callable[..., Path], tmp_path: Path, elsewhere: Path
) -> None:
    settings = _plan(make_recording, make_manifest)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "REC").symlink_to(elsewhere)
    with pytest.raises(RequestError, match=rf"out/REC: is a link to {elsewhere}") as caught:
        plan_inference(settings)
    assert caught.value.exit_code == 2
    assert is_untouched(elsewhere, NAMES)


def test_an_output_folder_that_becomes_a_link_in_mid_run_fails_its_attempts(
    make_recording: Callable[..., Path], make_manifest: Callable[..., Path], tmp_path: Path, elsewhere: Path
) -> None:
    plan = plan_inference(_plan(make_recording, make_manifest))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "REC").symlink_to(elsewhere)
    attempts = infer_chunks(plan.todo, plan.order, lambda attempt: None)
    assert [attempt.ok for attempt in attempts] == [False] * 4
    assert "is a link to" in attempts[0].details["error"]
    assert is_untouched(elsewhere, NAMES)


def test_the_whole_output_folder_may_be_a_link(
    make_recording: Callable[..., Path], make_manifest: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "big-disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "big-disk")
    plan = plan_inference(_plan(make_recording, make_manifest))
    with output_lock(plan.order.output_dir, plan.recordings, LOG):
        attempts = infer_chunks(plan.todo, plan.order, lambda attempt: None)
    assert all(attempt.ok for attempt in attempts)
    assert len(list((tmp_path / "big-disk" / "REC").iterdir())) == 4


def test_links_that_stay_inside_and_those_of_git_annex_are_let_be(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "2023").mkdir(parents=True)
    (root / "latest").symlink_to("2023")
    (root / "kept").symlink_to("../.git/annex/objects/aa/bb/MD5E-s1--c/MD5E-s1--c")
    require_inside(root, root / "latest" / "REC")
    require_inside(root, root / "kept")
    require_inside(root, root)
    objects = tmp_path / "annex" / "objects" / "stuff"
    objects.mkdir(parents=True)
    (root / "stuff").symlink_to(objects)  # git-annex has links to files only
    with pytest.raises(RequestError, match="stuff: is a link"):
        require_inside(root, root / "stuff")
    (root / "2023" / "out").symlink_to("../..")
    with pytest.raises(RequestError, match="2023/out: is a link"):
        require_inside(root, root / "2023" / "out" / "REC")


def test_chunk_folders_that_are_links_fail_their_recording_alone(
    make_recording: Callable[..., Path], tmp_path: Path, elsewhere: Path
) -> None:
    (tmp_path / "artifacts" / "chunks").mkdir(parents=True)
    (tmp_path / "artifacts" / "chunks" / "BAD").symlink_to(elsewhere)
    (elsewhere / "BAD_chunk_0_500.wav").write_text("precious")
    for name in ("BAD.wav", "GOOD.wav"):
        make_recording(name)
    plan = plan_dataset(ChunkSettings(dataset=tmp_path, chunk_duration_s=1), False)
    outcomes = {r.recording_id: chunk_recording(r, plan.order) for r in plan.todo}
    assert outcomes["GOOD"].error is None
    assert "chunks/BAD: is a link to" in str(outcomes["BAD"].error)
    assert (elsewhere / "BAD_chunk_0_500.wav").read_text() == "precious"
    (elsewhere / "BAD_chunk_0_500.wav").unlink()
    assert is_untouched(elsewhere, NAMES)


@pytest.mark.parametrize("place", ["telemetry/infer", "aggregate/aggregate_summary"])
def test_a_datasets_run_writes_through_no_link_below_its_folders(
    make_dataset: Callable[..., Path], elsewhere: Path, place: str
) -> None:
    root = make_dataset("A")
    link = root / "artifacts" / place
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(elsewhere)
    plan = plan_orchestration(OrchestrateSettings(dataset=root, bundle=True, bundle_rollup=True))
    with pytest.raises(RequestError, match=f"{place}: is a link to"):
        require_runnable(plan)


def test_a_log_is_not_written_through_a_link(
    make_recording: Callable[..., Path], make_manifest: Callable[..., Path], tmp_path: Path, elsewhere: Path
) -> None:
    settings = _plan(make_recording, make_manifest)
    LOG.symlink_to(elsewhere / "guard")
    with pytest.raises(RequestError, match="the telemetry log is a link to"):
        plan_inference(settings.model_copy(update={"telemetry_log": LOG}))
    with pytest.raises(RequestError, match="the telemetry log is a link to"):
        TelemetryLog(LOG)
    assert is_untouched(elsewhere, NAMES)


def test_a_new_log_takes_no_name_that_is_a_link_to_nothing(tmp_path: Path) -> None:
    from datetime import UTC, datetime

    moment = datetime(2023, 5, 9, tzinfo=UTC)
    first = new_telemetry_log(Path("m.csv"), tmp_path, moment)
    first.parent.mkdir(parents=True)
    first.symlink_to(tmp_path / "nothing")
    assert new_telemetry_log(Path("m.csv"), tmp_path, moment) != first


def test_reports_are_not_written_through_a_link(tmp_path: Path, elsewhere: Path) -> None:
    table = tmp_path / "aggregate" / "all.parquet"
    table.parent.mkdir()
    table.touch()
    (table.parent / "all_quicklook").symlink_to(elsewhere)
    with pytest.raises(RequestError, match="all_quicklook: is a link to"):
        make_bundle(BundleSettings(parquet=table))
    assert is_untouched(elsewhere, NAMES)


@pytest.mark.datalad
def test_the_lock_of_a_dataset_is_not_made_through_a_link(datalad_dataset: Path, elsewhere: Path) -> None:
    from badc.datalad.environment import DataladError
    from badc.datalad.lock import NAME, dataset_lock

    os.symlink(elsewhere / "guard", datalad_dataset / ".git" / NAME)  # noqa: PTH211
    with pytest.raises(DataladError, match="cannot be locked"), dataset_lock(datalad_dataset):
        pass
    assert is_untouched(elsewhere, NAMES)
