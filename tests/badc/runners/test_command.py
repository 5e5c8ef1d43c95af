"""The runner of custom commands: how they are called, what is kept of their output, and how they are stopped."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from badc.chunks.manifest import Chunk
from badc.detections.result import ResultStatus, result_document
from badc.errors import RunnerError
from badc.recordings.audio import probe, wav_bytes, window_of
from badc.runners.command import CommandSpec
from badc.runners.interface import RunnerOutput, WorkerPlace
from badc.runners.process.once import run_process

Detect = Callable[..., RunnerOutput]


@pytest.fixture
def detect(
    tmp_path: Path, make_audio: Callable[..., Path], chunk: Callable[..., Chunk], script: Callable[..., list[str]]
) -> Detect:
    """Return a function that runs a Python program on the second second of a recording."""
    (tmp_path / "scratch").mkdir()

    def run(
        source: str, timeout_s: float | None = None, audio: Path | None = None, window: tuple[int, int] = (1000, 2000)
    ) -> RunnerOutput:
        audio = audio or make_audio()
        command = shlex.join(script(source))
        spec = CommandSpec(runner_cmd=command, chunk_timeout_s=timeout_s)
        runner = spec.open(WorkerPlace(tmp_path / "scratch", {"CUDA_VISIBLE_DEVICES": "3"}))
        try:
            return runner.detect(chunk("REC", *window), window_of(audio, probe(audio), *window))
        finally:
            assert list((tmp_path / "scratch").iterdir()) == [], "temporary files are left"

    return run


def writing(text: str | bytes) -> str:
    """Return a program that writes this as its output file."""
    data = text.encode() if isinstance(text, str) else text
    return f"import sys; open(sys.argv[sys.argv.index('--output') + 1], 'wb').write({data!r})"


def refusal(detect: Detect, *given: Any, **more: Any) -> RunnerError:
    with pytest.raises(RunnerError) as caught:
        detect(*given, **more)
    return caught.value


def is_gone(pid: int) -> bool:
    """Whether a process has ended, or waits only to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while not is_gone(pid):
        assert time.monotonic() < deadline, f"process {pid} is still alive"
        time.sleep(0.01)


def test_a_command_gets_the_chunk_the_place_of_its_output_and_its_gpu(detect: Detect) -> None:
    output = detect("import os, sys; print(*sys.argv[1:], os.environ['CUDA_VISIBLE_DEVICES'])")
    flag_in, wav, flag_out, result, gpu = output.stdout.split()
    assert (flag_in, flag_out, gpu) == ("--input", "--output", "3")
    assert (Path(wav).name, Path(result).name) == ("REC_chunk_1000_2000.wav", "REC_chunk_1000_2000.json")


def test_the_wav_of_a_virtual_chunk_is_its_window(detect: Detect, make_audio: Callable[..., Path]) -> None:
    audio = make_audio()
    output = detect(
        "import hashlib, sys; print(hashlib.sha256(open(sys.argv[2], 'rb').read()).hexdigest())", audio=audio
    )
    expected = hashlib.sha256(wav_bytes(window_of(audio, probe(audio), 1000, 2000))).hexdigest()
    assert output.stdout.strip() == expected


def test_a_chunk_with_a_wav_of_its_own_is_handed_over_as_it_is(detect: Detect, make_audio: Callable[..., Path]) -> None:
    audio = make_audio("own.wav", seconds=1)
    assert detect("import sys; print(sys.argv[2])", audio=audio).stdout.strip() == str(audio)


def test_a_whole_flac_is_handed_over_as_wav(detect: Detect, make_audio: Callable[..., Path]) -> None:
    audio = make_audio("own.flac", seconds=1)
    assert detect("import sys; print(open(sys.argv[2], 'rb').read(4))", audio=audio).stdout == "b'RIFF'\n"


