"""Settings: what is refused and how it is named, and the command line that gives the same settings."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from badc.datasets.inference.settings import OrchestrateSettings
from badc.datasets.pipeline_settings import PipelineSettings
from badc.detections.settings import AggregateSettings
from badc.errors import RequestError
from badc.inference.settings import InferSettings
from badc.settings.model import option_name, settings_from

MANIFEST = Path("m.csv")


def refusal(**values: Any) -> str:
    with pytest.raises(RequestError) as caught:
        settings_from(InferSettings, {"manifest": MANIFEST, **values})
    return str(caught.value)


@pytest.mark.parametrize(
    ("values", "option"),
    [
        ({"max_retries": -1}, "--max-retries: "),
        ({"cpu_workers": -1}, "--cpu-workers: "),
        ({"max_gpus": -1}, "--max-gpus: "),
        ({"chunks_per_task": 0}, "--chunks-per-task: "),
        ({"chunks_per_task": "many"}, "--chunks-per-task: 'many' is neither a number from 1 on, nor auto"),
        ({"threads_per_worker": 0}, "--threads-per-worker: "),
        ({"chunk_timeout_s": 0}, "--chunk-timeout: "),
        ({"chunk_timeout_s": float("nan")}, "--chunk-timeout: "),
        ({"chunk_timeout_s": float("inf")}, "--chunk-timeout: "),
        ({"grace_period_s": -1}, "--grace-period: "),
        ({"min_confidence": 1.5, "use_birdnet": True}, "--min-confidence: "),
        ({"birdnet_overlap_s": 3, "use_birdnet": True}, "--birdnet-overlap: "),
        ({"max_retries": "many"}, "--max-retries: "),
    ],
)
def test_a_value_out_of_range_is_named_by_its_option(values: dict[str, Any], option: str) -> None:
    message = refusal(**values)
    assert message.startswith(option)
    assert "\n" not in message


@pytest.mark.parametrize(("given", "wanted"), [("auto", "auto"), ("20", 20), (20, 20)])
def test_chunks_per_task_are_a_number_or_auto(given: object, wanted: object) -> None:
    assert settings_from(InferSettings, {"manifest": MANIFEST, "chunks_per_task": given}).chunks_per_task == wanted
    assert InferSettings(manifest=MANIFEST).chunks_per_task == "auto"


def test_every_wrong_value_has_a_line() -> None:
    lines = refusal(max_retries=-1, cpu_workers=-1).splitlines()
    assert sorted(line.split(":")[0] for line in lines) == ["--cpu-workers", "--max-retries"]


def test_an_unknown_key_is_refused() -> None:
    assert "max_retrys" in refusal(max_retrys=1).replace("-", "_")


def test_two_runners_exclude_each_other() -> None:
    assert refusal(use_birdnet=True, runner_cmd="x").startswith("--runner-cmd and --use-birdnet exclude each other")


@pytest.mark.parametrize("chosen", [{"use_birdnet": True}, {"runner_cmd": "x"}])
@pytest.mark.parametrize("model", [InferSettings, OrchestrateSettings, PipelineSettings])
def test_the_stub_excludes_the_other_runners(model: Any, chosen: dict[str, Any]) -> None:
    """The stub is chosen by turning HawkEars off, wherever the settings come from."""
    place = {"manifest": MANIFEST} if model is InferSettings else {"dataset": Path("ds")}
    with pytest.raises(RequestError, match="and --stub-runner exclude each other"):
        settings_from(model, {**place, **chosen, "use_hawkears": False})
    # What Prefect keeps of a run names every field.
    again = settings_from(model, settings_from(model, place | chosen).model_dump())
    assert "--stub-runner" not in again.to_arguments()
    assert not again.runs_stub
    assert "--stub-runner" in settings_from(model, {**place, "use_hawkears": False}).to_arguments()


@pytest.mark.parametrize(
    ("values", "option"),
    [
        ({"min_confidence": 0.5}, "--min-confidence"),
        ({"species_list": "s.txt"}, "--species-list"),
        ({"birdnet_overlap_s": 1.5}, "--birdnet-overlap"),
    ],
)
def test_options_of_birdnet_need_birdnet(values: dict[str, Any], option: str) -> None:
    assert refusal(**values).startswith(f"{option} is for --use-birdnet")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        InferSettings(manifest=MANIFEST).max_retries = 5


def test_only_what_differs_from_the_defaults_is_an_argument() -> None:
    assert InferSettings(manifest=MANIFEST).to_arguments() == ["m.csv", "--stub-runner"]
    settings = InferSettings(
        manifest=Path("two words.csv"), runner_cmd="x --y 'z'", keep_going=True, chunk_timeout_s=1.5, max_gpus=0
    )
    assert settings.to_arguments() == [
        "two words.csv",
        "--runner-cmd",
        "x --y 'z'",
        "--max-gpus",
        "0",
        "--chunk-timeout",
        "1.5",
        "--keep-going",
    ]


def test_an_option_that_may_be_repeated_is_repeated() -> None:
    settings = AggregateSettings(detections_dir=Path("out"), manifest=(Path("a"), Path("b")), strict=True)
    assert settings.to_arguments() == ["out", "--manifest", "a", "--manifest", "b", "--strict"]


def test_the_unit_is_not_part_of_the_option() -> None:
    assert option_name("chunk_timeout_s") == "--chunk-timeout"
    assert option_name("chunks_per_task") == "--chunks-per-task"


def test_every_field_has_a_description() -> None:
    for model in (InferSettings, AggregateSettings):
        assert [name for name, field in model.model_fields.items() if not field.description] == []


def test_the_runner_follows_from_the_settings() -> None:
    assert InferSettings(manifest=MANIFEST).runner_spec().name == "stub"
    spec = InferSettings(manifest=MANIFEST, runner_cmd="x", chunk_timeout_s=5).runner_spec()
    assert (spec.name, spec.chunk_timeout_s) == ("custom", 5)  # type: ignore[attr-defined]


def test_a_runner_travels_and_is_compared_by_its_settings() -> None:
    spec = InferSettings(manifest=MANIFEST, runner_cmd="x").runner_spec()
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert hash(spec) == hash(InferSettings(manifest=MANIFEST, runner_cmd="x").runner_spec())
