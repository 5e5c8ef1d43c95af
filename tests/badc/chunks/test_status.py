"""The chunk status file: what is read, what is refused, and that it stays true however the cutting ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from badc.chunks.status import (
    ChunkState,
    ChunkStatus,
    keeping_status,
    read_chunk_status,
    status_path,
    write_chunk_status,
)
from badc.errors import RequestError
from badc.system.annex import ContentElsewhereError

STATUS = ChunkStatus("REC", "audio/REC.wav", "manifests/REC.csv", ChunkState.IN_PROGRESS, duration_s=60.0, overlap_s=0)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = status_path(tmp_path, "REC")
    write_chunk_status(path, STATUS)
    assert path == tmp_path / "REC" / ".chunk_status.json"
    assert read_chunk_status(path) == STATUS
    assert path.read_bytes().endswith(b"}\n")


def test_no_file_is_no_status(tmp_path: Path) -> None:
    assert read_chunk_status(tmp_path / "a" / ".chunk_status.json") is None
    (tmp_path / "file").touch()
    assert read_chunk_status(tmp_path / "file" / ".chunk_status.json") is None


def test_files_of_other_tools_need_only_the_status(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text('{"status": "completed", "chunk_duration": 30, "theirs": [1]}')
    found = read_chunk_status(path)
    assert found is not None
    assert (found.state, found.duration_s, found.recording_id, found.manifest_rows) == ("completed", 30, None, None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not JSON"),
        ('{"status": "comp', "is not JSON"),
        ("[]", "is not a JSON object"),
        ("{}", "says status None"),
        ('{"status": "done"}', "says status 'done', which is not one of in_progress, completed, failed"),
        ('{"status": "completed", "manifest_rows": "7"}', "manifest_rows '7' is not a number"),
        ('{"status": "completed", "overlap": true}', "overlap True is not a number"),
        ('{"status": "completed", "audio_path": 7}', "audio_path 7 is not text"),
    ],
)
def test_a_broken_file_is_refused_with_the_way_out(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "s.json"
    path.write_text(content)
    with pytest.raises(RequestError) as refused:
        read_chunk_status(path)
    assert str(refused.value).startswith(f"{path}: the chunk status {message}")
    assert "remove it and chunk the recording again" in str(refused.value)


@pytest.mark.parametrize("kind", ["link", "pointer"])
def test_dropped_content_is_told_from_a_broken_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "s.json"
    if kind == "link":
        path.symlink_to(".git/annex/objects/MD5E-s9--0a")
    else:
        path.write_text("/annex/objects/MD5E-s9--0a\n")
    with pytest.raises(ContentElsewhereError, match=r"datalad -C .* get"):
        read_chunk_status(path)


def test_a_folder_in_its_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="cannot be read"):
        read_chunk_status(tmp_path)


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


def test_the_status_follows_the_work(tmp_path: Path) -> None:
    path = tmp_path / "REC" / "s.json"
    with keeping_status(path, STATUS) as found:
        during = read(path)
        found["manifest_rows"] = 7
    after = read(path)
    assert (during["status"], during["completed_at"], during["manifest_rows"]) == ("in_progress", None, None)
    assert (after["status"], after["manifest_rows"], after["error"]) == ("completed", 7, None)
    assert during["started_at"] == after["started_at"] <= after["completed_at"] == after["updated_at"]


@pytest.mark.parametrize(
    ("error", "said"), [(ValueError("no good"), "no good"), (KeyboardInterrupt(), "KeyboardInterrupt")]
)
def test_the_status_says_why_the_work_failed(tmp_path: Path, error: BaseException, said: str) -> None:
    path = tmp_path / "s.json"
    with pytest.raises(type(error)), keeping_status(path, STATUS):
        raise error
    assert (read(path)["status"], read(path)["error"], read(path)["completed_at"]) == ("failed", said, None)


def test_where_the_failure_cannot_be_written_the_first_error_is_told(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "s.json"

    def fail() -> None:
        path.parent.rename(tmp_path / "elsewhere")
        (tmp_path / "folder").touch()
        raise ValueError("first")

    with pytest.raises(ValueError, match="first"), keeping_status(path, STATUS):
        fail()
    assert read(tmp_path / "elsewhere" / "s.json")["status"] == "in_progress"
