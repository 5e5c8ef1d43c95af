"""The forms of the deployments: every setting is in one, and what is filled in is what the settings say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.utilities.callables import parameter_schema

from badc.orchestration.pipeline_settings import PipelineSettings
from badc.orchestration.settings import OrchestrateSettings
from badc.reports.settings import BundleSettings
from badc.settings import AggregateSettings, InferSettings
from badc.slurm import SlurmSettings
from flows import deployed, forms

ROOT = Path(__file__).parents[2]
# Plans that are only shown, and what a worker's machine has no shell for.
NOT_IN_A_FORM = {*SlurmSettings.model_fields, "apply", "plan_csv", "plan_json"}
RUNNER_CHOICE = {"use_hawkears", "hawkears_engine", "use_birdnet", "runner_block"}


def fields_of(flow: Any) -> set[str]:
    """Every field of the flow's forms, whatever its group."""
    names: set[str] = set()
    for parameter, schema in parameter_schema(flow).properties.items():
        kinds = [
            reference["$ref"].rsplit("/", 1)[1]
            for reference in [*schema.get("anyOf", []), schema]
            if "$ref" in reference
        ]
        names |= {field for kind in kinds for field in parameter_schema(flow).definitions[kind]["properties"]}
        names |= set() if kinds else {parameter}
    return names


@pytest.mark.parametrize(
    ("flow", "settings", "also"),
    [
        (deployed.infer, InferSettings, {"cluster_block"}),
        (deployed.orchestrate, OrchestrateSettings, {"cluster_block", "dataset_block", "dataset"}),
        (deployed.pipeline, PipelineSettings, {"cluster_block", "dataset_block", "dataset"}),
        (deployed.aggregate, AggregateSettings, set()),
        (deployed.report, BundleSettings, set()),
    ],
)
def test_every_setting_is_in_the_form(flow: Any, settings: Any, also: set[str]) -> None:
    assert set(settings.model_fields) - NOT_IN_A_FORM - RUNNER_CHOICE - also == fields_of(flow) - {
        "kind",
        "block",
        "root",
    }


def test_every_field_says_what_it_is() -> None:
    for flow in (deployed.infer, deployed.orchestrate, deployed.pipeline, deployed.aggregate, deployed.report):
        schema = parameter_schema(flow)
        assert [name for name, each in schema.properties.items() if not each.get("description")] == []
        for definition in schema.definitions.values():
            for name, field in definition.get("properties", {}).items():
                assert field.get("title"), name
                assert field.get("description"), name


def test_what_is_filled_in_is_what_the_settings_say() -> None:
    runner = forms.RUNNER_FORMS["birdnet"](min_confidence=0.6)
    workers = forms.WorkersForm(cpu_workers=3, block="laptop")
    values = forms.values_of(runner, workers, forms.ChunksForm(keep_going=True), forms.PlacesForm(output_dir="out"))
    assert values == {
        "use_birdnet": True,
        "min_confidence": 0.6,
        "cpu_workers": 3,
        "cluster_block": "laptop",
        "keep_going": True,
        "output_dir": Path("out"),
    }
    saved = forms.values_of(forms.SavedRunnerForm(block="careful"), forms.DatasetForm(root="/data", block="ridge"))
    assert saved == {"runner_block": "careful", "dataset": Path("/data"), "dataset_block": "ridge"}


def test_the_example_schedule_fits_its_form_and_is_off() -> None:
    document = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text())
    schedules = [(d, schedule) for d in document["deployments"] for schedule in d.get("schedules", [])]
    assert [d["name"] for d, _ in schedules] == ["nightly"]
    for deployment, schedule in schedules:
        assert schedule["active"] is False
        assert "parameters" not in schedule, "`prefect deployment schedule resume` wipes them"
        deployed.orchestrate.validate_parameters(deployment["parameters"])


def test_each_deployment_starts_a_flow_that_is_there() -> None:
    from importlib import import_module

    document = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text())
    names = {d["name"] for d in document["deployments"]}
    assert names == {"infer", "aggregate", "orchestrate", "nightly", "pipeline", "report"}
    for deployment in document["deployments"]:
        path, name = deployment["entrypoint"].split(":")
        flow = getattr(import_module(path.removesuffix(".py").replace("/", ".")), name)
        assert flow.name == name
        assert deployment["name"] in (name, "nightly")
        assert deployment["work_pool"]["name"] == "badc"
