"""Detections: what is accepted, the file of a chunk, and when it counts as done."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from badc.chunks.manifest import Chunk
from badc.detections.result import (
    ChunkResult,
    Detection,
    InvalidResultError,
    ResultStatus,
    parse_detections,
    result_document,
    result_path,
    standing_of,
    write_result,
)

MakeChunk = Callable[..., Chunk]
FULL = {
    "timestamp_ms": 0,
    "end_ms": 3000,
    "label": "Ovenbird",
    "label_code": "OVEN",
    "label_name": "Ovenbird",
    "confidence": 0.5,
}


def test_a_full_detection_is_taken_as_it_is() -> None:
    assert parse_detections([FULL]) == (Detection("Ovenbird", 0.5, 0, 3000, "OVEN", "Ovenbird"),)


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"label": "a"}, Detection("a", None, None, None)),
        ({"label": "a", "confidence": 1}, Detection("a", 1.0, None, None)),
        (
            {"label_name": "Hermit Thrush", "label_code": "HETH"},
            Detection("HETH", None, None, None, "HETH", "Hermit Thrush"),
        ),
        (
            {"label_name": "name", "label_code": "Genus species"},
            Detection("name", None, None, None, "Genus species", "name"),
        ),
        ({"label": "", "label_code": "code"}, Detection("code", None, None, None, "code")),
        ({"label": "a", "timestamp_ms": 1499.6, "end_ms": 3000.0}, Detection("a", None, 1500, 3000)),
        ({"label": "a", "colour": [1]}, Detection("a", None, None, None, extra={"colour": [1]})),
    ],
)
def test_what_is_missing_is_none(item: dict[str, Any], expected: Detection) -> None:
    assert parse_detections([item]) == (expected,)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"label": None, "label_name": None, "label_code": None}, "has no label"),
        ({"label": 5}, "label is a number, not text"),
        ({"label_code": []}, "label_code is a list, not text"),
        ({"confidence": "0.5"}, "confidence is text, not a number"),
        ({"confidence": True}, "confidence is true/false, not a number"),
        ({"confidence": -0.1}, "-0.1 is not in 0..1"),
        ({"confidence": float("nan")}, "not in 0..1"),
        ({"timestamp_ms": "0"}, "timestamp_ms is text"),
        ({"timestamp_ms": False}, "timestamp_ms is true/false"),
        ({"timestamp_ms": -1}, "timestamp_ms -1"),
        ({"end_ms": float("inf")}, "end_ms inf"),
        ({"end_ms": {}}, "end_ms is an object"),
        ({"end_ms": 2**63}, "end_ms"),
        ({"end_ms": 1e300}, "end_ms"),
    ],
)
def test_a_bad_value_is_named_with_its_place(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidResultError, match=r"detections\[1\]") as caught:
        parse_detections([FULL, FULL | change])
    assert reason in str(caught.value)


@pytest.mark.parametrize("value", [None, {}, "text", 5, True])
def test_what_is_no_list_is_refused(value: object) -> None:
    with pytest.raises(InvalidResultError, match="not a list"):
        parse_detections(value)


def test_a_result_file_has_the_keys_of_the_format_in_order(chunk: MakeChunk) -> None:
    result = ChunkResult(
        chunk(sha256="abc", notes="n"),
        "birdnet",
        ResultStatus.OK,
        parse_detections([FULL]),
        model_version="v1",
        dataset_root="/ds",
        extra={"meta": 1, "runner": "mine"},
    )
    assert result_document(result) == {
        "chunk_id": "REC_chunk_0_1000",
        "recording_id": "REC",
        "source_path": "REC.wav",
        "status": "ok",
        "detections": [FULL],
        "chunk": {"start_ms": 0, "end_ms": 1000, "overlap_ms": 0, "sha256": "abc", "notes": "n"},
        "runner": "birdnet",
        "model_version": "v1",
        "dataset_root": "/ds",
        "meta": 1,
    }
    assert list(result_document(result))[:7] == [
        "chunk_id",
        "recording_id",
        "source_path",
        "status",
        "detections",
        "chunk",
        "runner",
    ]


def test_what_does_not_apply_is_left_out(chunk: MakeChunk) -> None:
    document = result_document(ChunkResult(chunk(), "stub", ResultStatus.STUB))
    assert {"model_version", "dataset_root"} & document.keys() == set()


def test_a_result_lies_below_its_recording_whatever_the_id(tmp_path: Path, chunk: MakeChunk, hostile_id: str) -> None:
    one = chunk(hostile_id)
    path = result_path(tmp_path, one)
    write_result(path, ChunkResult(one, "stub", ResultStatus.STUB))
    assert path == tmp_path / hostile_id / f"{hostile_id}_chunk_0_1000.json"
    assert path.read_bytes().endswith(b"}\n")
    assert json.loads(path.read_bytes())["chunk_id"] == one.chunk_id
    assert problem(path, one, "stub") is None


def test_a_result_that_cannot_be_written_is_an_os_error_and_leaves_nothing(tmp_path: Path, chunk: MakeChunk) -> None:
    (tmp_path / "REC").touch()
    with pytest.raises(OSError, match="REC"):
        write_result(result_path(tmp_path, chunk()), ChunkResult(chunk(), "stub", ResultStatus.STUB))
    assert [path.name for path in tmp_path.iterdir()] == ["REC"]


def problem(path: Path, chunk: Chunk, runner: str) -> str | None:
    return standing_of(path, chunk, {"runner": runner}).problem


@pytest.fixture
def done(tmp_path: Path, chunk: MakeChunk) -> Path:
    path = tmp_path / "r.json"
    write_result(path, ChunkResult(chunk(), "birdnet", ResultStatus.OK, parse_detections([FULL])))
    return path


def test_a_whole_result_of_the_same_run_has_no_problem(done: Path, chunk: MakeChunk) -> None:
    assert problem(done, chunk(), "birdnet") is None


def test_a_missing_result_is_a_problem(tmp_path: Path, chunk: MakeChunk) -> None:
    assert problem(tmp_path / "none", chunk(), "stub") == "its output is not there"


@pytest.mark.parametrize("data", [b"", b'{"chunk_id": ', b"\xff\xfe", b"[]", b"null", b"{}"])
def test_a_broken_result_is_a_problem(tmp_path: Path, chunk: MakeChunk, data: bytes) -> None:
    (tmp_path / "r.json").write_bytes(data)
    assert problem(tmp_path / "r.json", chunk(), "stub")


def test_a_folder_and_a_dangling_link_are_problems(tmp_path: Path, chunk: MakeChunk) -> None:
    (tmp_path / "link").symlink_to("none")
    assert problem(tmp_path, chunk(), "stub")
    assert problem(tmp_path / "link", chunk(), "stub")


def test_a_result_of_another_chunk_window_or_runner_is_a_problem(done: Path, chunk: MakeChunk) -> None:
    same = chunk().chunk_id
    assert "another chunk" in (problem(done, chunk("REC", 0, 2000), "birdnet") or "")
    assert "another chunk" in (problem(done, chunk("OTHER", chunk_id=same), "birdnet") or "")
    assert "another window" in (problem(done, chunk(end_ms=2000, chunk_id=same), "birdnet") or "")
    assert "runner birdnet, asked for stub" in (problem(done, chunk(), "stub") or "")


@pytest.mark.parametrize(
    "change",
    [
        {"status": "done"},
        {"status": None},
        {"status": []},
        {"status": {}},
        {"detections": None},
        {"detections": {}},
        {"detections": ["x"]},
        {"detections": [{"label": "a", "confidence": "high"}]},
        {"chunk": None},
        {"chunk": []},
        {"runner": []},
    ],
)
def test_a_result_with_a_wrong_value_is_a_problem(done: Path, chunk: MakeChunk, change: dict[str, Any]) -> None:
    done.write_text(json.dumps(json.loads(done.read_bytes()) | change))
    assert problem(done, chunk(), "birdnet")
