"""`badc report search` as users meet it: real birds, by a clip and by a window that has embeddings."""

from __future__ import annotations

import csv
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from typer.testing import CliRunner

from badc.chunks.cutting import plan_chunks, write_virtual_manifest
from badc.inference.gathering import gather_embeddings
from badc.inference.plan import plan_inference
from badc.inference.settings import InferSettings
from badc.inference.worker import infer_chunks
from badc.runners.current import close_runner
from flows.cli.main import build

pytestmark = [
    pytest.mark.birdnet,
    pytest.mark.skipif(importlib.util.find_spec("ai_edge_litert") is None, reason="the extra birdnet is not installed"),
]


def badc(*words: object):
    return CliRunner().invoke(build(["report"]), list(map(str, words)))


@pytest.fixture(scope="module")
def folder(birds_wav: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the embeddings of the real clip, and of noise."""
    folder = tmp_path_factory.mktemp("search")
    samples, rate = sf.read(birds_wav, dtype="int16")
    sf.write(folder / "birds_20230509_094500.wav", samples, rate)
    sf.write(folder / "noise.wav", np.random.default_rng(5).normal(0, 0.05, 9 * rate), rate)
    sf.write(folder / "call.wav", samples[3 * rate : 6 * rate], rate)
    for name in ("birds_20230509_094500", "noise"):
        plan = plan_chunks(folder / f"{name}.wav", duration_s=6)
        write_virtual_manifest(plan, folder / f"{name}.csv", hash_chunks=False)
        settings = InferSettings(
            manifest=folder / f"{name}.csv", use_birdnet=True, embeddings=folder / "e", output_dir=folder / "out"
        )
        planned = plan_inference(settings)
        assert all(attempt.ok for attempt in infer_chunks(planned.todo, planned.order, lambda attempt: None))
        assert gather_embeddings(planned) == []
    close_runner()
    return folder


def test_a_clip_finds_its_own_window_first_and_a_review_is_written(folder: Path) -> None:
    done = badc("report", "search", folder / "call.wav", "--embeddings", folder / "e", "--top", 4, "--label", "Warbler")
    assert done.exit_code == 0, done.stderr
    header, first, *others, page = done.stdout.splitlines()
    assert header == "similarity\trecording\tstart_s\tend_s\tstation\ttime"
    assert first == "1.0\tbirds_20230509_094500\t3.0\t6.0\t\t2023-05-09T09:45:03"
    assert len(others) == 3
    assert all(float(line.split("\t")[0]) < 0.9 for line in others)
    assert "6 windows compared" in done.stderr
    assert Path(page) == folder / "e_like_call" / "review.html"
    rows = list(csv.DictReader((folder / "e_like_call" / "sample.csv").read_text().splitlines()))
    assert [row["label"] for row in rows] == ["Warbler"] * 4
    assert (rows[0]["recording_id"], rows[0]["start_ms"], rows[0]["end_ms"]) == (
        "birds_20230509_094500",
        "3000",
        "6000",
    )
    assert float(rows[0]["confidence"]) == 1
    assert all((folder / "e_like_call" / row["audio"]).is_file() for row in rows)

    again = badc("report", "search", folder / "call.wav", "--embeddings", folder / "e")
    assert again.exit_code == 2
    assert "give --output-dir a new folder" in again.stderr


def test_the_folder_of_embeddings_has_to_be_named() -> None:
    done = badc("report", "search", "call.wav")
    assert (done.exit_code, done.stderr) == (2, "badc: --embeddings: this option is needed\n")
    assert "Undefined" not in badc("report", "search", "--help").stdout


def test_a_window_that_has_embeddings_needs_no_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("badc.inference.search.runner_for", None)
    words = (
        "report",
        "search",
        "--embeddings",
        folder / "e",
        "--recording",
        "birds_20230509_094500",
        "--start",
        7,
        "--no-review",
    )
    done = badc(*words, "--json", "--top", 2)
    assert done.exit_code == 0, done.stderr
    first, second = json.loads(done.stdout)
    told = {"station": None, "time": "2023-05-09T09:45:06"}
    assert first == {"similarity": 1.0, "recording": "birds_20230509_094500", "start_s": 6.0, "end_s": 9.0} | told
    assert second["similarity"] < 1
    assert not (folder / "e_like_birds_20230509_094500_7s").exists()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((), "give a clip, or --recording and --start"),
        (("--recording", "birds_20230509_094500"), "--recording and --start belong together"),
        (("none.wav",), "none.wav"),
        (("call.wav", "--runner-cmd", "true"), "gives no embeddings"),
        (("call.wav", "--use-birdnet", "--birdnet-overlap", "1"), "of another model"),
        (("long.wav",), "longer than a minute"),
    ],
)
def test_a_search_that_cannot_be_made_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], reason: str
) -> None:
    monkeypatch.chdir(folder)
    sf.write("long.wav", np.zeros(61 * 8000), 8000)
    done = badc("report", "search", "--embeddings", "e", "--no-review", *words)
    assert done.exit_code == 2
    assert reason in done.stderr