def test_detections_are_kept_as_written_and_missing_keys_filled_in(detect: Detect) -> None:
    written = {
        "chunk_id": "not yours to say",
        "detections": [{"label": "OVEN", "confidence": 1, "timestamp_ms": 250.0, "end_ms": 3250, "colour": "olive"}],
        "model_version": "my 2.0",
        "meta": {"seed": 1},
    }
    document = result_document(detect(writing(json.dumps(written))).result)
    assert document["chunk_id"] == "REC_chunk_1000_2000"
    assert (document["status"], document["runner"]) == ("ok", "custom")
    assert (document["model_version"], document["meta"]) == ("my 2.0", {"seed": 1})
    assert document["detections"] == [
        {
            "timestamp_ms": 250,
            "end_ms": 3250,
            "label": "OVEN",
            "label_code": None,
            "label_name": None,
            "confidence": 1.0,
            "colour": "olive",
        }
    ]


def test_an_empty_list_means_no_detections(detect: Detect) -> None:
    assert detect(writing('{"detections": []}')).result.status is ResultStatus.NO_DETECTIONS


def test_a_command_that_writes_nothing_is_no_output(detect: Detect) -> None:
    result = detect("").result
    assert (result.status, result.detections) == (ResultStatus.NO_OUTPUT, ())


def test_a_status_of_the_format_is_kept_and_any_other_replaced(detect: Detect) -> None:
    assert detect(writing('{"detections": [], "status": "ok"}')).result.status is ResultStatus.OK
    assert detect(writing('{"detections": [], "status": "done"}')).result.status is ResultStatus.NO_DETECTIONS


@pytest.mark.parametrize("status", ["[]", "{}", "7"])
def test_a_status_of_the_wrong_type_is_replaced_too(detect: Detect, status: str) -> None:
    written = f'{{"detections": [], "status": {status}}}'
    assert detect(writing(written)).result.status is ResultStatus.NO_DETECTIONS


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ('{"detections": [', "not JSON"),
        (b'{"detections": [{"label": "caf\xe9"}]}', "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "no 'detections' list"),
        ('{"detections": null}', "null, not a list"),
        ('{"detections": [1]}', "detections[0] is a number"),
        ('{"detections": [{"label": "a"}, {}]}', "detections[1] has no label"),
        ('{"detections": [{"label": "a", "confidence": "high"}]}', "detections[0].confidence is text"),
        ('{"detections": [{"label": "a", "confidence": 1.5}]}', "confidence 1.5 is not in 0..1"),
        ('{"detections": [{"label": "a", "timestamp_ms": -1}]}', "timestamp_ms -1 is not a time"),
        ('{"detections": [{"label": "a", "end_ms": 1e300}]}', "end_ms"),
        ('{"detections": [{"label": 5}]}', "detections[0].label is a number"),
    ],
)
def test_an_invalid_output_fails_the_attempt(detect: Detect, text: str | bytes, reason: str) -> None:
    error = refusal(detect, writing(text))
    assert "invalid output" in str(error)
    assert reason in str(error)
    assert error.returncode == 0


def test_a_failed_command_keeps_its_output_even_where_it_is_not_utf_8(detect: Detect) -> None:
    error = refusal(detect, r"import os, sys; os.write(1, b'out'); os.write(2, b'caf\xe9'); sys.exit(4)")
    assert (str(error), error.returncode) == ("the command ended with exit code 4: caf\ufffd", 4)
    assert (error.stdout, error.stderr) == ("out", "caf\ufffd")


def test_a_failed_command_counts_as_failed_even_with_an_output(detect: Detect) -> None:
    assert refusal(detect, writing('{"detections": []}') + "; sys.exit(1)").returncode == 1


def test_a_command_that_is_killed_names_the_signal(detect: Detect) -> None:
    assert "killed by signal 11" in str(refusal(detect, "import os; os.kill(os.getpid(), 11)"))


def test_a_command_gets_no_input_to_wait_for(detect: Detect) -> None:
    assert detect("import sys; print(repr(sys.stdin.read()))", timeout_s=30).stdout == "''\n"


