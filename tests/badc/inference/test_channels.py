"""Which channels a runner gets, and samples that are not finite: the same for every runner."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from badc.chunks.cutting import plan_chunks, write_virtual_manifest
from badc.detections.fingerprint import mixed
from badc.errors import RequestError
from badc.inference.attempt import Attempt
from badc.inference.plan import plan_inference
from badc.inference.settings import InferSettings
from badc.inference.worker import infer_chunks
from badc.recordings.channels import cancelling
from badc.settings.model import settings_from

pytestmark = pytest.mark.usefixtures("_fresh_runner")
RATE = 48_000
# Says what it hears: the number of channels, and the mean of each in thousandths.
HEARS = """
import json, sys
import soundfile as sf
wav, output = (sys.argv[sys.argv.index(name) + 1] for name in ("--input", "--output"))
samples, _ = sf.read(wav, always_2d=True)
label = " ".join(str(round(1000 * value)) for value in samples.mean(axis=0))
json.dump({"detections": [{"label": label, "confidence": 0.5}]}, open(output, "w"))
"""
Run = Callable[..., list[Attempt]]


@pytest.fixture
def run(csv_file: Callable[..., Path], script: Callable[..., list[str]]) -> Run:
    """Return a function that analyses chunks of a second of one file."""

    def make(audio: Path, seconds: int = 1, source: str = HEARS, **settings: Any) -> list[Attempt]:
        rows = [("R", f"c{n}", audio.name, n * 1000, n * 1000 + 1000) for n in range(seconds)]
        chosen = settings or {"runner_cmd": shlex.join(script(source))}
        if "channel" in settings or "salvage" in settings:
            chosen = {"runner_cmd": shlex.join(script(source)), **settings}
        plan = plan_inference(InferSettings(manifest=csv_file(rows), output_dir=Path("out"), **chosen))
        return infer_chunks(plan.todo, plan.order, lambda attempt: None)

    return make


def result(name: str = "c0") -> tuple[str, str]:
    """Return what was heard in a chunk, and its notes."""
    document = json.loads(Path("out", "R", f"{name}.json").read_bytes())
    return document["detections"][0]["label"], document["chunk"]["notes"]


def fingerprint(name: str = "c0") -> str:
    """Return the fingerprint of a chunk's result."""
    found: str = json.loads(Path("out", "R", f"{name}.json").read_bytes())["fingerprint"]
    return found


def levels(path: Path, *values: float, seconds: int = 1, subtype: str = "FLOAT") -> Path:
    """Write a WAV whose channels have these levels."""
    samples = np.tile(np.array(values), (seconds * RATE, 1))
    samples += 0.01 * np.random.default_rng(1).standard_normal(samples.shape) * np.array(values)
    sf.write(path, samples, RATE, subtype=subtype)
    return path


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize("runner", ["command", "stub", "birdnet", "hawkears"])
@pytest.mark.parametrize("own_file", [True, False], ids=["chunk WAV", "recording"])
def test_samples_that_are_not_finite_fail_the_attempt_of_every_runner(
    tmp_path: Path, run: Run, request: pytest.FixtureRequest, bad: float, subtype: str, runner: str, own_file: bool
) -> None:
    samples = np.full(RATE * (1 if own_file else 2), 0.1)
    samples[RATE // 2] = bad
    sf.write(tmp_path / "a.wav", samples, RATE, subtype=subtype)
    settings: dict[str, Any] = {"command": {}, "stub": {"max_gpus": 0}, "birdnet": {"use_birdnet": True}}.get(
        runner, {}
    )
    if runner == "hawkears":
        root = Path(__file__).parents[2] / "fakes" / "HawkEars1"
        settings = {"use_hawkears": True, "hawkears_root": root}
    if runner == "birdnet":
        pytest.importorskip("ai_edge_litert", reason="the extra birdnet is not installed")
    (attempt,) = run(tmp_path / "a.wav", **settings)
    assert not attempt.ok
    assert "a.wav: samples are not finite (NaN or infinite) between 0 s and 1 s" in attempt.details["error"]
    assert not Path("out", "R", "c0.json").exists()


def test_a_chunk_beside_one_that_is_not_finite_succeeds(tmp_path: Path, run: Run) -> None:
    samples = np.full(3 * RATE, 0.1)
    samples[RATE + 5] = np.nan
    sf.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    root = Path(__file__).parents[2] / "fakes" / "HawkEars1"
    attempts = run(tmp_path / "a.wav", 3, use_hawkears=True, hawkears_root=root, chunks_per_task=3)
    assert [attempt.ok for attempt in attempts] == [True, False, True]


@pytest.mark.parametrize("seconds", [1, 2])
def test_a_channel_that_is_not_finite_is_left_out_and_noted(tmp_path: Path, run: Run, seconds: int) -> None:
    path = levels(tmp_path / "a.wav", 0.1, np.nan, 0.3, seconds=seconds)
    (attempt,) = run(path)
    assert attempt.ok
    assert result() == ("100 300", "left out, because samples are not finite: channel 2 of 3")


@pytest.mark.parametrize(
    ("channel", "heard", "note"),
    [
        ("1", "100", ""),
        ("3", "300", ""),
        ("mean", "200", ""),
        ("loudest", "300", "the loudest channel is 3 of 3"),
    ],
)
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "PCM_U8"])
@pytest.mark.parametrize("seconds", [1, 2])
def test_every_runner_gets_the_channel_that_is_asked_for(
    tmp_path: Path, run: Run, channel: str, heard: str, note: str, subtype: str, seconds: int
) -> None:
    (attempt,) = run(levels(tmp_path / "a.wav", 0.1, 0.2, 0.3, seconds=seconds, subtype=subtype), channel=channel)
    assert attempt.ok, attempt.details
    found, notes = result()
    assert len(found.split()) == 1
    assert int(found) == pytest.approx(int(heard), abs=8)
    assert notes == note


