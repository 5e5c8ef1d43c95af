"""A resident program's side: load a model once, then answer for one chunk after the other. One file, to import or copy.

It needs Python 3.9 and nothing else, so it serves in any environment that has a model. With `run`, a function becomes
a program for `--runner-resident`:

    def detect(samples, rate):
        return [{"label": "OVEN", "confidence": 0.9, "timestamp_ms": 0, "end_ms": 3000}]

    run(detect, "My model", "1.0", rate=32000)

The protocol, for programs that read the requests themselves (`serve`) or are in another language: one JSON object a
line, requests on stdin, answers on stdout. A request is `{"id": …, …}`; its answer `{"id": …, "ok": true, …}` or
`{"id": …, "ok": false, "error": "…"}`. The first line that a program writes is its greeting, once its model is loaded.
It ends when stdin does. docs/add-a-runner.md has every field.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import threading
import traceback
from array import array
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

PROTOCOL = 1

Message = dict[str, Any]
Handle = Callable[[Message], Message]

# By kind (1: integer, 3: float) and bits, what `array` calls them.
_SAMPLE_TYPES = {(1, 8): "b", (1, 16): "h", (1, 32): "i", (3, 32): "f", (3, 64): "d"}
_EXTENSIBLE = 0xFFFE
_SIGNED = bytes((value + 128) % 256 for value in range(256))


def run(
    detect: Callable[[Any, int], Any], name: str, model_version: str, rate: int | None = None, at_once: int = 1
) -> None:
    """Serve `detect(samples, rate)`, which returns the list of a chunk's detections.

    `samples` are those of one channel, or the mean of several: float32 in -1..1, a NumPy array, or an `array` where
    there is no NumPy. With `rate`, they come at that many Hz, else at the recording's. `detect` may also return an
    answer: `{"detections": […], "embeddings": …}`. Up to `at_once` threads call it.
    """

    def handle(request: Message) -> Message:
        found = detect(*read_wav(request["wav"]))
        return found if isinstance(found, dict) else {"detections": found}

    wanted = {} if rate is None else {"rate": rate}
    serve(lambda: (model_version, handle), at_once, greeting={"name": name, "wav": True, **wanted})


def serve(
    load: Callable[[], tuple[str, Handle]],
    at_once: int = 1,
    warm_up: Callable[[Handle], object] = lambda handle: None,
    greeting: Message | None = None,
) -> None:
    """Load a model, greet, then answer requests until stdin ends, up to `at_once` at a time.

    `load` returns the model's version and the function that answers one request, in one of `at_once` threads. Each
    thread first calls `warm_up` with that function, one after the other. If it fails in the first, the model cannot be
    loaded. If it fails in a later one, for which memory may be too small, there are as many threads as came before; the
    greeting then has the reason as `why_fewer`. `greeting` has further keys of the greeting.
    """
    requests_in, send = _pipes()
    requests: SimpleQueue[Message | None] = SimpleQueue()
    threads: list[threading.Thread] = []
    try:
        version, handle = load()
        why_fewer = _start(threads, at_once, lambda: warm_up(handle), lambda: _answer_all(requests, handle, send))
    except Exception as error:
        traceback.print_exc()
        send({"ok": False, "error": reason(error)})
        sys.exit(1)
    fewer = {} if why_fewer is None else {"why_fewer": why_fewer}
    told = {"protocol": PROTOCOL, "model_version": version, "at_once": len(threads)}
    send({"ok": True, **told, **fewer, **(greeting or {})})
    for line in requests_in:
        requests.put(json.loads(line))
    for _ in threads:
        requests.put(None)
    for thread in threads:
        thread.join()


def read_wav(path: str) -> tuple[Any, int]:
    """Return the samples of a WAV file, the mean of its channels as float32 in -1..1, and its rate in Hz.

    They are a NumPy array, or an `array` where there is no NumPy. ValueError when its samples are of a format that BADC
    does not write.
    """
    with open(path, "rb") as file:  # noqa: PTH123 - as short as can be
        content = file.read()
    chunks = dict(_chunks(content))
    kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", chunks.get(b"fmt ", bytes(16)))
    if kind == _EXTENSIBLE:
        kind = struct.unpack_from("<H", chunks[b"fmt "], 24)[0]
    raw = bytes(chunks.get(b"data", b""))
    if (kind, bits) == (1, 24):
        wide = bytearray(len(raw) // 3 * 4)
        wide[1::4], wide[2::4], wide[3::4] = raw[0::3], raw[1::3], raw[2::3]
        raw, bits = bytes(wide), 32
    if (kind, bits) not in _SAMPLE_TYPES:
        raise ValueError(f"{path}: not a WAV file of integer or float samples (format {kind}, {bits} bits)")
    values = array(_SAMPLE_TYPES[kind, bits], raw.translate(_SIGNED) if bits == 8 else raw)
    return _mono(values, channels, 1.0 if kind == 3 else 2.0 ** (1 - bits)), rate


def _chunks(content: bytes) -> Iterator[tuple[bytes, memoryview]]:
    at = 12
    while at + 8 <= len(content):
        size = int.from_bytes(content[at + 4 : at + 8], "little")
        yield content[at : at + 4], memoryview(content)[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def _mono(values: Any, channels: int, scale: float) -> Any:
    try:
        import numpy
    except ImportError:
        sums = values if channels == 1 else [sum(values[at : at + channels]) for at in range(0, len(values), channels)]
        return array("f", [value * scale / channels for value in sums])
    return (numpy.asarray(values).reshape(-1, channels).mean(axis=1) * scale).astype(numpy.float32)


def reason(error: BaseException) -> str:
    """Return what an answer says of an error that was not expected."""
    return f"{type(error).__name__}: {error}"


def _pipes() -> tuple[Any, Callable[[Message], None]]:
    """Return the requests, line by line, and what sends an answer.

    All else that this process, its libraries and its children print goes to stderr, and they read an empty stdin.
    """
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    lock = threading.Lock()

    def send(message: Message) -> None:
        line = json.dumps(message, allow_nan=False, default=_plain)
        with lock:
            answers.write(line + "\n")
            answers.flush()

    return requests, send


def _plain(value: Any) -> Any:
    """Return a number or an array of NumPy or PyTorch as JSON has it."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"an answer has a {type(value).__name__}, which JSON has not")


def _start(
    threads: list[threading.Thread], number: int, warm_up: Callable[[], object], work: Callable[[], None]
) -> str | None:
    """Start threads, each after the one before is warm; return why there are fewer than `number`, or None."""
    for _ in range(number):
        warm: SimpleQueue[Exception | None] = SimpleQueue()
        thread = threading.Thread(target=_warm_then_work, args=(warm_up, warm.put, work), daemon=True)
        thread.start()
        error = warm.get()
        if error is None:
            threads.append(thread)
        elif threads:
            traceback.print_exception(type(error), error, error.__traceback__)
            return reason(error)
        else:
            raise error
    return None


def _warm_then_work(
    warm_up: Callable[[], object], tell: Callable[[Exception | None], None], work: Callable[[], None]
) -> None:
    try:
        warm_up()
    except Exception as error:
        tell(error)
    else:
        tell(None)
        work()


def _answer_all(requests: SimpleQueue[Message | None], handle: Handle, send: Callable[[Message], None]) -> None:
    while (request := requests.get()) is not None:
        try:
            send({"id": request["id"], "ok": True, **handle(request)})
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            send({"id": request["id"], "ok": False, "error": reason(error)})
