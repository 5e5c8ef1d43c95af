"""A server that `deployments/up.sh` makes ready, once and again."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from tests.conftest import ROOT, page_of_the_lab
from tests.deployments.conftest import Lab, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.browser, pytest.mark.xdist_group("deployments")]

DEAD_RUNS = "BADC: runs that died are marked Crashed"


def test_up_made_everything(lab: Lab) -> None:
    assert set(lab.deployments()) == {"infer", "aggregate", "orchestrate", "nightly", "pipeline", "report"}
    assert str(ROOT) not in str(lab.deployments()), "so that they run in any checkout, on any machine"
    assert [pool["name"] for pool in lab.ask("work_pools/filter")] == ["badc"]
    assert {each["name"]: each["enabled"] for each in lab.ask("automations/filter")} == {
        DEAD_RUNS: True,
        "BADC: tables of a dataset that is analysed": False,
        "BADC: reports of a new table of detections": False,
    }
    limits = {limit["name"]: limit["limit"] for limit in lab.ask("v2/concurrency_limits/filter")}
    nightly = lab.deployments()["nightly"]
    assert limits == {"gpu": 1, f"deployment:{nightly['id']}": 1}
    assert nightly["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"


def test_up_again_keeps_what_an_operator_changed(lab: Lab, chromium: str) -> None:
    nightly = lab.deployments()["nightly"]
    (example,) = nightly["schedules"]
    switch_on_in_the_ui(lab, chromium, nightly["id"])
    parameters = nightly["parameters"] | {"dataset": {"block": "coast"}}
    lab.change(f"deployments/{nightly['id']}", parameters=parameters)
    own = {"schedule": {"interval": 7 * 86_400}, "active": True, "parameters": {"runner": {"kind": "stub"}}}
    address = f"{lab.api}/deployments/{nightly['id']}/schedules"
    lab.http.post(address, json=[own]).raise_for_status()
    dead_runs = automation_for_dead_runs(lab)
    lab.change(f"automations/{dead_runs['id']}", enabled=False)
    try:
        said = lab.up("--gpu-limit", "5")
        after = lab.deployments()["nightly"]
        automation = automation_for_dead_runs(lab)
    finally:
        lab.change(f"automations/{dead_runs['id']}", enabled=True)
        for schedule in lab.deployments()["nightly"]["schedules"]:
            lab.http.delete(f"{address}/{schedule['id']}").raise_for_status()
    assert "is there, and keeps its limit" in said
    assert f"{DEAD_RUNS} (is switched off)" in said
    assert automation["enabled"] is False
    assert after["parameters"] == parameters
    kept = {schedule["slug"]: schedule for schedule in after["schedules"]}
    assert set(kept) == {"nightly", None}
    assert all(schedule["active"] for schedule in after["schedules"])
    assert kept["nightly"]["schedule"] == example["schedule"]
    assert kept[None]["schedule"]["interval"] == own["schedule"]["interval"]
    assert kept[None]["parameters"] == own["parameters"]


def test_forms_say_which_blocks_are_saved(lab: Lab) -> None:
    def descriptions() -> dict[str, str]:
        definitions = lab.deployments()["orchestrate"]["parameter_openapi_schema"]["definitions"]
        fields = {each["title"]: each["properties"].get("block") for each in definitions.values()}
        return {title: field["description"] for title, field in fields.items() if field is not None}

    assert set(descriptions()) == {"Saved", "Workers", "Dataset"}
    assert all(text.endswith("None was saved yet.") for text in descriptions().values())
    save = "from pathlib import Path; from blocks import types; types.Dataset(root=Path('/data')).save('ridge')"
    save += "; [types.GpuCluster(cpu_workers=2).save(name) for name in ('laptop', 'node')]"
    subprocess.run([sys.executable, "-c", save], env=lab.environment, cwd=ROOT, check=True, capture_output=True)
    lab.up()
    saved, workers = descriptions(), "badc-gpu-cluster"
    assert saved["Dataset"].endswith("Saved when this was deployed: badc-dataset/ridge.")
    assert saved["Workers"].endswith(f"Saved when this was deployed: {workers}/laptop, {workers}/node.")
    assert saved["Saved"].endswith("None was saved yet.")


def automation_for_dead_runs(lab: Lab) -> dict[str, Any]:
    (automation,) = [each for each in lab.ask("automations/filter") if each["name"] == DEAD_RUNS]
    return automation


def switch_on_in_the_ui(lab: Lab, chromium: str, deployment: str) -> None:
    from playwright.sync_api import expect, sync_playwright

    url = lab.ui
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = page_of_the_lab(browser, viewport={"width": 1400, "height": 1000})
        page.goto(f"{url}/deployments/deployment/{deployment}")
        switch = page.get_by_role("switch")
        expect(switch).to_be_visible(timeout=60_000)
        switch.click()
        wait_until(lambda: all(s["active"] for s in lab.deployments()["nightly"]["schedules"]), 20)
        browser.close()
