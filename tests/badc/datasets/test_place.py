"""Where the results of a dataset go, and of a folder of recordings that is none."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from badc.chunks.manifest import read_manifest
from badc.datasets.chunking.plan import plan_dataset
from badc.datasets.chunking.provenance import prepared
from badc.datasets.chunking.recording import chunk_recording
from badc.datasets.chunking.settings import ChunkSettings
from badc.datasets.inference.of_all import (
    is_up_to_date,
    page_of_a_dataset,
    page_of_all,
    require_own_tables_of_all,
    sites_beside,
    tables_of_all,
)
from badc.datasets.inference.plan import OrchestrationPlan, plan_orchestration
from badc.datasets.inference.settings import OrchestrateSettings
from badc.datasets.place import DatasetPlace, place_of
from badc.detections.aggregate import aggregate
from badc.detections.result import ChunkResult, Detection, ResultStatus, result_path, write_result
from badc.errors import RequestError
from badc.reports.settings import PageSettings

MakeAudio = Callable[..., Path]


@pytest.fixture
def study(make_audio: MakeAudio, tmp_path: Path) -> Path:
    """A folder of recordings of two stations, no dataset."""
    for name in ("SiteA/20230509_050000.wav", "SiteB/card 1/20230509_050000.wav"):
        make_audio(f"study/{name}", seconds=2)
    return tmp_path / "study"


def chunk(folder: Path, results: Path | None = None) -> None:
    planned = plan_dataset(ChunkSettings(dataset=folder, results=results, chunk_duration_s=1), False)
    with prepared(planned, False, lambda line: None):
        outcomes = [chunk_recording(recording, planned.order) for recording in planned.todo]
    assert [outcome.error for outcome in outcomes] == [None, None]


def settings(folder: Path, **values: Any) -> OrchestrateSettings:
    return OrchestrateSettings(dataset=folder, use_hawkears=False, **values)


def analyse(plan: OrchestrationPlan) -> None:
    for recording in plan.recordings:
        for one in read_manifest(recording.manifest, plan.settings.root).chunks:
            found = (Detection("Song", 0.5, 0, 500),)
            result = ChunkResult(one, "custom", ResultStatus.OK, found, settings={"runner": "custom"})
            write_result(result_path(plan.settings.below(plan.settings.output_dir), one), result)


@pytest.mark.parametrize("mark", ["audio", ".datalad", "manifests"])
def test_a_dataset_has_its_results_in_it(tmp_path: Path, mark: str) -> None:
    (tmp_path / "ds" / mark).mkdir(parents=True)
    assert place_of(tmp_path / "ds", None) == DatasetPlace(tmp_path / "ds", tmp_path / "ds" / "audio")


def test_results_of_a_folder_are_in_it_or_where_they_are_wanted(study: Path, tmp_path: Path) -> None:
    assert place_of(study, None) == DatasetPlace(study / "badc", study)
    chunk(study)
    assert place_of(study / "badc", None) == DatasetPlace(study / "badc", study)
    assert place_of(study, tmp_path / "out") == DatasetPlace(tmp_path / "out", study)


def test_nothing_but_the_folder_of_results_is_written(study: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in study.rglob("*") if path.is_file()}
    chunk(study, tmp_path / "out")
    chunk(study)
    after = {path: path.stat().st_mtime_ns for path in study.rglob("*") if path.is_file() and "badc" not in path.parts}
    assert after == before
    assert {path.name for path in (tmp_path / "out").iterdir()} == {".badc.toml", "manifests", "artifacts"}
    assert f",{study}/SiteA/" in (tmp_path / "out/manifests/SiteA_20230509_050000.csv").read_text()


def test_a_study_can_be_moved_with_its_results(study: Path, tmp_path: Path) -> None:
    chunk(study)
    assert ",../SiteA/20230509_050000.wav," in (study / "badc/manifests/SiteA_20230509_050000.csv").read_text()
    moved = tmp_path / "moved"
    shutil.move(study, moved)
    (moved / "badc" / "clip.wav").write_bytes((moved / "SiteA/20230509_050000.wav").read_bytes())
    for folder in (moved, moved / "badc"):
        planned = plan_dataset(ChunkSettings(dataset=folder, chunk_duration_s=1), False)
        assert {(r.recording_id, r.audio, r.decision) for r in planned.recordings} == {
            ("SiteA_20230509_050000", "SiteA/20230509_050000.wav", "skip"),
            ("card 1_20230509_050000", "SiteB/card 1/20230509_050000.wav", "skip"),
        }
        assert "SiteA, SiteB" in planned.places[0]
        plan = plan_orchestration(settings(folder))
        assert [recording.decision for recording in plan.recordings] == ["run", "run"]
        assert plan.audio_notes == []


@pytest.mark.parametrize("results", [None, "out"])
def test_tables_of_a_study_have_its_stations(study: Path, tmp_path: Path, results: str | None) -> None:
    elsewhere = None if results is None else tmp_path / results
    chunk(study, elsewhere)
    plan = plan_orchestration(settings(study, results=elsewhere))
    analyse(plan)
    assert not is_up_to_date(plan.settings)
    made = aggregate(tables_of_all(plan.settings))
    assert (made.species[0].species, made.species[0].detections, made.species[0].stations) == ("Song", 4, 2)
    assert not [note for note in made.notes if "no station" in note]
    assert page_of_all(plan.settings) == (elsewhere or study / "badc") / "report.html"
    # Further tables do not replace the page of the first.
    further = plan.settings.model_copy(update={"bundle_aggregate_dir": Path("others")})
    assert page_of_all(further) == plan.settings.root / "others" / "report.html"
    page_of_all(plan.settings).touch()
    assert is_up_to_date(plan.settings)
    (study / "sites.csv").write_text("station,latitude,longitude\nSiteA,55.1,-115.2\n")
    sites, _ = sites_beside(plan.settings.place)
    assert not is_up_to_date(plan.settings.model_copy(update={"sites": sites}))
    # One option gives all of them another place.
    with pytest.raises(RequestError, match="Write the new ones to another folder with --results, or "):
        plan_orchestration(plan.settings.model_copy(update={"include_existing": True})).require_possible()
    further = plan.settings.model_copy(update={"output_dir": Path("artifacts/low")})
    with pytest.raises(RequestError, match="with --results in place of --output-dir"):
        require_own_tables_of_all(further)
    # The page alone is that of the pipeline, unless something else is asked for.
    results = plan.settings.root
    page, said = page_of_a_dataset(PageSettings(parquet=results))
    assert (page.sites, page.title, page.audio_root) == (sites, study.name, results)
    assert said == f"Stations: 1, from {study}/sites.csv"
    page, said = page_of_a_dataset(PageSettings(parquet=results, sites=Path("mine.csv"), title="Mine"))
    assert (page.sites, page.title, said) == (Path("mine.csv"), "Mine", None)
    alone = tmp_path / "alone.parquet"
    alone.touch()
    assert page_of_a_dataset(PageSettings(parquet=alone)) == (PageSettings(parquet=alone), None)


def test_a_csv_of_another_kind_is_said_and_not_used(study: Path) -> None:
    assert sites_beside(settings(study).place) == (None, None)
    (study / "sites.csv").write_text("name;visited\nA;2023\n")
    assert sites_beside(settings(study).place) == (
        None,
        f"{study}/sites.csv is not used: its columns are not station,latitude,longitude",
    )
    (study / "sites.csv").write_text("station,latitude,longitude\nSiteA,north,-115.2\n")
    with pytest.raises(RequestError, match="latitude 'north'"):
        sites_beside(settings(study).place)


def _other_things(study: Path) -> None:
    (study / "badc" / "src").mkdir(parents=True)


def _in_a_dataset(study: Path) -> None:
    (study.parent / ".datalad").mkdir()


def _of_others(study: Path) -> None:
    (study / "badc").mkdir()
    (study / "badc" / ".badc.toml").write_text('recordings = "/media/other"\n')


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_other_things, "is not empty and has no results of BADC; give --results another folder"),
        (_in_a_dataset, "is in the dataset"),
        (_of_others, "has the results of the recordings in /media/other"),
    ],
)
def test_results_do_not_go_where_something_else_is(study: Path, spoil: Callable[[Path], None], reason: str) -> None:
    spoil(study)
    with pytest.raises(RequestError, match=reason):
        plan_dataset(ChunkSettings(dataset=study), False)


def test_a_folder_of_a_dataset_is_no_study_but_one_beside_its_recordings_is(study: Path) -> None:
    (study.parent / "audio").mkdir()
    (study.parent / "manifests").mkdir()
    assert plan_dataset(ChunkSettings(dataset=study), False).todo
    inside = study.rename(study.parent / "audio" / "study")
    with pytest.raises(RequestError, match=f"is in the dataset {study.parent}"):
        plan_dataset(ChunkSettings(dataset=inside), False)


def test_recordings_that_are_only_read_are_refused_with_the_way_out() -> None:
    with pytest.raises(RequestError, match="--results DIR names another place"):
        DatasetPlace(Path("/proc/badc"), Path("/proc")).require_writable()
