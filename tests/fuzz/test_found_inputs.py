"""Files that ended in a traceback or a hang, and the seeds of `make fuzz`: each is read, or refused in words."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import orjson
import pytest

from badc.errors import BadcError
from tests.fuzz.targets import TARGETS, lay_out

_HEADER = b"recording_id,chunk_id,source_path,start_ms,end_ms\n"
_LABELS = b"filename,start_time,end_time,class_name,class_code,score\n"
_CHUNK = b"ST-1_20230509_055000_chunk_0_1000"
_RUN = b'[runner]\nmanifest = "manifests/ST-1_20230509_055000.csv"\nuse_hawkears = true\n[hawkears]\n'
_EVENT = b'{"chunk_id":"c","recording_id":"R","status":"start","timestamp":"2026-05-09T07:18:55.729+00:00"}\n'


def _result(**changes: object) -> bytes:
    detection = {"label": "x", "confidence": 0.5, "timestamp_ms": 0, "end_ms": 1}
    settings = {"runner": "birdnet", "model_version": None, "min_confidence": 0.1, "channel": None}
    document = {"chunk_id": _CHUNK.decode(), "status": "ok", "runner": "birdnet", "detections": [detection]}
    return orjson.dumps(document | {"fingerprint": "0", "settings": settings | changes.pop("made", {}), **changes})  # type: ignore[operator]


_FOUND = {
    "manifest": (
        _HEADER + b"R,c," + b"b" * 300 + b".wav,0,1000\n",
        _HEADER + b"R,c,/" + b"b" * 300 + b"/x.wav,0,1000\n",
        _HEADER + b'"R\rS",c,"a\rb.wav",0,1000\n',
    ),
    "telemetry": (
        3 * _EVENT + b"x" * 100_000 + b"\nx\nx\nx\nx\n",
        _EVENT + b'{"state": "\xff", "started_at": "\xfe"}\n',
    ),
    "hawkears": (
        _LABELS + b"a" * 140_000 + b",0,1,x,X,0.5\n",
        b"a" * 140_000 + b"," + _LABELS,
        _LABELS + _CHUNK + b".wav,0,1e306,x,X,0.5\n",
    ),
    "configuration": (
        _RUN + b"extra_args = 0.5\nmin_score = 0.7\n",
        _RUN + b'extra_args = "--x"\nmin_score = 0.7\n',
        _RUN + b"min_score = 0x" + b"f" * 5000 + b"\n",
        b'[runner]\nmanifest = "a\\u0000b"\noutput_dir = "a\\u0000b"\n',
        b'[runner]\nmanifest = "m.csv"\n[paths]\ndataset_root = "' + b"b" * 300 + b'"\n',
        b'[runner]\nmanifest = "out"\noutput_dir = "' + b"b" * 300 + b'/x"\n',
    ),
    "result": (
        _result(made={"min_confidence": "low"}),
        _result(made={"channel": [1]}),
        _result(made={"channel": {"a": [None]}, "choose_channel": [1]}),
        _result(source_path="a\0/b.wav", dataset_root="\0"),
        _result(hawkears_output="b" * 300, detections=[]),
    ),
    "resume": (b'{"chunk_id": "half', b"{", b'{"chunk_id":\n'),
    "verdicts": (
        b"0.0\t1.0\tx =" + b" " * 3000 + b"n = : y\n",
        b"0.0\t1.0\t" + b" = " * 3000 + b"\n",
    ),
}


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the targets."""
    folder = tmp_path_factory.mktemp("fuzz")
    with contextlib.chdir(folder):
        lay_out()
    return folder


@pytest.fixture(autouse=True)
def _work_there(laid_out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(laid_out)


@pytest.mark.parametrize(
    ("target", "content"),
    [pytest.param(name, item, id=f"{name}-{at}") for name in _FOUND for at, item in enumerate(_FOUND[name])],
)
def test_what_was_found_is_read_or_refused(target: str, content: bytes) -> None:
    begin = time.process_time()
    with contextlib.suppress(BadcError):
        TARGETS[target].run(content)
    assert time.process_time() - begin < 10


@pytest.mark.parametrize("target", sorted(TARGETS.keys() - {"aggregate"}))  # tables take a second each
def test_the_seeds_are_read(target: str) -> None:
    for seed in TARGETS[target].seeds():
        with contextlib.suppress(BadcError):
            TARGETS[target].run(seed)
