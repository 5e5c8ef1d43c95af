"""`badc chunk probe` as users meet it: exit codes, what goes to which stream, and the real BirdNET."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COLUMNS = ["window s", "outcome", "seconds", "peak GPU MiB", "peak host MiB", "reason"]


def start(*words: object, cwd: Path, **environment: str) -> subprocess.Popen[str]:
    inherited = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    return subprocess.Popen(
        [sys.executable, "-m", "flows", "chunk", *map(str, words)],
        cwd=cwd,
        env=inherited | {"CUDA_VISIBLE_DEVICES": ""} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def badc_chunk(*words: object, cwd: Path, **environment: str) -> tuple[int, list[list[str]], str]:
    """Return exit code, the fields of standard output's lines, and standard error."""
    process = start(*words, cwd=cwd, **environment)
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in err
    return process.returncode, [line.split("\t") for line in out.splitlines()], err


def test_the_limit_is_found_and_the_recommendation_works_as_it_is(make_recording, fake, tmp_path):
    audio = make_recording("two words.wav", seconds=200)
    code, lines, err = badc_chunk("probe", audio, "--runner-cmd", fake("limited", "--limit-s", 97), cwd=tmp_path)

    assert code == 0, err
    attempts = lines[1 : lines.index(next(line for line in lines if line[0] == "longest"))]
    assert lines[0] == COLUMNS
    assert [line[:2] for line in attempts[:3]] == [["60", "ok"], ["120", "out_of_memory"], ["90", "ok"]]
    rest = {line[0]: line[-1] for line in lines[len(attempts) + 1 :]}
    assert rest["longest"] == "94 s on the CPU: 98 s is out_of_memory"
    assert rest["recommended"] == "75 s (safety margin 0.8)"
    assert Path(rest["log"]).is_file()
    assert Path(rest["log"]).parent == tmp_path / "data" / "telemetry" / "probe"

    (command,) = [line[0] for line in lines if line[0].startswith("badc ")]
    words = shlex.split(command)
    assert words == ["badc", "chunk", "manifest", str(audio), "--chunk-duration", "75"]
    code, lines, _ = badc_chunk(*words[2:], cwd=tmp_path)
    assert (code, lines[0]) == (0, ["two words: 3 chunks in 200 s of audio"])


def test_each_attempt_is_told_on_standard_error(make_recording, fake, tmp_path):
    command = fake("limited", "--limit-s", 70)
    _, lines, err = badc_chunk("probe", make_recording(seconds=200), "--runner-cmd", command, cwd=tmp_path)

    told = err.splitlines()
    attempts = [line for line in lines[1:] if len(line) == len(COLUMNS)]
    assert len(told) == len(attempts) > 2
    for line, row in zip(told, attempts, strict=True):
        assert line.startswith(f"{row[0]} s: {row[1]} after ")
    assert "\x1b" not in err
    assert told[1].endswith("CUDA out of memory. Tried to allocate 2.00 GiB.)")


def test_nothing_works_is_exit_code_1_with_the_reason(make_recording, fake, tmp_path):
    command = fake("limited", "--limit-s", 1, "--then", "kill")
    code, lines, err = badc_chunk("probe", make_recording(seconds=20), "--runner-cmd", command, cwd=tmp_path)

    assert code == 1
    assert "badc: the runner does not work on 3 s either: the command was killed by signal 9" in err
    assert [line[:2] for line in lines[1:3]] == [["20", "failed"], ["3", "failed"]]
    assert [line[0] for line in lines[3:]] == ["log"], "and no recommendation"


def test_a_command_that_is_not_there_is_exit_code_1(make_recording, tmp_path):
    code, _, err = badc_chunk("probe", make_recording(), "--runner-cmd", "no-such-program", cwd=tmp_path)
    assert code == 1
    assert "the command 'no-such-program' cannot be started" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tolerance", "0"], "--tolerance: "),
        (["--initial-duration", "1"], "--initial-duration: "),
        (["--min-confidence", "0.5"], "--min-confidence is for --use-birdnet"),
        (["--gpu-index", "0"], "--gpu-index 0: "),
        (["--log", "."], "--log is a folder"),
    ],
)
def test_a_wrong_request_is_exit_code_2(options, message, make_recording, tmp_path):
    code, lines, err = badc_chunk("probe", make_recording(), "--runner-cmd", "true", *options[:2], cwd=tmp_path)
    assert (code, lines) == (2, [])
    assert message in err
    assert {path.name for path in tmp_path.iterdir()} == {"audio"}, "nothing is written"


def test_without_a_runner_the_stub_is_named(make_recording, tmp_path):
    code, lines, err = badc_chunk("probe", make_recording(seconds=30), cwd=tmp_path)
    assert code == 0
    assert err.startswith("WARNING: The stub runner detects NOTHING")
    assert ["longest", "30 s on the CPU: the whole recording; the limit, if there is one, is beyond it"] in lines


def test_the_gpu_is_named_and_its_memory_shown(make_recording, fake, gpu_driver, tmp_path):
    code, lines, err = badc_chunk(
        "probe",
        make_recording(seconds=30),
        "--runner-cmd",
        fake("limited"),
        "--gpu-index",
        1,
        cwd=tmp_path,
        **(gpu_driver | {"CUDA_VISIBLE_DEVICES": "0,1", "FAKE_NVML_USED_MIB": "777", "FAKE_NVML_NAME": "A100"}),
    )
    assert code == 0, err
    assert lines[1][3] == "777"
    assert "GPU 777 MiB" in err
    assert lines[2][1].startswith("30 s on GPU 1 (A100): ")


def test_ctrl_c_ends_the_runner_and_keeps_the_log(make_recording, fake, tmp_path):
    command = fake("limited", "--limit-s", 1, "--then", "hang", "--record", "calls")
    process = start("probe", make_recording(), "--runner-cmd", command, "--log", "p.jsonl", cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not (tmp_path / "calls").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)

    assert process.returncode == 130
    assert err.splitlines()[-1] == "badc: interrupted"
    assert '"status":"start"' in (tmp_path / "p.jsonl").read_text()
    assert str(tmp_path) not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout


@pytest.mark.slow
@pytest.mark.birdnet
def test_birdnet_takes_the_whole_recording(birds_wav, tmp_path):
    code, lines, err = badc_chunk("probe", birds_wav, "--use-birdnet", "--initial-duration", 4, cwd=tmp_path)

    assert code == 0, err
    attempts = [line for line in lines[1:] if len(line) == len(COLUMNS)]
    assert [line[:2] for line in attempts] == [["4", "ok"], ["8", "ok"], ["10.133", "ok"]]
    assert int(attempts[-1][4]) > 150, "the host's memory counts"
    assert ["recommended", "6 s (safety margin 0.8)"] in lines


@pytest.mark.slow
@pytest.mark.birdnet
def test_birdnet_is_stopped_when_it_is_too_slow(make_recording, tmp_path):
    audio = make_recording(seconds=1200)
    options = ("--use-birdnet", "--initial-duration", 3, "--max-seconds", 1, "--tolerance", 600)
    code, lines, err = badc_chunk("probe", audio, *options, cwd=tmp_path)

    assert code == 0, err
    attempts = [line for line in lines[1:] if len(line) == len(COLUMNS)]
    assert attempts[0][:2] == ["3", "ok"], "the time to load the model does not count"
    assert all(float(line[2]) < 1.2 for line in attempts if line[1] == "ok")
    assert attempts[-1][1] == "too_slow"
    assert attempts[-1][5] == "took longer than --max-seconds 1 s"
