"""What Prefect knows and shows of a run: names, tags, artifacts; asked of the API, and read in a real browser."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.conftest import FAKES, LAB_AUTH, ROOT, page_of_the_lab

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.browser, pytest.mark.xdist_group("prefect-ui")]

# Where set, the pictures of the documentation are taken again.
PICTURES = ROOT / "docs" / "images" if os.environ.get("BADC_TAKE_PICTURES") else None


@pytest.fixture(scope="module")
def server(start_server_with_ui: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Prefect server with its UI."""
    url: str = start_server_with_ui(tmp_path_factory.mktemp("ui-server"))
    return url


@pytest.fixture(scope="module")
def finished(server: str, tmp_path_factory: pytest.TempPathFactory, gpu_driver: dict[str, str]) -> tuple[str, Path]:
    """A run of six chunks of a dataset on two simulated GPUs, of which one fails once and one for good."""
    import numpy as np
    import soundfile as sf

    from badc.chunks.cutting import plan_chunks, write_virtual_manifest

    folder = (
        tmp_path_factory.mktemp("study") if PICTURES is None else Path(tempfile.mkdtemp(prefix="birds-", dir="/tmp"))
    )
    root = folder / "Ridge"
    (root / "audio").mkdir(parents=True)
    (root / ".datalad").mkdir()
    sf.write(root / "audio" / "GNWT-290.wav", np.random.default_rng(1).normal(0, 0.1, 48000), 8000)
    manifest = root / "manifests" / "GNWT-290.csv"
    write_virtual_manifest(plan_chunks(root / "audio" / "GNWT-290.wav", 1.0), manifest, hash_chunks=False)
    shutil.copy(FAKES / "detector.py", root)
    command = "python detector.py --seconds 0.3 --state state --only chunk_2000 --fail-times 9"
    environment = os.environ | gpu_driver | of_server(server) | {"PREFECT_HOME": str(folder / "home")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    words = ["--max-retries", "1", "--keep-going", "--gpu-sample-interval", "0.1"]
    done = subprocess.run(
        [sys.executable, "-m", "flows", "infer", "run", "manifests/GNWT-290.csv", "--runner-cmd", command, *words],
        env=environment,
        cwd=root,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 1, done.stderr
    return done.stderr, root


def of_server(server: str) -> dict[str, str]:
    return {"PREFECT_API_URL": f"{server}/api", "PREFECT_API_AUTH_STRING": ":".join(LAB_AUTH)}


def api(server: str, path: str, **body: Any) -> Any:
    import httpx

    return httpx.post(f"{server}/api/{path}", json=body, auth=LAB_AUTH, timeout=30).raise_for_status().json()


def the_run(server: str) -> dict[str, Any]:
    (run,) = api(server, "flow_runs/filter")
    return run


def test_the_flow_run_is_found_by_dataset_recording_and_runner(server: str, finished: Any) -> None:
    run = the_run(server)
    assert run["name"] == "infer Ridge/GNWT-290"
    assert {"dataset:Ridge", "recording:GNWT-290", "runner:custom"} <= set(run["tags"])


def test_task_runs_are_named_after_their_chunk_and_say_who_did_it(server: str, finished: Any) -> None:
    end = time.monotonic() + 30  # they travel as events
    while any(run["state_type"] not in ("COMPLETED", "FAILED") for run in api(server, "task_runs/filter")):
        assert time.monotonic() < end
        time.sleep(0.5)
    runs = {run["name"]: run for run in api(server, "task_runs/filter")}
    assert set(runs) == {f"GNWT-290_chunk_{n}_{n + 1000}" for n in range(0, 6000, 1000)}
    for run in runs.values():
        assert {"recording:GNWT-290", "runner:custom"} <= set(run["tags"])
        assert [tag for tag in run["tags"] if tag.startswith("worker:")][:1] in (["worker:gpu-0"], ["worker:gpu-1"])
    assert runs["GNWT-290_chunk_2000_3000"]["state_type"] == "FAILED"
    assert runs["GNWT-290_chunk_2000_3000"]["run_count"] == 2


def artifacts(server: str) -> dict[str, dict[str, Any]]:
    return {artifact["key"]: artifact for artifact in api(server, "artifacts/filter")}


def test_artifacts_have_keys_that_the_next_run_of_the_recording_has_too(server: str, finished: Any) -> None:
    kinds = ("progress", "workers", "species", "report")
    assert set(artifacts(server)) == {f"infer-{kind}-ridge-gnwt-290" for kind in kinds}
    progress = artifacts(server)["infer-progress-ridge-gnwt-290"]
    assert progress["data"] == 100
    assert "5/6 chunks, 1 failed" in progress["description"]
    assert "× real time" in progress["description"]


def test_the_report_has_the_command_that_the_console_printed(server: str, finished: Any) -> None:
    said, root = finished
    report = artifacts(server)["infer-report-ridge-gnwt-290"]["data"]
    (resume,) = [line.partition(": ")[2] for line in said.splitlines() if line.startswith("Resume with: ")]
    assert f"```\n{resume}\n```" in report
    for heading in ("Species", "Workers", "GPUs", "Failed", "Retry hot spots", "Slowest chunks", "Outputs"):
        assert f"## {heading}\n" in report
    assert (root / "artifacts" / "infer").as_uri() in report
    assert "data:image/png;base64," in report
    assert "GNWT-290\\_chunk\\_2000\\_3000" in report


def test_the_pages_show_it(server: str, finished: Any, chromium: str) -> None:
    from playwright.sync_api import expect, sync_playwright

    run = the_run(server)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = page_of_the_lab(browser, viewport={"width": 1200, "height": 900})
        page.goto(f"{server}/runs/flow-run/{run['id']}")
        expect(page.get_by_text("infer Ridge/GNWT-290").first).to_be_visible(timeout=60_000)
        expect(page.get_by_text("recording:GNWT-290").first).to_be_visible(timeout=30_000)
        take(page, "prefect-flow-run.png")
        page.goto(f"{server}/artifacts/artifact/{artifacts(server)['infer-report-ridge-gnwt-290']['id']}")
        expect(page.get_by_text("Retry hot spots").first).to_be_visible(timeout=60_000)
        expect(page.get_by_text("--resume-summary").first).to_be_visible()
        picture = page.get_by_role("img", name="load of gpu-0")
        expect(picture).to_be_visible()
        assert picture.evaluate("image => image.naturalWidth") == 240
        page.set_viewport_size({"width": 1200, "height": 1900})
        take(page, "prefect-report.png")
        page.goto(f"{server}/artifacts/artifact/{artifacts(server)['infer-workers-ridge-gnwt-290']['id']}")
        expect(page.get_by_text("gpu-1").first).to_be_visible(timeout=60_000)
        browser.close()


@pytest.mark.long
def test_a_dataset_is_seen_while_it_goes(
    server: str, finished: Any, chromium: str, make_dataset: Any, gpu_driver: dict[str, str], fake: Any, tmp_path: Path
) -> None:
    from playwright.sync_api import expect, sync_playwright

    from tasks.show.artifacts import artifact_key

    root = make_dataset("A", "B", seconds=150)  # longer than a slow machine takes to open the pages
    words = ["infer", "orchestrate", str(root), "--apply", "--runner-cmd", fake("detector", "--seconds", 1)]
    process = subprocess.Popen(
        [sys.executable, "-m", "flows", *words, "--gpu-sample-interval", "0.1"],
        env=os.environ | gpu_driver | of_server(server) | {"PREFECT_HOME": str(tmp_path / "home")},
        stderr=subprocess.PIPE,
        text=True,
    )

    def shown(key: str | None, text: str = "") -> Any:
        end = time.monotonic() + 60
        while True:
            for artifact in api(server, "artifacts/filter"):
                if artifact["key"] == key and text in (artifact["description"] or ""):
                    return artifact
            assert time.monotonic() < end, f"{key} is not shown"
            time.sleep(0.2)

    # Those of its recordings have no key, and so are not on the page of all artifacts.
    of_dataset, progress_of = f"orchestrate-{artifact_key(root.name)}", "× real time"

    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = page_of_the_lab(browser, viewport={"width": 1200, "height": 600})
            page.goto(f"{server}/artifacts/artifact/{shown(of_dataset)['id']}")
            expect(page.get_by_text("running").first).to_be_visible(timeout=60_000)
            page.goto(f"{server}/artifacts/artifact/{shown(None, 'GPU load: gpu-')['id']}")
            expect(page.get_by_text(re.compile("GPU load: gpu-[01] [0-9]+ %")).first).to_be_visible(timeout=60_000)
            expect(page.get_by_text(re.compile("× real time, [0-9:]+ left")).first).to_be_visible()
            browser.close()
        first = shown(None, progress_of)
        end = time.monotonic() + 30
        while api(server, "artifacts/filter", artifacts={"id": {"any_": [first["id"]]}}) == [first]:
            assert time.monotonic() < end, "it is brought up to date"
            time.sleep(0.5)
        assert process.poll() is None, "all of this was seen while the run went"
    finally:
        process.terminate()
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    rows = orjson.loads(shown(of_dataset)["data"])
    assert {row["recording"]: row["state"] for row in rows} == {"A": "interrupted", "B": "interrupted"}


def take(page: Any, name: str) -> None:
    if PICTURES is not None:
        page.wait_for_timeout(1500)
        page.screenshot(path=PICTURES / name)