def test_the_loudest_is_the_one_that_varies_most_and_is_finite(tmp_path: Path, run: Run) -> None:
    noise = np.random.default_rng(1).standard_normal((RATE, 3)) * [0.01, 0.05, 0.01] + [0.5, 0.2, np.nan]
    sf.write(tmp_path / "a.wav", noise, RATE, subtype="FLOAT")
    run(tmp_path / "a.wav", channel="loudest")
    notes = "left out, because samples are not finite: channel 3 of 3; the loudest channel is 2 of 3"
    assert result() == ("200", notes)


def test_without_a_choice_the_file_is_handed_over_as_it_is(tmp_path: Path, run: Run) -> None:
    path = levels(tmp_path / "a.wav", 0.1, 0.2, subtype="PCM_16")
    run(path, source=HEARS.replace("label =", f"assert wav == {str(path)!r}; label ="))
    assert result() == ("100 200", "")


def test_channels_that_cancel_are_heard_one_by_one(birds_wav: Path, tmp_path: Path, run: Run) -> None:
    pytest.importorskip("ai_edge_litert", reason="the extra birdnet is not installed")
    birds, rate = sf.read(birds_wav, stop=9 * 32_000)
    sf.write(tmp_path / "a.wav", np.stack([birds, -birds], axis=1), rate)
    found = {}
    for channel in (None, "mean", "2", "loudest"):
        manifest = tmp_path / "m.csv"
        manifest.write_text("recording_id,chunk_id,source_path,start_ms,end_ms\nR,c0,a.wav,0,9000\n")
        out = Path(f"out-{channel}")
        settings = InferSettings(manifest=manifest, output_dir=out, use_birdnet=True, channel=channel)
        plan = plan_inference(settings)
        (attempt,) = infer_chunks(plan.todo, plan.order, lambda attempt: None)
        document = json.loads((out / "R" / "c0.json").read_bytes())
        found[channel] = [d["label"] for d in document["detections"]]
        assert ("--channel 1" in document["chunk"]["notes"]) == (channel in (None, "mean"))
        assert ("--channel 1" in attempt.details.get("note", "")) == (channel in (None, "mean"))
    birds_heard = ["Bay-breasted Warbler", "Tennessee Warbler", "Blackburnian Warbler"]
    assert found == {None: [], "mean": [], "2": birds_heard, "loudest": birds_heard}


def test_a_mean_that_is_nearly_silent_is_noted_for_every_runner(tmp_path: Path, run: Run) -> None:
    noise = 0.1 * np.random.default_rng(1).standard_normal(RATE)
    sf.write(tmp_path / "a.wav", np.stack([noise, -0.9 * noise], axis=1), RATE, subtype="PCM_16")
    run(tmp_path / "a.wav", channel="mean")
    assert result()[1] == (
        "the channels cancel each other, so their mean is nearly silent (--channel 1, or loudest, analyses one)"
    )


@pytest.mark.parametrize("channels", [1, 2, 4, 16])
def test_only_channels_that_cancel_are_said_to(channels: int) -> None:
    noise = 0.1 * np.random.default_rng(1).standard_normal((RATE, channels)).astype(np.float32)
    assert cancelling(noise) == ""  # of different sounds
    assert cancelling(noise * ([1] + [0] * (channels - 1))) == ""  # one beside dead ones
    assert cancelling(np.repeat(noise[:, :1], channels, axis=1)) == ""
    opposite = noise[:, :1] * np.resize([1, -1], channels)
    assert (cancelling(opposite + 0.2 * noise) != "") == (channels > 1)
    assert cancelling(1e-4 * opposite) == "", "silence"


