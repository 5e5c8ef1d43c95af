"""A server that `deployments/up.sh` makes ready, once and again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import page_of_the_lab
from tests.deployments.conftest import Lab, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.browser, pytest.mark.xdist_group("deployments")]

DEAD_RUNS = "BADC: runs that died are marked Crashed"


def test_up_made_everything(lab: Lab) -> None:
    assert set(lab.deployments()) == {"infer", "aggregate", "orchestrate", "nightly", "pipeline", "report"}
    assert [pool["name"] for pool in lab.ask("work_pools/filter")] == ["badc"]
    assert {each["name"]: each["enabled"] for each in lab.ask("automations/filter")} == {
        DEAD_RUNS: True,
        "BADC: tables of a dataset that is analysed": False,
        "BADC: reports of a new table of detections": False,
    }
    (limit,) = lab.ask("v2/concurrency_limits/filter")
    assert (limit["name"], limit["limit"]) == ("gpu", 1)


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
