"""The helper that makes a resident command of a function, in programs that have it as a file alone."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from badc.chunks.manifest import Chunk
from badc.errors import RunnerError
from badc.recordings.audio import read_samples
from badc.runners.process import serve
from badc.runners.resident_command import ResidentRunner
from tests.badc.runners.conftest import window

# Ten lines, as the documentation has them.
FUNCTION = """
import os, sys
sys.path.insert(0, os.environ["HELPER"])
from serve import run

def detect(samples, rate):
    print("thinking")
    os.system("read line && echo $line")  # a child must not get the requests
    loudest = max(range(len(samples)), key=lambda n: abs(samples[n]))
    if abs(samples[loudest]) > 2:
        sys.exit("too loud")
    return [{"label": os.environ["CUDA_VISIBLE_DEVICES"], "confidence": samples[loudest], "frames": len(samples),
             "timestamp_ms": loudest * 1000 / rate}]

run(detect, "Loudest", "2.0", **eval(os.environ.get("MORE", "{}")))
"""


def place_of_helper() -> str:
    return str(Path(serve.__file__).parent)


@pytest.fixture
def click(tmp_path: Path) -> Path:
    """A recording at 96 kHz with one loud sample at 1.5 s."""
    samples = np.zeros((192_000, 2))
    samples[144_000] = 0.5
    path = tmp_path / "CLICK.wav"
    sf.write(path, samples, 96_000, subtype="PCM_24")
    return path


def test_a_function_is_a_runner_in_ten_lines(
    resident: Callable[..., ResidentRunner], chunk: Callable[..., Chunk], click: Path
) -> None:
    runner = resident(FUNCTION, HELPER=place_of_helper(), CUDA_VISIBLE_DEVICES="3")
    output = runner.detect(chunk("CLICK", 1000, 2000), window(click, 1000, 2000))
    (found,) = output.result.detections
    assert (found.label, found.confidence, found.timestamp_ms, found.extra["frames"]) == ("3", 0.5, 500, 96_000)
    assert output.result.model_version == "Loudest 2.0"
    assert runner.detect(chunk("CLICK", 1000, 2000), window(click, 1000, 2000)).result.detections == (found,)


def test_a_function_gets_the_rate_that_it_wants(
    resident: Callable[..., ResidentRunner], chunk: Callable[..., Chunk], click: Path
) -> None:
    runner = resident(FUNCTION, HELPER=place_of_helper(), CUDA_VISIBLE_DEVICES="-", MORE="{'rate': 24000}")
    (found,) = runner.detect(chunk("CLICK", 1000, 2000), window(click, 1000, 2000)).result.detections
    assert (found.extra["frames"], found.timestamp_ms) == (24_000, 500)


def test_what_is_printed_before_the_helper_runs_is_garbage_and_said_to_be(
    resident: Callable[..., ResidentRunner], chunk: Callable[..., Chunk], click: Path
) -> None:
    runner = resident('print("loading", flush=True)\n' + FUNCTION, HELPER=place_of_helper())
    with pytest.raises(RunnerError, match=r"stdout is for answers, and it wrote 'loading\\n'; print to stderr"):
        runner.detect(chunk("CLICK", 0, 1000), window(click, 0, 1000))


@pytest.mark.parametrize("returned", ["float('nan')", "object()", "exit(3)"])
def test_what_json_has_not_and_an_exit_fail_the_attempt_and_do_not_hang(
    resident: Callable[..., ResidentRunner], chunk: Callable[..., Chunk], click: Path, returned: str
) -> None:
    source = f"""
    import os, sys
    sys.path.insert(0, os.environ["HELPER"])
    from serve import run
    def detect(samples, rate):
        return [{{"label": "a", "confidence": {returned}}}]
    run(detect, "Wrong", "1")
    """
    with pytest.raises(RunnerError, match=r"ValueError: Out of range|TypeError: an answer has a object|SystemExit: 3"):
        resident(source, HELPER=place_of_helper()).detect(chunk("CLICK", 0, 1000), window(click, 0, 1000))


def test_numbers_and_arrays_of_numpy_are_answers(
    resident: Callable[..., ResidentRunner], chunk: Callable[..., Chunk], click: Path
) -> None:
    source = """
    import os, sys
    import numpy as np
    sys.path.insert(0, os.environ["HELPER"])
    from serve import run
    def detect(samples, rate):
        found = [{"label": "a", "confidence": np.float32(0.5), "timestamp_ms": np.int64(7)}]
        return {"detections": found, "embeddings": {"start_ms": [0], "values": np.ones((1, 4), np.float32)}}
    run(detect, "NumPy", "1")
    """
    runner = resident(source, embeds=True, HELPER=place_of_helper())
    output = runner.detect(chunk("CLICK", 0, 1000), window(click, 0, 1000))
    assert output.result.detections[0].timestamp_ms == 7
    assert output.embeddings is not None
    assert output.embeddings.values.shape == (1, 4)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("container", ["WAV", "WAVEX"])
@pytest.mark.parametrize("numpy", [True, False])
def test_the_helper_reads_what_is_written(
    tmp_path: Path,
    noise: Callable[..., np.ndarray[Any, Any]],
    subtype: str,
    container: str,
    numpy: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "REC.wav"
    sf.write(path, noise(0.05, 8000, 3), 8000, subtype=subtype, format=container)
    if not numpy:
        monkeypatch.setitem(sys.modules, "numpy", None)
    samples, rate = serve.read_wav(str(path))
    monkeypatch.undo()
    expected = read_samples(window(path, 0, 50))[0].mean(axis=1)
    assert rate == 8000
    assert np.allclose(np.asarray(samples), expected, atol=1e-6)


def test_the_helper_refuses_another_format_in_words(tmp_path: Path, noise: Any) -> None:
    path = tmp_path / "REC.wav"
    sf.write(path, noise(0.05, 8000), 8000, subtype="ULAW")
    with pytest.raises(ValueError, match=r"REC\.wav: not a WAV file of integer or float samples \(format 7, 8 bits\)"):
        serve.read_wav(str(path))
