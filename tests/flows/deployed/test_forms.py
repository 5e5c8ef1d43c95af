"""The forms of the deployments: every setting is in one, and what is filled in is what the settings say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow
from prefect.utilities.callables import parameter_schema

from badc.datasets.inference.settings import OrchestrateSettings
from badc.datasets.pipeline_settings import PipelineSettings
from badc.datasets.slurm.settings import SlurmSettings
from badc.detections.settings import AggregateSettings
from badc.inference.settings import InferSettings
from badc.reports.settings import BundleSettings
from badc.settings.model import option_name
from blocks.parts import RUNNERS
from flows.deployed import flows, forms
from tests.conftest import ROOT

# Plans that are only shown, what a worker's machine has no shell for, and how a shell goes on with a run that Prefect
# would try again.
REDO = {"redo_before", "chunk_redo_before", "infer_redo_before"}
NOT_IN_A_FORM = {*SlurmSettings.model_fields, "slurm_task", *REDO, "apply", "plan_csv", "plan_json", "sockeye_log_dir"}
# What follows from the choice of a runner's form.
RUNNER_CHOICE = {"runner_block", *(name for part in RUNNERS.values() for name in part.fixed)}
# The flows that have a form; what the module imports has none.
DEPLOYED = {
    name: each for name, each in vars(flows).items() if isinstance(each, Flow) and each.fn.__module__ == flows.__name__
}
# Each with its settings, and those of them that a form asks for in another way.
FORMS: dict[str, tuple[Any, set[str]]] = {
    "infer": (InferSettings, {"cluster_block"}),
    "orchestrate": (OrchestrateSettings, {"cluster_block", "dataset_block", "dataset"}),
    "pipeline": (PipelineSettings, {"cluster_block", "dataset_block", "dataset"}),
    "aggregate": (AggregateSettings, set()),
    "report": (BundleSettings, set()),
}


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


@pytest.mark.parametrize("name", DEPLOYED)
def test_every_setting_is_in_the_form(name: str) -> None:
    settings, also = FORMS[name]
    assert set(settings.model_fields) - NOT_IN_A_FORM - RUNNER_CHOICE - also == fields_of(DEPLOYED[name]) - {
        "kind",
        "block",
        "root",
    }


def test_every_field_says_what_it_is() -> None:
    for flow in DEPLOYED.values():
        schema = parameter_schema(flow)
        assert [name for name, each in schema.properties.items() if not each.get("description")] == []
        for definition in schema.definitions.values():
            for name, field in definition.get("properties", {}).items():
                assert field.get("title"), name
                assert field.get("description"), name


@pytest.mark.parametrize("name", DEPLOYED)
def test_fields_have_the_order_and_the_names_of_the_help(name: str) -> None:
    settings, _ = FORMS[name]
    schema = parameter_schema(DEPLOYED[name])
    for definition in schema.definitions.values():
        names = [each for each in definition.get("properties", {}) if each in settings.model_fields]
        assert names == sorted(names, key=settings.in_the_help), definition["title"]
        for each in names:
            title = re.sub(r" \(.+\)$", "", definition["properties"][each]["title"]).lower()
            option = option_name(each).removeprefix("--").removesuffix("-gib").replace("-", " ")
            assert title.replace("command", "cmd").replace("environment", "env") == option


def test_the_documentation_has_every_json_name() -> None:
    page = (ROOT / "docs" / "deployments.md").read_text()
    rows = dict(re.findall(r"^\| `([a-z_ -]+)` \| (.+) \|$", page.partition("## JSON")[2], re.MULTILINE))
    for name, flow in DEPLOYED.items():
        schema = parameter_schema(flow)
        for parameter, each in schema.properties.items():
            references = [kind["$ref"] for kind in each.get("anyOf", [each]) if "$ref" in kind]
            for definition in (schema.definitions[reference.rsplit("/", 1)[1]] for reference in references):
                fields = dict(definition["properties"])
                kind = fields.pop("kind", {}).get("const", "")
                row = rows.get(f"{parameter} {kind or name}") or rows[parameter]
                assert row == (", ".join(f"`{field}`" for field in fields) or "none"), f"{parameter} {kind or name}"


def test_groups_with_defaults_are_folded_and_their_tab_has_a_name() -> None:
    for flow in DEPLOYED.values():
        schema = parameter_schema(flow)
        for parameter, each in schema.properties.items():
            if parameter not in schema.required and "anyOf" in each:
                title, folded = each["anyOf"]
                assert folded == {"type": "null"}
                assert "Form" not in schema.definitions[title["$ref"].rsplit("/", 1)[1]]["title"]


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
        flows.orchestrate.validate_parameters(deployment["parameters"])


def test_every_form_has_a_deployment_of_its_name_and_every_deployment_a_form() -> None:
    document = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text())
    started = {d["name"]: d["entrypoint"] for d in document["deployments"]}
    assert len(started) == len(document["deployments"]), "two deployments of one name"
    forms_of = {name: f"flows.deployed.flows.{name}" for name in DEPLOYED}
    assert {name: started.get(name) for name in forms_of} == forms_of
    assert set(started.values()) <= set(forms_of.values())
    assert {name: each.name for name, each in DEPLOYED.items()} == {name: name for name in DEPLOYED}
    for deployment in document["deployments"]:
        assert deployment["work_pool"]["name"] == "badc"
        # One more of the same flow is there for what it fills in.
        assert deployment["name"] in DEPLOYED or deployment["parameters"]
