"""Every shell example of the documentation is run, page by page, on real recordings; or it says why it is not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = [pytest.mark.birdnet, pytest.mark.xdist_group("examples")]

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# What takes longest is left to `make test-all`.
LONG = {
    "add-a-runner.md",
    "blocks.md",
    "compare.md",
    "embeddings.md",
    "getting-started.md",
    "infer.md",
    "laptop.md",
    "probe.md",
    "review.md",
    "run-configuration.md",
    "server.md",
    "species.md",
}
# The recordings alone: the page's own command analyses them.
_STUDY = (
    "python -c 'from pathlib import Path; from badc.recordings import demo_study as study; "
    'study.write_demo_study(Path("demo"))\''
)
# What a page supposes beyond the folder that all of them have.
BEFORE = {
    "README.md": _STUDY,
    "embeddings.md": f"{_STUDY}; python -c 'import soundfile as sf; "
    'sf.write("call.flac", *sf.read("audio/GNWT-290_20230509_094500.wav", stop=96_000))\'',
    "getting-started.md": "badc demo demo; cd demo",
    "run-configuration.md": "badc demo demo",
    "aggregate.md": "cp artifacts/aggregate/summary_coverage.csv out_coverage.csv",
    "blocks.md": "rm ridge/manifests/*; badc chunk orchestrate ridge --chunk-duration 5 --apply",
    "compare.md": "printf 'recording,start_s,end_s,label\\nDEMO-01_20230509_094500,0,60,\\n"
    "DEMO-01_20230509_094500,3.2,5.9,Tennessee Warbler\\n' > heard.csv",
    "chunk.md": "rm manifests/GNWT-290_*",
    "datalad.md": "mkdir .datalad",
    "laptop.md": "rm -r ridge/manifests; mv ridge/audio/* ridge; rmdir ridge/audio",
    "review.md": "mkdir detections_review; printf 'recording_id,label,start_ms,confidence,verdict\\n"
    "DEMO-01_20230509_094500,Tennessee Warbler,3000,0.8,y\\n' > detections_review/verdicts.csv",
}
# Pages whose Python is part of what their commands suppose; the dataset that it names is the desk's.
WITH_PYTHON = {"blocks.md"}
_SHELL = {"", "sh", "bash", "console"}
_COMMANDS = "badc|make|prefect|python|datalad|git|sbatch|dask|export|cd|cp|rm|ssh|apptainer|docker|pip|deployments/"
_COMMANDS += "|squeue|scancel|sacct|rsync|module|tail|hawkears|systemctl|curl|env"


@dataclass(frozen=True)
class Example:
    """A block of a page that is a shell example."""

    place: str
    commands: list[str]
    not_run: str | None
    exit_codes: list[str]


def examples(page: Path) -> Iterator[Example]:
    """Find the shell examples of a page: blocks with `$ ` before the commands, or of commands alone."""
    lines = page.read_text().splitlines()
    number = 0
    while number < len(lines):
        fence = re.match(r"\s*```(\w*)\s*$", lines[number])
        if fence is None:
            number += 1
            continue
        end = next(n for n in range(number + 1, len(lines)) if re.match(r"\s*```\s*$", lines[n]))
        commands = commands_of([line.strip() for line in lines[number + 1 : end]])
        if fence[1] == "python" and page.name in WITH_PYTHON:
            code = "\n".join(lines[number + 1 : end]).replace('"/data/ridge"', '"ridge"')
            yield Example(f"{page.name}:{number + 1}", [f"python - <<'EOF'\n{code}\nEOF"], None, ["0"])
        if fence[1] in _SHELL and commands:
            note = lines[number - 1]
            reason = re.search(r"<!-- not run: (.+) -->", note)
            codes = re.search(r"<!-- exit code: ([\d or]+) -->", note)
            allowed = codes[1].split(" or ") if codes is not None else ["0"]
            yield Example(f"{page.name}:{number + 1}", commands, reason and reason[1], allowed)
        number = end + 1


def commands_of(body: list[str]) -> list[str]:
    """Return the commands of a block; what it shows as output is left out."""
    if any(line.startswith("$ ") for line in body):
        found: list[str] = []
        going_on = False
        for line in body:
            if going_on:
                found[-1] += "\n" + line
            elif line.startswith("$ "):
                found.append(line.removeprefix("$ "))
            going_on = (going_on or line.startswith("$ ")) and line.endswith("\\")
        return found
    if body and re.match(rf"({_COMMANDS}|[A-Z_]+=)", body[0]):
        return ["\n".join(body)]
    return []


ALL = {page.name: list(examples(page)) for page in PAGES}
RUN = [name for name, found in ALL.items() if any(example.not_run is None for example in found)]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, birds_wav: Path, prefect_api: str) -> Path:
    """A folder such as the pages suppose: two recordings, their manifests, what was found, and small datasets."""
    import numpy as np
    import soundfile as sf

    from badc.chunks.cutting import plan_chunks, write_virtual_manifest

    folder = tmp_path_factory.mktemp("desk")
    samples, rate = sf.read(birds_wav)
    first = folder / "audio" / "DEMO-01_20230509_094500.wav"
    second = folder / "audio" / "GNWT-290_20230509_094500.wav"
    first.parent.mkdir()
    # Every 12 s, so that each repeat has four of BirdNET's windows of its own.
    sf.write(first, np.tile(np.pad(samples[: 10 * rate], (0, 2 * rate)), 30), rate)
    shutil.copy(first, second)
    badc(folder, prefect_api, "chunk", "manifest", "audio/DEMO-01_20230509_094500.wav", "--chunk-duration", "30")
    manifest, table = "manifests/DEMO-01_20230509_094500.csv", "artifacts/aggregate/detections.parquet"
    badc(folder, prefect_api, "infer", "run", manifest, "--use-birdnet", "--cpu-workers", "2")
    badc(folder, prefect_api, "infer", "aggregate", "artifacts/infer", "--manifest", "manifests", "--parquet", table)
    write_virtual_manifest(plan_chunks(second, 60.0), folder / "manifests" / f"{second.stem}.csv", hash_chunks=False)
    for dataset in ("ds", "ridge"):
        for name in ("GNWT-290_20230509_094500", "siteB/GNWT-291_20230510_050000"):
            path = folder / dataset / "audio" / f"{name}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            sf.write(path, samples, rate)
    write_virtual_manifest(
        plan_chunks(folder / "ridge" / "audio" / "GNWT-290_20230509_094500.wav", 5.0),
        folder / "ridge" / "manifests" / "GNWT-290_20230509_094500.csv",
        hash_chunks=False,
    )
    for example in ("loud.py", "loud_resident.py"):
        shutil.copy(ROOT / "docs" / "examples" / example, folder)
    shutil.copytree(ROOT / "configs", folder / "configs")
    shutil.copytree(ROOT / "blocks", folder / "blocks")
    (folder / "sites.csv").write_text("station,latitude,longitude\nDEMO-01,62.45,-114.37\nGNWT-290,62.45,-114.37\n")
    rows = (folder / "manifests" / "DEMO-01_20230509_094500.csv").read_text().splitlines()
    bad_id = rows[1].replace("DEMO-01_20230509_094500_chunk_0_30000", "../x", 1)
    (folder / "bad.csv").write_text(f"{rows[0]}\n{bad_id}\n")
    (log,) = (folder / "data" / "telemetry" / "infer").glob("*.jsonl")
    shutil.copy(log, folder / "flaky.jsonl")
    return folder


def badc(folder: Path, api: str, *words: str) -> None:
    command = [sys.executable, "-m", "flows", *words]
    done = subprocess.run(command, cwd=folder, env=variables(api), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def variables(api: str) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return os.environ | {"PREFECT_API_URL": api, "PATH": path, "PYTHONPATH": str(ROOT)}


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.long) if n in LONG else n for n in RUN])
def test_the_examples_of_a_page_work(name: str, desk: Path, prefect_api: str, tmp_path: Path) -> None:
    folder = tmp_path / "desk"
    shutil.copytree(desk, folder)
    for path in folder.rglob("manifests/*.csv"):
        path.write_text(path.read_text().replace(str(desk), str(folder)))
    script = [BEFORE.get(name, "")]
    for example in ALL[name]:
        if example.not_run is None:
            for command in example.commands:
                script += ["code=0", f"{{\n{command}\n}} || code=$?"]
                wrong = f'echo "{example.place}: exit code $code" >&2; exit 99'
                script.append(f"case $code in {'|'.join(example.exit_codes)}) ;; *) {wrong};; esac")
    command = ["bash", "-c", "\n".join(script)]
    done = subprocess.run(command, cwd=folder, env=variables(prefect_api), capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


def test_every_example_is_run_or_says_why_not() -> None:
    run = sum(example.not_run is None for found in ALL.values() for example in found)
    exempt = [example for found in ALL.values() for example in found if example.not_run is not None]
    print(f"{run} examples are run, {len(exempt)} are not:")
    for example in exempt:
        print(f"{example.place}: {example.not_run}")
    assert run > len(exempt)
    held_back = [e.place for found in ALL.values() for e in found if e.not_run is None and "…" in "".join(e.commands)]
    assert held_back == [], "an example with a … in its command cannot be run; say so, or write it out"
