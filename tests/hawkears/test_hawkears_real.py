"""HawkEars 2.x itself, resident: the same detections as its own command gives, with its models loaded once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from badc.errors import RequestError
from badc.inference.plan import InferPlan, plan_inference
from badc.inference.settings import InferSettings
from badc.inference.worker import infer_chunks
from tests.hawkears.conftest import CHUNK_S, MIN_SCORE


def badc(*words: object, folder: Path) -> str:
    done = subprocess.run([sys.executable, "-m", "flows", *map(str, words)], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr


def rows_of(output: Path) -> list[tuple[str, str, int, int, float]]:
    """Return a run's detections as (chunk, code, start in ms, end in ms, confidence), in HawkEars' own order."""
    rows = []
    for path in output.rglob("*.json"):
        document = json.loads(path.read_bytes())
        for found in document["detections"]:
            times = (found["timestamp_ms"], found["end_ms"])
            rows.append((document["chunk_id"], found["label_code"], *times, found["confidence"]))
    return sorted(rows)


@pytest.mark.parametrize(
    "options",
    [
        ("--min_score", str(MIN_SCORE)),
        ("--min_score", "0.78", "--region", "CA-AB", "--models", "2", "--low-band"),
        ("--min_score", "0.78", "--models", "2", "--lat", "51.05", "--lon", "-114.07"),
    ],
    ids=["score", "place, date of the file, low band", "the station's place"],
)
def test_detections_are_those_of_hawkears_itself(
    recording: Path,
    data_root: Path,
    tmp_path: Path,
    hawkears_analyze: Callable[..., list[dict[str, str]]],
    options: tuple[str, ...],
) -> None:
    cut = ("--chunk-duration", CHUNK_S)
    wavs = tmp_path / "wavs"
    badc("chunk", "run", recording, *cut, "--output-dir", wavs, "--manifest", tmp_path / "cut.csv", folder=tmp_path)
    badc("chunk", "manifest", recording, *cut, "--output", tmp_path / "m.csv", folder=tmp_path)
    words, sites = list(options), []
    if "--lat" in words:
        *words, _, latitude, _, longitude = words
        (tmp_path / "sites.csv").write_text(f"station,latitude,longitude\nSITE-1,{latitude},{longitude}\n")
        sites = ["--hawkears-sites", "sites.csv"]
    log = badc(
        *("infer", "run", tmp_path / "m.csv", "--use-hawkears", "--hawkears-data", data_root, "--output-dir", "out"),
        *("--max-gpus", 0, "--cpu-workers", 2, *(f"--hawkears-arg={word}" for word in words), *sites),
        folder=tmp_path,
    )
    date = ("--date", "file") if {"--region", "--lat"} & {*options} else ()
    expected = sorted(
        (
            row["recording"],
            row["name"],
            *(round(float(row[c]) * 1000) for c in ("start_time", "end_time")),
            row["score"],
        )
        for row in hawkears_analyze(wavs, tmp_path / "own", *options, *date)
    )

    found = rows_of(tmp_path / "out")
    assert "resident in" in log
    assert len(found) > 20
    assert len({row[2:4] for row in found}) > 3, "the scores are to cut the chunks into pieces"
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    for (*_, start, end, score), (*_, own_start, own_end, own_score) in zip(found, expected, strict=True):
        assert abs(start - own_start) <= 1
        assert abs(end - own_end) <= 1
        assert abs(score - float(own_score)) <= 1e-3


@pytest.fixture
def plan(recording: Path, data_root: Path, tmp_path: Path) -> Callable[..., InferPlan]:
    """Return a function that plans a run of HawkEars in this process."""
    from badc.chunks.cutting import plan_chunks, write_virtual_manifest

    def make(**settings: object) -> InferPlan:
        write_virtual_manifest(plan_chunks(recording, CHUNK_S), tmp_path / "m.csv", hash_chunks=False)
        values = {"hawkears_data": data_root, "hawkears_arg": ("--min_score", str(MIN_SCORE))} | settings
        return plan_inference(
            InferSettings(manifest=tmp_path / "m.csv", output_dir=tmp_path / "out", use_hawkears=True, **values)
        )

    return make


def test_no_checkpoint_is_read_for_the_second_chunk(
    plan: Callable[..., InferPlan], data_root: Path, tmp_path: Path
) -> None:
    from badc.runners.current import close_runner

    made = plan()
    checkpoints = {path: path.read_bytes() for path in data_root.rglob("*.ckpt")}
    try:
        infer_chunks(made.todo[:1], made.order, lambda attempt: None)
        first = rows_of(tmp_path / "out")
        for path in checkpoints:
            path.write_bytes(b"nobody can load this")
        ended = infer_chunks(made.todo, made.order, lambda attempt: None)
    finally:
        close_runner()
        for path, data in checkpoints.items():
            path.write_bytes(data)
    assert [attempt.ok for attempt in ended] == [True] * 4
    assert first
    assert [row for row in rows_of(tmp_path / "out") if row[0] == first[0][0]] == first


def test_the_version_names_the_checkpoints_and_detections_have_common_names(
    plan: Callable[..., InferPlan], tmp_path: Path
) -> None:
    from badc.runners.current import close_runner

    made = plan()
    infer_chunks(made.todo[:1], made.order, lambda attempt: None)
    close_runner()
    (path,) = (tmp_path / "out").rglob("*.json")
    document = json.loads(path.read_bytes())
    assert document["model_version"].startswith("HawkEars 2.")
    assert len(document["model_version"].split()[-1]) == 12
    assert all(len(found["label_code"]) == 4 and " " in found["label_name"] for found in document["detections"][:5])


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"hawkears_arg": ("--min_skore", "1")}, "No such option:? .?--min_skore"),
        ({"hawkears_arg": ("--models", "99")}, "--models"),
        ({"hawkears_arg": ("--rtype", "csv")}, "--rtype: BADC decides this itself"),
        ({"hawkears_data": Path("nowhere")}, "hawkears init --dest"),
    ],
)
def test_what_hawkears_does_not_know_is_refused_before_the_run(
    plan: Callable[..., InferPlan], settings: dict[str, object], reason: str
) -> None:
    with pytest.raises(RequestError, match=reason):
        plan(**settings)
