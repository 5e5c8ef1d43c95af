"""The parts of the settings: their models come from the settings of the commands, and say only what was chosen."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from badc.datasets.chunking.settings import ChunkSettings
from badc.datasets.inference.settings import OrchestrateSettings
from badc.datasets.pipeline_settings import PipelineSettings
from badc.inference.settings import InferSettings
from badc.reports.settings import BundleSettings
from badc.settings.model import Settings
from blocks.parts import BUNDLE, CHUNKS, CLUSTER, DATASET, RUNNERS, SLURM, TABLES, dataset_values

PARTS = [*RUNNERS.values(), CLUSTER, CHUNKS, DATASET, SLURM, TABLES, BUNDLE]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.title)
def test_each_field_has_the_type_limits_and_default_of_the_option(part) -> None:
    model = part.model("Part", Settings)
    assert set(model.model_fields) == set(part.fields)
    for name, field in model.model_fields.items():
        source = part.source.model_fields[name]
        assert field.description == source.description
        assert field.title
        if name in part.required:
            assert field.is_required()
        else:
            assert (field.annotation, field.get_default()) == (source.annotation, source.get_default())


def test_every_setting_of_a_run_is_in_a_part_or_is_its_own_place() -> None:
    in_parts = {name for part in (*RUNNERS.values(), CLUSTER, CHUNKS) for name in (*part.fields, *part.fixed)}
    places = {"manifest", "resume_summary", "output_dir", "embeddings", "telemetry_log", "dataset_root"}
    blocks = {"runner_block", "cluster_block", "dataset_block"}
    assert in_parts | places | blocks | {"runner_cmd", "redo_before"} == set(InferSettings.model_fields)


def test_only_the_choice_and_what_differs_is_given() -> None:
    birdnet = RUNNERS["birdnet"]
    assert birdnet.given(birdnet.model("B", Settings)()) == {"use_birdnet": True}
    filled = birdnet.model("B", Settings)(min_confidence=0.6, birdnet_overlap_s=0)
    assert birdnet.given(filled) == {"use_birdnet": True, "min_confidence": 0.6}


def test_limits_are_those_of_the_options() -> None:
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        RUNNERS["birdnet"].model("B", Settings)(min_confidence=2)
    with pytest.raises(ValidationError, match="runner_cmd"):
        RUNNERS["command"].model("C", Settings)()


def test_values_that_do_not_go_together_are_refused_without_the_rest_of_a_command() -> None:
    filled = SLURM.model("S", Settings)(slurm_time="soon")
    with pytest.raises(ValidationError, match="not a Slurm time limit"):
        SLURM.check(filled)
    SLURM.check(SLURM.model("S", Settings)(slurm_time="06:00:00"))


def test_a_saved_dataset_means_what_each_command_knows() -> None:
    root, sites = Path("/data/ridge"), Path("sites.csv")
    given = {"output_dir": Path("out"), "record_datalad": False}
    assert dataset_values(root, sites, given, OrchestrateSettings) == {
        "dataset": root,
        "output_dir": Path("out"),
        "record_datalad": False,
        "sites": root / sites,
    }
    assert dataset_values(root, sites, given, InferSettings) == {"dataset_root": root, "output_dir": root / "out"}
    assert dataset_values(root, None, {}, InferSettings)["output_dir"] == root / "artifacts/infer"
    for command in (ChunkSettings, OrchestrateSettings, PipelineSettings):
        placed = dataset_values(root, None, {"layout": "{station}/{name}"}, command)
        assert command(**placed).layout == "{station}/{name}"
    assert dataset_values(root, sites, given, BundleSettings)["sites"] == root / sites
