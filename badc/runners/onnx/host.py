"""The ONNX host, run by `badc.runners.onnx.runner` in the interpreter that has onnxruntime, and NumPy with it.

It gets the samples of a chunk, mono and at the model's rate, as a file of little-endian float32, and answers with what
is confident enough: `[start_ms, end_ms, number of the label, confidence]`.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from badc.runners.embeddings import embeddings_message
from badc.runners.onnx.batches import BatchSize
from badc.runners.process.serve import Message, reason, serve
from badc.runners.windows import windows_of
from badc.system.gpu_memory import is_gpu_out_of_memory

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
_ERRORS_ONLY = 3
_ERROR = "with error: "  # of onnxruntime, before the reason why a library cannot be loaded
_PROBABILITY_SLACK = 1e-3
_TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16"}


def main(options: dict[str, Any]) -> None:
    """Describe a model, or serve requests `{path}`, as `options["do"]` says."""
    if options["do"] == "check":
        print(json.dumps(_check(options["model"])))
    else:
        serve(lambda: (options["model_version"], _Model(options).handle))


def _check(model: str) -> Message:
    """Return what a model says of itself, and what runs it here."""
    import onnxruntime

    here = {"ok": True, "version": onnxruntime.__version__, "cuda": CUDA in onnxruntime.get_available_providers()}
    try:
        session = _session(model, {"graph_optimization_level": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL})
    except Exception as error:
        return here | {"ok": False, "error": reason(error)}
    return here | {
        "metadata": dict(session.get_modelmeta().custom_metadata_map),
        "inputs": [_described(value) for value in session.get_inputs()],
        "outputs": [_described(value) for value in session.get_outputs()],
    }


def _described(value: Any) -> Message:
    shape = [size if isinstance(size, int) else None for size in value.shape]
    return {"name": value.name, "type": value.type, "shape": shape}


def _session(model: str, settings: dict[str, Any], providers: list[Any] | None = None) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    for name, value in settings.items():
        setattr(options, name, value)
    # Threads that wait for work would keep cores busy.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=providers or [CPU])


class _Model:
    def __init__(self, options: dict[str, Any]) -> None:
        import onnxruntime

        self._config = options["config"]
        self._min_confidence = float(options["min_confidence"])
        self._labels = int(options["labels"])
        self._embeds = bool(options["embeds"])
        self._session = _on_gpu(options["model"]) if options["gpu"] else _on_cpu(options["model"])
        self._input = self._session.get_inputs()[0]
        self._dtype = _TYPES[self._input.type]
        fixed = self._input.shape[0] if len(self._input.shape) > 1 else 1
        self._fixed = fixed if isinstance(fixed, int) else None
        self._batches = BatchSize(*((self._fixed, True) if self._fixed else options["batch"]))
        provider = self._session.get_providers()[0]
        self._engine = f"onnxruntime {onnxruntime.__version__}, {provider}"

    def handle(self, request: Message) -> Message:
        import numpy as np

        config = self._config
        rate, window_s = config["sample_rate_hz"], config["window_s"]
        samples = np.fromfile(request["path"], dtype="<f4")
        windows = windows_of(samples, rate, window_s, window_s - config["overlap_s"])
        scores, embeddings = self._outputs([piece for _, piece in windows])
        starts_ms = [round(start_s * 1000) for start_s, _ in windows]
        ends_ms = [round(min(start_s + window_s, len(samples) / rate) * 1000) for start_s, _ in windows]
        sure = _confidences(scores, config["scores"])
        finite = np.isfinite(sure)
        found = []
        for number, row in enumerate(np.where(finite, sure, -1.0)):
            wanted = np.flatnonzero(row >= self._min_confidence)
            for label in wanted[np.argsort(-row[wanted], kind="stable")]:
                found.append([starts_ms[number], ends_ms[number], int(label), round(float(row[label]), 6)])
        answer: Message = {"found": found, "not_finite": int(sure.size - finite.sum()), "engine": self._engine}
        if self._fixed is None and self._batches.settled:
            answer["batch_size"] = self._batches.size
        if self._embeds:
            good = np.flatnonzero(np.isfinite(embeddings).all(axis=1))
            answer["embeddings"] = embeddings_message([starts_ms[number] for number in good], embeddings[good])
        return answer

    def _outputs(self, pieces: list[Array]) -> tuple[Array, Array]:
        """Return the scores, `(windows, labels)`, and the embeddings, `(windows, size)`, in batches that fit."""
        import numpy as np

        made: list[tuple[Array, Array]] = []
        begun = 0
        while begun < len(pieces):
            batch = pieces[begun : begun + self._batches.size]
            begin_s = time.perf_counter()
            try:
                made.append(self._run(batch))
            except Exception as error:
                if len(batch) == 1 or self._fixed or not is_gpu_out_of_memory(str(error)):
                    raise
                self._batches.too_large(len(batch))
                continue
            self._batches.took(len(batch), time.perf_counter() - begin_s, len(pieces))
            begun += len(batch)
        return np.concatenate([scores for scores, _ in made]), np.concatenate([values for _, values in made])

    def _run(self, batch: list[Array]) -> tuple[Array, Array]:
        import numpy as np

        rows = np.stack([_normalized(piece, self._config) for piece in batch])
        if self._fixed is not None and len(batch) < self._fixed:
            rows = np.pad(rows, ((0, self._fixed - len(batch)), (0, 0)))
        names = [self._config["output"], *([self._config["embedding_output"]] if self._embeds else [])]
        values = self._session.run(names, {self._input.name: self._shaped(rows).astype(self._dtype)})
        for name, value in zip(names, values, strict=True):
            if np.size(value) % len(rows):
                raise ValueError(f"the output {name} is {np.shape(value)} for {len(rows)} windows; give --batch-size 1")
        scores, *embeddings = [
            np.asarray(value, dtype=np.float32).reshape(len(rows), -1)[: len(batch)] for value in values
        ]
        if scores.shape[1] != self._labels:
            raise ValueError(f"the output {names[0]} has {scores.shape[1]} scores a window, not {self._labels}")
        return scores, embeddings[0] if embeddings else np.zeros((len(batch), 0), np.float32)

    def _shaped(self, rows: Array) -> Array:
        import numpy as np

        shape = self._input.shape
        if len(shape) == 3:
            return np.expand_dims(rows, 2 if shape[2] == 1 else 1)
        return rows.reshape(-1) if len(shape) == 1 else rows


def _on_cpu(model: str) -> Any:
    threads = int(os.environ.get("OMP_NUM_THREADS") or 1)  # what starts a worker says how many are its own
    return _session(model, {"intra_op_num_threads": threads, "inter_op_num_threads": 1})


def _on_gpu(model: str) -> Any:
    """Return a session on the GPU; RuntimeError if onnxruntime took the CPU, as it does without a word."""
    import onnxruntime

    # Finds the CUDA libraries that came as wheels; newer versions have it.
    with contextlib.suppress(AttributeError):
        onnxruntime.preload_dlls()
    # TF32 would move scores by more than the thousandth that a GPU may differ from a CPU. The search for the fastest
    # algorithm begins anew for each size of a batch.
    options = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"}
    why = "has no CUDA"
    if CUDA in onnxruntime.get_available_providers():
        with _written_to_stderr() as lines:
            session = _session(model, {}, [(CUDA, options), CPU])
        if session.get_providers()[0] == CUDA:
            return session
        reasons = [line.rpartition(_ERROR)[2] for line in lines if _ERROR in line] or lines[-1:]
        why = f"cannot use the GPU ({reasons[0] if reasons else 'for no reason that it gives'})"
    raise RuntimeError(
        f"onnxruntime {onnxruntime.__version__} of {sys.executable} {why}; name an interpreter that has "
        "onnxruntime-gpu and its CUDA libraries with --onnx-python, or give --max-gpus 0"
    )


@contextlib.contextmanager
def _written_to_stderr() -> Iterator[list[str]]:
    """Collect the lines that libraries write to stderr during the block; they are written there after it."""
    lines: list[str] = []
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            file.seek(0)
            lines += file.read().decode(errors="replace").splitlines()
            print(*lines, sep="\n", file=sys.stderr)


def _normalized(piece: Array, config: dict[str, Any]) -> Array:
    import numpy as np

    if config["normalize"] == "none":
        return piece
    centred = piece - piece.mean(dtype=np.float64)
    scale = np.abs(centred).max() / config["peak"] if config["normalize"] == "peak" else centred.std()
    return np.asarray(centred / scale if scale > 0 else centred, dtype=np.float32)


def _confidences(scores: Array, kind: str) -> Array:
    """Return scores as confidences in 0..1; those that are not finite stay so."""
    import numpy as np

    with np.errstate(all="ignore"):
        if kind == "logits-sigmoid":
            return np.asarray(1 / (1 + np.exp(-np.clip(scores.astype(np.float64), -80, 80))))
        if kind == "logits-softmax":
            powers = np.exp(scores.astype(np.float64) - scores.max(axis=1, keepdims=True))
            return np.asarray(powers / powers.sum(axis=1, keepdims=True))
    outside = scores[np.isfinite(scores) & ((scores < -_PROBABILITY_SLACK) | (scores > 1 + _PROBABILITY_SLACK))]
    if outside.size:
        raise ValueError(f'a score is {outside[0]:g} and so no probability; scores = "logits-sigmoid" may be right')
    return np.where(np.isfinite(scores), np.clip(scores, 0, 1), scores).astype(np.float64)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
