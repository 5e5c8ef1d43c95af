"""BirdNET 2.4 without its own spectrogram: two thirds of the time that it takes on a CPU.

The model's first 93 operators turn a window into two mel spectrograms, frame by frame; the network follows. All of them
but the scaling and the power are linear, so one matrix product does their work (`Spectrogram`), and LiteRT runs the
network alone (`cut`). The constants are the model file's own; the operators were read from it.
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from badc.system import atomic
from badc.system.paths import cache_dir

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.float32]]

# The file that is cut; of any other, the operators are not known.
MODEL_SHA256 = "55f3e4055b1a13bfa9a2452731d0d34f6a02d6b775a334362665892794165e4c"
_FIRST_OPERATOR = 93
_SPECTROGRAM_TENSOR = 263
# Window, mel matrix and power of each of the two spectrograms (tensors of the model), and the step between frames.
_BRANCHES = ((129, 166, 165, 278), (126, 168, 167, 280))
_SAMPLES = 144_000
_FRAMES = 511
_BANDS = 96
# The largest difference of a confidence from the whole model's that the check of a cut model passes.
_TOLERANCE = 1e-4
# A band of a frame is empty below `_EMPTY`, over ten times the rounding of the model's Fourier transform. The limits
# are those of each spectrogram. In recorded sound two in 10,000 bands of the first one are empty; in a window whose
# last 0.1 s is silence 14 in 1,000, which moves confidences by 1e-4. A low sample rate empties the second one's high
# bands: at 16 kHz 18 %, which moves confidences by 5e-5, at 8 kHz 38 % and by 1.3e-4.
_EMPTY = 1e-4
_MOST_EMPTY = (0.002, 0.25)
_CACHE_VERSION = 2


@dataclass(frozen=True, slots=True)
class _Branch:
    matrix: Array  # (frame length / 2 + 1, bands), highest band first
    power: float
    step: int


class Spectrogram:
    """The model's front end, in numpy.

    With the scaled window `x`, the model computes `((W · Re F(w·x))²)^p` for each frame of `L` samples (2048, 1024):
    `w` is a Hann window, `F` the discrete Fourier transform, of which the model drops the imaginary part, `W` a mel
    matrix of 96 bands, `p` a constant. `W · Re F · w` is one matrix. It is symmetric about the frame's middle, as the
    cosine and the periodic Hann window are, so samples `n` and `L - n` are added first, which halves the product.
    Each window has a scale and steps of its own, so overlapping windows have no frame in common.
    """

    def __init__(self, tensor: Callable[[int], Any]) -> None:
        self._use(
            _Branch(_folded(tensor(window), tensor(mel)), float(tensor(power)), step)
            for window, mel, power, step in _BRANCHES
        )

    def _use(self, branches: Iterable[_Branch]) -> None:
        import numpy as np

        self._branches = list(branches)
        # Kept from window to window: to get megabytes from the system each time takes as long as the sums in them.
        self._scaled = np.empty(_SAMPLES, np.float32)
        self._folded = [np.empty((_FRAMES, branch.matrix.shape[0]), np.float32) for branch in self._branches]
        self._bands = np.empty((_FRAMES, _BANDS), np.float32)
        self._made = np.empty((1, _BANDS, _FRAMES, 2), np.float32)

    @classmethod
    def load(cls, path: Path, network_sha256: str) -> Self:
        """Read one that `save` wrote; any exception if the file is damaged, or made for another network."""
        import numpy as np

        made = cls.__new__(cls)
        with np.load(path) as file:
            if str(file["network_sha256"]) != network_sha256:
                raise ValueError(f"{path}: was made for another network")
            made._use(
                _Branch(file[f"matrix_{number}"], float(file[f"power_{number}"]), step)
                for number, (*_, step) in enumerate(_BRANCHES)
            )
        return made

    def save(self, path: Path, network_sha256: str) -> None:
        """Write the matrices to a file, with the digest of the network that they were cut off from."""
        import numpy as np

        kept: dict[str, Any] = {"network_sha256": network_sha256}
        for number, branch in enumerate(self._branches):
            kept |= {f"matrix_{number}": branch.matrix, f"power_{number}": branch.power}
        stream = io.BytesIO()
        np.savez(stream, **kept)
        atomic.write_bytes(path, stream.getvalue())

    def of(self, window: Array) -> Array | None:
        """Return the network's input, `[1, 96, 511, 2]`, for 144,000 samples; the next call writes over it.

        None for a window with digital silence, also in part: its bands hold nothing but the rounding of the model's own
        Fourier transform, which the power makes large and no other computation gives again.
        """
        import numpy as np

        scaled, bands = self._scaled, self._bands
        np.subtract(window, window.min(), out=scaled)
        scaled /= scaled.max() + np.float32(1e-6)
        scaled -= np.float32(0.5)
        scaled *= np.float32(2)
        for number, (branch, folded) in enumerate(zip(self._branches, self._folded, strict=True)):
            half = branch.matrix.shape[0] - 1
            frames = np.lib.stride_tricks.sliding_window_view(scaled, 2 * half)[:: branch.step][:_FRAMES]
            folded[:, 0], folded[:, half] = frames[:, 0], frames[:, half]
            np.add(frames[:, 1:half], frames[:, :half:-1], out=folded[:, 1:half])
            np.matmul(folded, branch.matrix, out=bands)
            np.square(bands, out=bands)
            if np.count_nonzero(bands < _EMPTY**2) > _MOST_EMPTY[number] * bands.size:
                return None
            np.power(bands, np.float32(branch.power), out=bands)
            self._made[0, :, :, number] = bands.T
        return self._made


def _folded(window: Any, mel: Any) -> Array:
    import numpy as np

    length = len(window)
    half = length // 2
    angles = 2 * np.pi / length * (np.arange(half + 1)[:, np.newaxis] * np.arange(half + 1) % length)
    matrix = (mel.astype(np.float64) @ np.cos(angles)) * window[: half + 1].astype(np.float64)
    return np.ascontiguousarray(matrix.T[:, ::-1], np.float32)


def cut(model: bytes) -> tuple[bytes, Spectrogram]:
    """Return the network of BirdNET 2.4 as a model of its own, with input `[1, 96, 511, 2]`, and its front end.

    Its outputs are those of `with_embedding`.
    """
    import numpy as np

    whole = _read(model)
    graph = whole.subgraphs[0]

    def constant(number: int) -> Any:
        tensor = graph.tensors[number]
        values = np.frombuffer(bytes(whole.buffers[tensor.buffer].data), np.float32)
        return values.reshape([int(size) for size in tensor.shape] if tensor.shape is not None else [])

    spectrogram = Spectrogram(constant)
    graph.operators = graph.operators[_FIRST_OPERATOR:]
    graph.inputs = [_SPECTROGRAM_TENSOR]
    tensor = graph.tensors[_SPECTROGRAM_TENSOR]
    tensor.shape = [1, _BANDS, _FRAMES, 2]
    tensor.shapeSignature = [-1, _BANDS, _FRAMES, 2]
    _add_embedding(whole)
    return _written(whole, len(model)), spectrogram


def with_embedding(model: bytes) -> bytes:
    """Return a classifier with a second output, its embedding: the input of the last layer, which gives the logits.

    Raises
    ------
    ValueError
        When its last operator is no layer of that kind.
    """
    whole = _read(model)
    _add_embedding(whole)
    return _written(whole, len(model))


def _add_embedding(model: Any) -> None:
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    last = graph.operators[-1]
    kind = model.operatorCodes[last.opcodeIndex].builtinCode
    if kind != schema.BuiltinOperator.FULLY_CONNECTED or list(last.outputs) != list(graph.outputs):
        raise ValueError("its last operator is no fully connected layer, so it has no embedding")
    graph.outputs = [*graph.outputs, last.inputs[0]]
    model.signatureDefs = []


def _read(model: bytes) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))


def _written(model: Any, size: int) -> bytes:
    import flatbuffers  # type: ignore[import-untyped]

    builder = flatbuffers.Builder(size)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


class Network:
    """BirdNET 2.4 on one thread, cut if the file is the one that is known, and gives what the whole model gives.

    With `embeds`, it also gives the embedding of each window.
    """

    def __init__(self, path: Path, embeds: bool = False) -> None:
        self._path = path
        self._embeds = embeds
        self._whole: Interpreter | None = None
        self._cut: Interpreter | None = None
        self._spectrogram: Spectrogram | None = None
        try:
            self._load_cut()
        except Exception as error:  # whatever is wrong, the whole model is right
            self._cut = self._spectrogram = None
            print(f"BirdNET runs as a whole, which takes twice as long: {error}", file=sys.stderr, flush=True)
        if self._cut is None:
            self._whole = self._load_whole()

    @property
    def is_cut(self) -> bool:
        """Whether windows go through the cut model."""
        return self._spectrogram is not None

    def logits(self, window: Array) -> Array:
        """Return the logit of each label, `[6522]`, for a window of 144,000 samples."""
        return self.outputs(window)[0]

    def outputs(self, window: Array) -> list[Array]:
        """Return the logits of a window and, if it `embeds`, the embedding, `[1024]`."""
        bands = None if self._spectrogram is None else self._spectrogram.of(window)
        if bands is not None and self._cut is not None:
            return self._cut.outputs(bands)
        if self._whole is None:
            self._whole = self._load_whole()
        return self._whole.outputs(window[None])

    def _load_whole(self) -> Interpreter:
        if self._embeds:
            return Interpreter(model_content=with_embedding(self._path.read_bytes()))
        return Interpreter(model_path=str(self._path))

    def _load_cut(self) -> None:
        model = self._path.read_bytes()
        digest = hashlib.sha256(model).hexdigest()
        if digest != MODEL_SHA256:
            raise ValueError(f"{self._path}: is another model than the one that is known")
        base = cache_dir() / f"birdnet-{digest[:16]}-{_CACHE_VERSION}"
        network, matrices = base.with_suffix(".tflite"), base.with_suffix(".npz")
        try:
            self._spectrogram = Spectrogram.load(matrices, hashlib.sha256(network.read_bytes()).hexdigest())
            self._cut = Interpreter(model_path=str(network))
        except Exception:  # not there yet, or damaged
            made, self._spectrogram = cut(model)
            self._cut = Interpreter(model_content=made)
            self._check()
            try:
                atomic.write_bytes(network, made)
                self._spectrogram.save(matrices, hashlib.sha256(made).hexdigest())  # last: it vouches for the network
            except OSError:  # the next host cuts the model again, which takes a second or two
                pass

    def _check(self) -> None:
        """Raise ValueError unless the cut model agrees with the whole one on a fixed signal."""
        import numpy as np

        signal = np.random.default_rng(20230509).normal(0, 0.1, _SAMPLES).astype(np.float32)
        one = self.logits(signal)
        other = Interpreter(model_path=str(self._path)).logits(signal[None])
        difference = float(np.abs(confidence(one) - confidence(other)).max())
        if not difference <= _TOLERANCE:
            raise ValueError(f"cut, it gives confidences that differ by {difference:.2g}")


def confidence(logits: Array) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the confidence of each logit, the sigmoid."""
    import numpy as np

    return 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -15, 15)))


class Interpreter:
    """A model in LiteRT with one input, whose first output is the logits.

    It runs on as many threads as BLAS (`OMP_NUM_THREADS`, default 1).
    """

    def __init__(self, **model: Any) -> None:
        from ai_edge_litert.interpreter import Interpreter as LiteRt

        threads = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]  # a list has one for each nested level
        self._litert = LiteRt(**model, num_threads=int(threads or 1))
        self._litert.allocate_tensors()
        self._input = self._litert.get_input_details()[0]["index"]
        self._outputs = [output["index"] for output in self._litert.get_output_details()]

    def logits(self, value: Array) -> Array:
        """Return the logits for an input."""
        return self.outputs(value)[0]

    def outputs(self, value: Array) -> list[Array]:
        """Return the model's outputs for an input."""
        self._litert.set_tensor(self._input, value)
        self._litert.invoke()
        return [self._litert.get_tensor(output)[0] for output in self._outputs]