HANGS = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
print("hanging", flush=True)
open(PIDS, "w").write(f"{os.getpid()} {child.pid}")
"""


def test_a_command_that_hangs_is_killed_with_its_children(detect: Detect, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    error = refusal(detect, f"PIDS = {str(pids)!r}" + HANGS + "time.sleep(600)", timeout_s=3)
    assert "--chunk-timeout 3 s" in str(error)
    assert error.stdout == "hanging\n"
    for pid in map(int, pids.read_text().split()):
        wait_until_gone(pid)


def test_what_a_command_leaves_running_goes_with_it(detect: Detect, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    assert detect(f"PIDS = {str(pids)!r}" + HANGS).returncode == 0
    for pid in map(int, pids.read_text().split()):
        wait_until_gone(pid)


def test_no_shell_runs_the_command(
    tmp_path: Path, make_audio: Callable[..., Path], chunk: Callable[..., Chunk]
) -> None:
    audio = make_audio(seconds=1)
    runner = CommandSpec(runner_cmd="echo $(touch pwned) ; touch pwned").open(WorkerPlace(tmp_path))
    output = runner.detect(chunk(), window_of(audio, probe(audio), 0, 1000))
    assert output.stdout.startswith("$(touch pwned) ; touch pwned --input")
    assert not (tmp_path / "pwned").exists()


def test_a_full_disk_fails_the_attempt_and_leaves_nothing(
    tmp_path: Path, make_audio: Callable[..., Path], chunk: Callable[..., Chunk], monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = make_audio()

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, os.strerror(28), str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    runner = CommandSpec(runner_cmd="true").open(WorkerPlace(tmp_path))
    with pytest.raises(OSError, match="No space left"):
        runner.detect(chunk(), window_of(audio, probe(audio), 0, 1000))
    assert [path.name for path in tmp_path.iterdir()] == ["REC.wav"]


@pytest.mark.parametrize(
    ("printed", "kept"),
    [
        ("user lab1 password lab1-Winter2024", "user <USER> password <PASSWORD>"),
        # What is kept begins in the middle of the first.
        ("> {token}\n" * 6, "<TOKEN>\n" + "> <TOKEN>\n" * 3),
        ("x" * 5000 + "lab1", "x" * 3000 + "<USER>"),
    ],
)
def test_of_no_secret_a_part_is_kept(script: Callable[..., list[str]], printed: str, kept: str) -> None:
    token = "".join(f"{n:03}" for n in range(350))
    secrets = {"USER": "lab1", "PASSWORD": "lab1-Winter2024", "TOKEN": token, "SHORT": "x"}
    source = f"import os; print({printed!r}.replace('{{token}}', os.environ['TOKEN']), end='')"
    finished = run_process(
        script(source), what="the command", timeout_s=60, environment={}, secrets=list(secrets.items())
    )
    assert finished.stdout.endswith(kept), finished.stdout
    digits = [part for part in re.findall(r"[0-9]{3,}", finished.stdout) if part != "2024"]
    assert digits == []


def test_a_command_gets_no_credentials_for_the_server_unless_they_are_named(
    script: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "PREFECT_API_DATABASE_CONNECTION_URL"
    for name in ("PREFECT_API_KEY", "PREFECT_API_AUTH_STRING", "PREFECT_SERVER_DATABASE_PASSWORD", url, "OTHER_KEY"):
        monkeypatch.setenv(name, "s3cret-value")
    words = script("import os; print(*(name for name, value in os.environ.items() if value == 's3cret-value'))")
    plain = run_process(words, what="the command", timeout_s=60, environment={})
    assert plain.stdout == "OTHER_KEY\n"
    named = run_process(words, what="it", timeout_s=60, environment={}, secrets=[("PREFECT_API_KEY", "s3cret-value")])
    assert named.stdout.split() == ["OTHER_KEY", "PREFECT_API_KEY"]
