"""Resident commands: what they are asked, what they may answer, and what becomes of those that go wrong."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import soundfile as sf

from badc.chunks.manifest import Chunk
from badc.detections.result import result_document
from badc.errors import RequestError, RunnerError
from badc.inference.plan import plan_inference
from badc.inference.settings import InferSettings
from badc.inference.worker import infer_chunks
from badc.recordings.audio import AudioWindow
from badc.recordings.channels import with_channels
from badc.runners.current import close_runner
from badc.runners.interface import RunnerOutput
from badc.runners.resident_command import ResidentRunner, ResidentSpec
from tests.badc.runners.conftest import window

# A program as a third party would write it, with nothing but the protocol. Its label has what it was asked.
RAW = """
import json, os, sys, time

greeting = {"ok": True, "protocol": 1, "name": "Raw", "model_version": "1", "pid": os.getpid()}
greeting |= json.loads(os.environ.get("GREETING", "{}"))
answer = {"detections": [], "pid": os.getpid()} | json.loads(os.environ.get("ANSWER", "{}"))
print(json.dumps(greeting), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    recording = request["recording_id"]
    if recording == "crash":
        print("Segmentation fault", os.environ.get("TOKEN"), file=sys.stderr, flush=True)
        os.kill(os.getpid(), 11)
    if recording == "hang":
        time.sleep(600)
    if recording == "garbage":
        print("epoch 1 of", os.environ.get("TOKEN"), flush=True)
    if recording == "memory":
        answer = {"ok": False, "error": "CUDA out of memory " + os.environ.get("TOKEN", "")}
    wav = os.path.getsize(request["wav"]) if "wav" in request else None
    print(json.dumps({"id": request["id"], "ok": True, "request": request, "wav_bytes": wav} | answer), flush=True)
"""


@pytest.fixture
def opened(resident: Callable[..., ResidentRunner]) -> Callable[..., ResidentRunner]:
    """Return a function that makes the runner of that program."""
    return partial(resident, RAW)


def asked(output: RunnerOutput) -> dict[str, Any]:
    return dict(output.result.extra["request"])


def test_a_request_says_which_frames_of_which_file(
    opened: Callable[..., ResidentRunner], chunk: Callable[..., Chunk], make_audio: Callable[..., Path]
) -> None:
    audio = make_audio("REC.flac")
    request = asked(opened().detect(chunk("REC", 1000, 2000), window(audio, 1000, 2000)))
    assert request == {
        "id": 1,
        "audio": str(audio),
        "first_frame": 8000,
        "frames": 8000,
        "rate": 8000,
        "channel": None,
        "chunk_id": "REC_chunk_1000_2000",
        "recording_id": "REC",
        "start_ms": 1000,
        "end_ms": 2000,
        "embeddings": False,
    }


def test_one_channel_is_named_and_a_mean_or_a_wrong_header_comes_as_a_wav(
    opened: Callable[..., ResidentRunner],
    chunk: Callable[..., Chunk],
    make_audio: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    audio = make_audio(channels=3)
    runner = opened()

    def request(one: AudioWindow) -> dict[str, Any]:
        return asked(runner.detect(chunk("REC", 1000, 2000), one))

    second, _ = with_channels(window(audio, 1000, 2000), "2")
    assert (request(second)["channel"], request(second)["audio"]) == (1, str(audio))
    mean, _ = with_channels(window(audio, 1000, 2000), "mean")
    understated = audio.with_name("LESS.wav")
    content = bytearray(audio.read_bytes())
    content[40:44] = (4800).to_bytes(4, "little")  # of 144,000 bytes of samples
    understated.write_bytes(content)
    for one in (mean, replace(mean, channels=(0, 2), mean=False), window(understated, 1000, 2000)):
        told = request(one)
        assert Path(told["audio"]).name == "REC_chunk_1000_2000.wav"
        assert (told["first_frame"], told["frames"], told["channel"]) == (0, 8000, None)


def test_the_wav_that_a_program_asks_for_has_the_samples(
    resident: Callable[..., ResidentRunner], chunk: Callable[..., Chunk], make_audio: Callable[..., Path]
) -> None:
    audio = make_audio(channels=2)
    source = """
    import json, sys, wave
    print(json.dumps({"ok": True, "protocol": 1, "name": "Raw", "wav": True}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        with wave.open(request["wav"]) as wav:
            told = {"frames": wav.readframes(wav.getnframes()).hex(), "shape": wav.getparams()[:4]}
        print(json.dumps({"id": request["id"], "ok": True, "detections": [], **told}), flush=True)
    """
    one, _ = with_channels(window(audio, 1000, 2000), "2")
    result = resident(source).detect(chunk("REC", 1000, 2000), one).result
    expected = sf.read(audio, dtype="int16", start=8000, stop=16_000)[0][:, 1]
    assert result.extra["frames"] == expected.tobytes().hex()
    assert result.extra["shape"] == [1, 2, 8000, 8000]
    assert result.model_version == "Raw"


def test_detections_and_further_keys_are_kept_with_the_name_and_the_version(
    opened: Callable[..., ResidentRunner], chunk: Callable[..., Chunk], make_audio: Callable[..., Path]
) -> None:
    found = '{"label": "MYLU", "confidence": 1, "timestamp_ms": 0, "call": "FM"}'
    answer = f'{{"detections": [{found}], "settings": 1, "model_version": "Raw 1.1"}}'
    runner = opened(ANSWER=answer)
    audio = window(make_audio(), 0, 1000)
    document = result_document(runner.detect(chunk(), audio).result)
    assert (document["runner"], document["status"], document["model_version"]) == ("resident", "ok", "Raw 1.1")
    assert document["detections"][0]["call"] == "FM"
    assert (document["command_settings"], "ok" in document, "id" in document) == (1, False, False)
    assert opened().detect(chunk(), audio).result.model_version == "Raw 1"


def test_embeddings_are_asked_for_and_taken_where_they_are_wanted(
    opened: Callable[..., ResidentRunner], chunk: Callable[..., Chunk], make_audio: Callable[..., Path]
) -> None:
    audio = window(make_audio(), 0, 1000)
    answer = '{"embeddings": {"start_ms": [0, 500], "values": [[1, 2, 3], [4, 5, 6]]}}'
    output = opened(embeds=True, ANSWER=answer).detect(chunk(), audio)
    assert asked(output)["embeddings"] is True
    assert output.embeddings is not None
    assert output.embeddings.start_ms == (0, 500)
    assert output.embeddings.values.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert "embeddings" not in output.result.extra
    assert opened(ANSWER=answer).detect(chunk(), audio).embeddings is None


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ('{"detections": [{"confidence": 2}]}', "invalid answer: detections[0] has no label"),
        ('{"detections": null}', "invalid answer: 'detections' is null, not a list"),
        ('{"ok": false, "error": "no such model"}', "the resident command: no such model"),
    ],
)
def test_a_wrong_answer_fails_the_attempt_and_the_program_stays(
    opened: Callable[..., ResidentRunner],
    chunk: Callable[..., Chunk],
    make_audio: Callable[..., Path],
    answer: str,
    said: str,
) -> None:
    runner = opened(ANSWER=answer)
    audio = window(make_audio(), 0, 1000)
    pid = runner._host.start()["pid"]
    for _ in range(2):
        with pytest.raises(RunnerError) as caught:
            runner.detect(chunk(), audio)
        assert said in str(caught.value)
    assert runner._host.start()["pid"] == pid


@pytest.mark.parametrize(
    ("recording", "said"),
    [
        ("crash", "the host process was killed by signal 11: Segmentation fault <TOKEN>"),
        ("hang", "stopped after --chunk-timeout 0.5 s"),
        ("garbage", "stdout is for answers, and it wrote 'epoch 1 of <TOKEN>\\n'; print to stderr"),
        ("memory", "CUDA out of memory <TOKEN>"),
    ],
)
def test_what_goes_wrong_fails_the_attempt_and_the_next_chunk_is_answered(
    opened: Callable[..., ResidentRunner],
    chunk: Callable[..., Chunk],
    make_audio: Callable[..., Path],
    recording: str,
    said: str,
) -> None:
    runner = opened(secrets=(("TOKEN", "s3cret-value"),), timeout_s=0.5)
    audio = window(make_audio(), 0, 1000)
    before = runner.detect(chunk(), audio).result.extra["pid"]
    with pytest.raises(RunnerError) as caught:
        runner.detect(chunk(recording), audio)
    assert said in str(caught.value)
    assert "s3cret" not in str(caught.value) + caught.value.stderr
    if recording == "memory":
        return  # the worker closes a runner whose GPU is full
    assert runner.detect(chunk(), audio).result.extra["pid"] != before


@pytest.mark.parametrize(
    ("greeting", "said"),
    [
        ('{"protocol": 2}', "it speaks protocol 2, and this BADC 1 at most: a newer BADC is needed"),
        ('{"protocol": null}', "the greeting does not say the protocol, which is 1"),
        ('{"ok": false, "error": "no model.pt"}', "the model cannot be loaded: no model.pt"),
        ('{"name": 5}', "the greeting's name: input should be a valid string"),
        ('{"at_once": 0}', "the greeting's at_once: input should be greater than or equal to 1"),
        ('{"wav": "yes"}', "the greeting's wav: input should be a valid boolean"),
    ],
)
def test_a_greeting_that_is_wrong_or_of_a_later_protocol_is_refused_in_words(
    opened: Callable[..., ResidentRunner],
    chunk: Callable[..., Chunk],
    make_audio: Callable[..., Path],
    greeting: str,
    said: str,
) -> None:
    runner = opened(GREETING=greeting)
    with pytest.raises(RunnerError) as caught:
        runner.detect(chunk(), window(make_audio(), 0, 1000))
    assert said in str(caught.value)


def test_a_program_that_takes_fewer_at_once_says_so(
    opened: Callable[..., ResidentRunner], chunk: Callable[..., Chunk], make_audio: Callable[..., Path]
) -> None:
    audio = window(make_audio(), 0, 1000)
    output = opened(at_once=3, GREETING='{"at_once": 2}').detect(chunk(), audio)
    assert (output.fits_at_once, output.why_fewer) == (2, "Raw takes 2")
    assert opened(at_once=3, GREETING='{"at_once": 3}').detect(chunk(), audio).fits_at_once is None


def test_a_run_knows_the_program_its_version_and_what_another_would_replace(
    script: Callable[..., list[str]], make_audio: Callable[..., Path], make_manifest: Any, tmp_path: Path
) -> None:
    command = shlex.join(script(RAW))

    def plan(**settings: Any) -> Any:
        settings = {"runner_resident": command} | settings
        manifest = make_manifest(make_audio())
        return plan_inference(InferSettings(manifest=manifest, output_dir=tmp_path / "out", **settings))

    first = plan()
    try:
        attempts = infer_chunks(first.todo, first.order, lambda attempt: None)
    finally:
        close_runner()
    assert [attempt.ok for attempt in attempts] == [True] * 3, [attempt.details for attempt in attempts]

    documents = [json.loads(path.read_text()) for path in sorted((tmp_path / "out").rglob("*.json"))]
    settings = documents[0]["settings"]
    assert (settings["runner"], settings["runner_resident"], settings["model_version"]) == (
        "resident",
        command,
        "Raw 1",
    )
    assert {document["pid"] for document in documents} == {documents[0]["pid"]}, "one process for all chunks"
    with pytest.raises(RequestError, match="3 results there are of other settings"):
        plan(runner_resident=f"{command} --fast")


def test_a_command_that_has_no_words_is_refused_before_the_start() -> None:
    for command, said in (("python 'x", "cannot be split into words"), (" ", "--runner-resident is empty")):
        with pytest.raises(RequestError, match=said):
            InferSettings(manifest=Path("m.csv"), runner_resident=command).runner_spec()


def test_variables_are_for_both_kinds_of_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "s3cret-value")
    manifest = Path("m.csv")
    for choice in ({"runner_cmd": "a"}, {"runner_resident": "a"}):
        spec = InferSettings(manifest=manifest, runner_env=("TOKEN",), **choice).runner_spec()
        assert spec.secrets == (("TOKEN", "s3cret-value"),)
        assert "s3cret" not in f"{spec!r} {spec.made_with()}"
    with pytest.raises(ValueError, match="--runner-env is for --runner-cmd or --runner-resident, which is not given"):
        InferSettings(manifest=manifest, runner_env=("TOKEN",))
    with pytest.raises(ValueError, match="--runner-cmd and --runner-resident exclude each other"):
        InferSettings(manifest=manifest, runner_cmd="a", runner_resident="a")


def test_its_files_are_named_from_anywhere(tmp_path: Path) -> None:
    (tmp_path / "bats.py").touch()
    given = ResidentSpec.from_anywhere("runner_resident", "python bats.py --model=./bats.py")
    assert given == f"python {tmp_path / 'bats.py'} --model={tmp_path / 'bats.py'}"
    with pytest.raises(RequestError, match=r"--runner-resident: \./gone\.py is not in"):
        ResidentSpec.from_anywhere("runner_resident", "python ./gone.py")
