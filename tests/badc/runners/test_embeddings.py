"""Embeddings: how an answer has them, and those of the real BirdNET, which its last layer turns into its scores."""

from __future__ import annotations

import base64
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from badc.chunks.manifest import Chunk
from badc.errors import RunnerError
from badc.recordings.audio import probe, window_of
from badc.runners.birdnet.runner import BirdnetRunner, BirdnetSpec
from badc.runners.embeddings import embeddings_message, parse_embeddings
from badc.runners.interface import RunnerOutput, WorkerPlace

needs_birdnet = pytest.mark.skipif(
    importlib.util.find_spec("ai_edge_litert") is None, reason="the extra birdnet is not installed"
)


def test_both_ways_to_write_embeddings_are_read() -> None:
    rows = np.array([[1.5, -2, 0], [4, 5, 6]], np.float32)
    for message in (embeddings_message([0, 3000], rows), {"start_ms": [0, 3000], "values": rows.tolist()}):
        read = parse_embeddings(message)
        assert read.start_ms == (0, 3000)
        assert read.values.dtype == np.float32
        assert (read.values == rows).all()
    assert parse_embeddings({"start_ms": [], "values": []}).values.shape[0] == 0


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (None, "not an object"),
        ({"start_ms": [0]}, "either float32 or values"),
        ({"start_ms": [0], "values": [[1]], "float32": ""}, "either float32 or values"),
        ({"start_ms": [-1], "values": [[1]]}, "whole numbers of ms"),
        ({"start_ms": [0.5], "values": [[1]]}, "whole numbers of ms"),
        ({"start_ms": [True], "values": [[1]]}, "whole numbers of ms"),
        ({"start_ms": [0, 1], "values": [[1], [1, 2]]}, "not 2 rows of one length"),
        ({"start_ms": [0, 1], "values": [[1]]}, "not 2 rows of one length"),
        ({"start_ms": [], "values": [[1]]}, "not 0 rows"),
        ({"start_ms": [0], "values": [["a"]]}, "not 1 rows"),
        ({"start_ms": [0], "values": [[]]}, "empty"),
        ({"start_ms": [0], "float32": "***"}, "not 1 rows"),
        ({"start_ms": [0], "float32": 3}, "not 1 rows"),
        ({"start_ms": [0], "float32": base64.b64encode(b"123").decode()}, "not 1 rows"),
    ],
)
def test_wrong_embeddings_are_an_error_that_says_what_is_wrong(message: object, reason: str) -> None:
    with pytest.raises(RunnerError, match=reason):
        parse_embeddings(message)


@pytest.fixture(scope="module")
def birdnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BirdnetRunner]:
    runner = BirdnetSpec(min_confidence=0.0).open(WorkerPlace(tmp_path_factory.mktemp("scratch"), embeds=True))
    yield runner
    runner.close()


def output_of(runner: BirdnetRunner, audio: Path, end_ms: int) -> RunnerOutput:
    return runner.detect(Chunk("R", "c", str(audio), 0, end_ms), window_of(audio, probe(audio), 0, end_ms))


def last_layer() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return weights and bias of the model's last layer, read from the file."""
    from ai_edge_litert import schema_py_generated as schema

    from badc.species.birdnet_files import model_file

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model_file().read_bytes(), 0))
    graph = model.subgraphs[0]
    _, weights, bias = graph.operators[-1].inputs
    arrays = [np.frombuffer(bytes(model.buffers[graph.tensors[n].buffer].data), np.float32) for n in (weights, bias)]
    return arrays[0].reshape(-1, 1024), arrays[1]


@needs_birdnet
@pytest.mark.birdnet
def test_the_last_layer_turns_birdnets_embeddings_into_its_confidences(birds_wav: Path, birdnet: BirdnetRunner) -> None:
    output = output_of(birdnet, birds_wav, 10_000)
    assert output.embeddings is not None
    assert output.embeddings.start_ms == (0, 3000, 6000)
    weights, bias = last_layer()
    expected = 1 / (1 + np.exp(-np.clip(output.embeddings.values @ weights.T + bias, -15, 15)))
    assert len(output.result.detections) == 3 * len(bias)
    for start, row in zip(output.embeddings.start_ms, expected, strict=True):
        found = [d.confidence for d in output.result.detections if d.timestamp_ms == start]
        assert np.allclose(found, np.sort(row)[::-1], atol=1e-5)


@needs_birdnet
@pytest.mark.birdnet
def test_digital_silence_which_goes_through_the_whole_model_has_one_too() -> None:
    from badc.runners.birdnet.cut_model import Network
    from badc.species.birdnet_files import model_file

    logits, embedding = Network(model_file(), embeds=True).outputs(np.zeros(144_000, np.float32))
    weights, bias = last_layer()
    assert np.allclose(embedding @ weights.T + bias, logits, atol=1e-3)