def test_a_channel_that_is_not_there_is_refused_before_the_run(tmp_path: Path, run: Run) -> None:
    levels(tmp_path / "a.wav", 0.1, 0.2)
    with pytest.raises(RequestError, match=r"a\.wav: has no channel 3, but .*2 channels.* \(--channel\)"):
        run(tmp_path / "a.wav", channel="3")


def test_a_choice_that_changes_nothing_is_no_other_setting(tmp_path: Path, run: Run) -> None:
    """One channel is always the same one; of two, only what is analysed anyway is the same."""
    for channels, choices, same in (
        (1, ("1", "mean", "loudest", None), True),
        (2, (None,), True),
        (2, ("1", "mean", "loudest"), False),
    ):
        (tmp_path / "a.wav").unlink(missing_ok=True)
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        levels(tmp_path / "a.wav", *[0.1] * channels)
        run(tmp_path / "a.wav")
        made = fingerprint()
        for channel in choices:
            if same:
                (attempt,) = run(tmp_path / "a.wav", channel=channel)
                assert attempt.ok
                assert fingerprint() == made, "tables would say that settings are mixed"
            else:
                with pytest.raises(RequestError, match=f"channel all, asked for {channel}"):
                    run(tmp_path / "a.wav", channel=channel)


def test_one_channel_compares_with_every_choice_of_several() -> None:
    def said(*channels: str | None) -> bool:
        return mixed([({"runner": "birdnet", "channel": channel}, str(channel)) for channel in channels]) is not None

    assert not said(None)
    assert not said(None, "1")
    assert not said(None, "all")
    assert said("all", "1")
    assert said(None, "1", "2")
    assert mixed([({"runner": name, "channel": None}, name) for name in ("birdnet", "hawkears")]) is not None
    kept = [({"channel": "all", "choose_channel": chosen}, chosen) for chosen in ("on", "off")]
    assert mixed(kept) is not None, "HawkEars took one of two, or their mean"


def test_the_mean_is_what_birdnet_takes_anyway(tmp_path: Path, csv_file: Callable[..., Path]) -> None:
    pytest.importorskip("ai_edge_litert", reason="the extra birdnet is not installed")
    levels(tmp_path / "a.wav", 0.1, 0.2)
    settings = InferSettings(manifest=csv_file([("R", "c0", "a.wav", 0, 1000)]), use_birdnet=True)
    made = [
        plan_inference(settings.model_copy(update={"channel": channel})).order.made_with for channel in (None, "mean")
    ]
    assert made[0] == made[1]
    assert plan_inference(settings.model_copy(update={"channel": "loudest"})).order.made_with["channel"] == "loudest"


@pytest.mark.parametrize("wrong", ["0", "-1", "left", "1.5", ""])
def test_a_choice_that_makes_no_sense_is_refused(wrong: str) -> None:
    with pytest.raises(RequestError, match=r"--channel: .*neither the number of a channel"):
        settings_from(InferSettings, {"manifest": "m.csv", "channel": wrong})


def test_salvage_runs_what_lies_in_the_readable_part(tmp_path: Path, csv_file: Callable[..., Path]) -> None:
    levels(tmp_path / "a.wav", 0.1, seconds=4, subtype="PCM_16")
    data = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(data[: len(data) * 5 // 8])
    manifest = csv_file([("R", f"c{n}", "a.wav", n * 1000, n * 1000 + 1000) for n in range(4)])
    with pytest.raises(RequestError, match=r"4 of 4 chunks .*\n.*2\.499 s of 4 s can be read\. Give --salvage"):
        plan_inference(InferSettings(manifest=manifest))
    with pytest.raises(RequestError, match=r"2 of 4 chunks .*give --keep-going"):
        plan_inference(InferSettings(manifest=manifest, salvage=True))
    plan = plan_inference(InferSettings(manifest=manifest, salvage=True, keep_going=True))
    assert [planned.key for planned in plan.todo] == ["c0", "c1"]
    assert {planned.chunk.notes for planned in plan.todo} == {"salvaged: 2.499 s of 4 s can be read"}


def test_what_was_cut_with_salvage_runs_without_the_option(tmp_path: Path) -> None:
    levels(tmp_path / "a.wav", 0.1, seconds=4, subtype="PCM_16")
    data = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(data[: len(data) * 5 // 8])
    write_virtual_manifest(plan_chunks(tmp_path / "a.wav", 1.0, salvage=True), tmp_path / "m.csv", hash_chunks=False)
    plan = plan_inference(InferSettings(manifest=tmp_path / "m.csv"))
    assert [planned.chunk.end_ms for planned in plan.todo] == [1000, 2000]
    assert {planned.chunk.notes for planned in plan.todo} == {"salvaged: 2.499 s of 4 s can be read"}
