"""Manifests: what is read, what is refused and how it is named, and what is written."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from badc.chunks.manifest import COLUMNS, Chunk, job_keys, read_manifest, write_manifest
from badc.errors import RequestError

HEADER = "recording_id,chunk_id,source_path,start_ms,end_ms,overlap_ms,sha256,notes\n"
GOOD = "REC,REC_chunk_0_1000,REC.wav,0,1000,0,,\n"


def manifest(tmp_path: Path, text: str | bytes, name: str = "REC.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(path: Path) -> str:
    with pytest.raises(RequestError) as caught:
        read_manifest(path)
    return str(caught.value)


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "none.csv") in refusal(tmp_path / "none.csv")


def test_a_folder_is_no_manifest(tmp_path: Path) -> None:
    message = refusal(tmp_path)
    assert str(tmp_path) in message
    assert "folder" in message


def test_a_path_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert str(tmp_path / "file" / "m.csv") in refusal(tmp_path / "file" / "m.csv")


@pytest.mark.parametrize("text", ["", "\n", "\ufeff", "\r\n\r\n"])
def test_an_empty_manifest_is_refused_with_the_header_it_should_have(tmp_path: Path, text: str) -> None:
    message = refusal(manifest(tmp_path, text))
    assert "empty" in message
    assert HEADER.strip() in message


@pytest.mark.parametrize("text", [HEADER, HEADER.strip(), HEADER + "\n\n"])
def test_a_header_alone_is_a_manifest_without_chunks(tmp_path: Path, text: str) -> None:
    assert list(read_manifest(manifest(tmp_path, text)).chunks) == []


def test_a_manifest_that_is_not_utf_8_is_refused_with_the_line(tmp_path: Path) -> None:
    path = manifest(tmp_path, HEADER.encode() + GOOD.encode() + "RÉC,c2,a.wav,0,1,,,\n".encode("latin-1"))
    message = refusal(path)
    assert f"{path}:3:" in message
    assert "UTF-8" in message


def test_a_recording_is_no_manifest(tmp_path: Path) -> None:
    path = manifest(tmp_path, b"RIFF\x00\x00\x00\x00WAVE" + bytes(range(256)))
    assert f"no manifest, but a binary file; of a recording, `badc chunk manifest {path}` writes one" in refusal(path)


def test_utf_16_is_refused(tmp_path: Path) -> None:
    assert "UTF-8" in refusal(manifest(tmp_path, (HEADER + GOOD).encode("utf-16")))


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_another_separator_is_named(tmp_path: Path, separator: str) -> None:
    message = refusal(manifest(tmp_path, (HEADER + GOOD).replace(",", separator)))
    assert repr(separator) in message
    assert "comma" in message


@pytest.mark.parametrize("column", COLUMNS[:5])
def test_a_missing_required_column_is_named(tmp_path: Path, column: str) -> None:
    header = HEADER.replace(f"{column},", "", 1)
    assert f"column {column} is missing" in refusal(manifest(tmp_path, header + "x,y,z,0\n"))


def test_all_missing_columns_are_named(tmp_path: Path) -> None:
    assert "columns start_ms, end_ms are missing" in refusal(
        manifest(tmp_path, "recording_id,chunk_id,source_path\nR,c,s\n")
    )


@pytest.mark.parametrize("text", ["\ufeff" + HEADER + GOOD, (HEADER + GOOD).replace("\n", "\r\n"), HEADER + GOOD[:-1]])
def test_a_bom_crlf_and_a_missing_last_line_end_work(tmp_path: Path, text: str) -> None:
    (chunk,) = read_manifest(manifest(tmp_path, text)).chunks
    assert chunk == Chunk("REC", "REC_chunk_0_1000", "REC.wav", 0, 1000, 0, None, "")


def test_columns_may_be_more_and_in_any_order(tmp_path: Path) -> None:
    text = "site,end_ms,start_ms,source_path,chunk_id,recording_id\nmarsh,1000,0,REC.wav,c,REC\n"
    (chunk,) = read_manifest(manifest(tmp_path, text)).chunks
    assert chunk == Chunk("REC", "c", "REC.wav", 0, 1000)


def test_more_fields_than_columns_are_passed_over(tmp_path: Path) -> None:
    (chunk,) = read_manifest(manifest(tmp_path, HEADER + GOOD.strip() + ",one,more\n")).chunks
    assert chunk.notes == ""


def test_quoted_commas_quotes_and_newlines_work(tmp_path: Path) -> None:
    text = HEADER + '"a, b","c ""1""","dir, 2/a.wav",0,1000,,,"two\nlines"\n' + GOOD
    first, second = read_manifest(manifest(tmp_path, text)).chunks
    assert (first.recording_id, first.chunk_id, first.source_path) == ("a, b", 'c "1"', "dir, 2/a.wav")
    assert first.notes == "two\nlines"
    assert second.chunk_id == "REC_chunk_0_1000"


def test_lines_after_a_quoted_newline_are_numbered_as_in_an_editor(tmp_path: Path) -> None:
    path = manifest(tmp_path, HEADER + 'R,c1,a.wav,0,1000,,,"two\nlines"\nR,c2,a.wav,x,1000,,,\n')
    assert refusal(path).startswith(f"{path}:4: ")


def test_no_hash_and_the_placeholder_hash_mean_none(tmp_path: Path) -> None:
    text = HEADER + "R,a,a.wav,0,1,,,\nR,b,a.wav,1,2,,TODO_HASH,\nR,c,a.wav,2,3,,abc123,\n"
    assert [chunk.sha256 for chunk in read_manifest(manifest(tmp_path, text)).chunks] == [None, None, "abc123"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("R,c,a.wav,abc,1000,,,", "start_ms 'abc'"),
        ("R,c,a.wav,inf,1000,,,", "start_ms 'inf'"),
        ("R,c,a.wav,nan,1000,,,", "start_ms 'nan'"),
        ("R,c,a.wav,1.5,1000,,,", "start_ms '1.5'"),
        ("R,c,a.wav,,1000,,,", "start_ms ''"),
        ("R,c,a.wav,-1,1000,,,", "start_ms '-1'"),
        ("R,c,a.wav,0,1e3,,,", "end_ms '1e3'"),
        ("R,c,a.wav,0,9999999999999999999,,,", "end_ms '9999999999999999999'"),
        ("R,c,a.wav,0,1000,x,,", "overlap_ms 'x'"),
        ("R,c,a.wav,0,1000,-5,,", "overlap_ms '-5'"),
        ("R,c,a.wav,60000,60000,,,", "end_ms 60000 is not after start_ms 60000"),
        ("R,c,a.wav,2000,1000,,,", "end_ms 1000 is not after start_ms 2000"),
        ("R,c,a.wav,0", "the row has 4 fields"),
        ("R,,a.wav,0,1000,,,", "chunk_id ''"),
        (",c,a.wav,0,1000,,,", "recording_id ''"),
        ("R,c,,0,1000,,,", "source_path '' is not a path"),
        ("R,../x,a.wav,0,1000,,,", "chunk_id '../x'"),
        ("../x,c,a.wav,0,1000,,,", "recording_id '../x'"),
        ("/etc/x,c,a.wav,0,1000,,,", "recording_id '/etc/x'"),
        ("R,/etc/x,a.wav,0,1000,,,", "chunk_id '/etc/x'"),
        ("R,a/b,a.wav,0,1000,,,", "chunk_id 'a/b'"),
        ("R,a\\b,a.wav,0,1000,,,", "chunk_id 'a\\\\b'"),
        ("..,c,a.wav,0,1000,,,", "recording_id '..'"),
        (".,c,a.wav,0,1000,,,", "recording_id '.'"),
        ("R,a\0b,a.wav,0,1000,,,", "chunk_id 'a\\x00b'"),
    ],
)
def test_a_bad_row_is_named_with_its_line(tmp_path: Path, row: str, reason: str) -> None:
    path = manifest(tmp_path, f"{HEADER}{GOOD}{row}\n")
    message = refusal(path)
    assert message.startswith(f"{path}:3: ")
    assert reason in message
    assert "\n" not in message


def test_a_repeated_chunk_is_named_with_both_lines(tmp_path: Path) -> None:
    path = manifest(tmp_path, HEADER + GOOD + GOOD.replace("_0_", "_1_") + GOOD)
    message = refusal(path)
    assert message.startswith(f"{path}:4: ")
    assert "line 2" in message


def test_every_bad_row_is_listed(tmp_path: Path) -> None:
    path = manifest(tmp_path, HEADER + "R,a,a.wav,x,1,,,\n" + GOOD + "R,b,a.wav,5,1,,,\nR,c\n")
    assert [line.split(":")[1] for line in refusal(path).splitlines()] == ["2", "4", "5"]


def test_the_first_twenty_bad_rows_are_listed_and_the_others_counted(tmp_path: Path) -> None:
    path = manifest(tmp_path, HEADER + "".join(f"R,c{n},a.wav,x,1,,,\n" for n in range(57)))
    lines = refusal(path).splitlines()
    assert len(lines) == 21
    assert lines[19].startswith(f"{path}:21:")
    assert "37 more" in lines[20]


def test_exactly_twenty_bad_rows_leave_none_to_count(tmp_path: Path) -> None:
    path = manifest(tmp_path, HEADER + "".join(f"R,c{n},a.wav,x,1,,,\n" for n in range(20)))
    assert len(refusal(path).splitlines()) == 20


def test_an_unclosed_quote_is_an_error_with_its_line(tmp_path: Path) -> None:
    path = manifest(tmp_path, HEADER + GOOD + 'R,"c,a.wav,0,1000,,,\n' + GOOD * 10_000)
    assert f"{path}:3: " in refusal(path)


def test_hostile_ids_survive_writing_and_reading(tmp_path: Path, hostile_id: str) -> None:
    path = tmp_path / f"{hostile_id}.csv"
    chunk = Chunk(hostile_id, f"{hostile_id}_chunk_0_1000", f"{hostile_id}.wav", 0, 1000, 0, None, hostile_id)
    write_manifest(path, [chunk])
    assert list(read_manifest(path).chunks) == [chunk]


def test_what_is_written_has_all_columns_and_plain_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "REC.csv"
    write_manifest(path, [Chunk("REC", "c", "REC.wav", 0, 1000, 5, "ab", "n")])
    assert path.read_bytes() == (HEADER + "REC,c,REC.wav,0,1000,5,ab,n\n").encode()
    assert [entry.name for entry in path.parent.iterdir()] == ["REC.csv"]


def test_a_relative_source_is_looked_for_in_the_dataset_then_beside_the_manifest_then_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, csv_file: Callable[..., Path]
) -> None:
    dataset, here = tmp_path / "ds", tmp_path / "here"
    (dataset / "manifests").mkdir(parents=True)
    (dataset / ".datalad").mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    read = read_manifest(csv_file([], name="ds/manifests/REC.csv"))
    assert read.dataset_root == dataset
    assert read.locate("a.wav") == dataset / "a.wav", "where it should be, when it is nowhere"
    for place in (here / "a.wav", dataset / "manifests" / "a.wav", dataset / "a.wav"):
        place.touch()
        assert read.locate("a.wav") == place


def test_a_dangling_link_is_where_its_source_is(tmp_path: Path, csv_file: Callable[..., Path]) -> None:
    (tmp_path / "sub").mkdir()
    path = csv_file([], name="sub/REC.csv")
    (tmp_path / "sub" / "a.wav").symlink_to(".git/annex/objects/none")
    (tmp_path / "a.wav").touch()
    assert read_manifest(path).locate("a.wav") == tmp_path / "sub" / "a.wav"


def test_an_absolute_source_stays_where_it_is(tmp_path: Path, csv_file: Callable[..., Path]) -> None:
    assert read_manifest(csv_file([])).locate("/nowhere/a.wav") == Path("/nowhere/a.wav")


def test_a_given_dataset_root_goes_before_the_one_around_the_manifest(
    tmp_path: Path, csv_file: Callable[..., Path]
) -> None:
    (tmp_path / ".datalad").mkdir()
    assert read_manifest(csv_file([]), tmp_path / "other").dataset_root == tmp_path / "other"


def test_a_chunk_id_of_two_recordings_gets_a_key_with_the_recording(chunk: Callable[..., Chunk]) -> None:
    chunks = [chunk("A", chunk_id="c"), chunk("B", chunk_id="c"), chunk("B", chunk_id="d")]
    assert job_keys(chunks) == ["A/c", "B/c", "d"]


def test_two_recordings_may_share_a_chunk_id(csv_file: Callable[..., Path]) -> None:
    read = read_manifest(csv_file([("A", "c", "a.wav", 0, 1), ("B", "c", "b.wav", 0, 1)]))
    assert [chunk.recording_id for chunk in read.chunks] == ["A", "B"]


@pytest.mark.long
@pytest.mark.slow
def test_a_million_rows_take_less_than_a_gigabyte_and_a_minute(tmp_path: Path) -> None:
    path = tmp_path / "big.csv"
    with path.open("w") as stream:
        stream.write(HEADER)
        stream.writelines(
            f"REC,REC_chunk_{n * 1000}_{n * 1000 + 1000},REC.wav,{n * 1000},{n * 1000 + 1000},0,,\n"
            for n in range(1_000_000)
        )
    program = (
        "import resource, sys; from pathlib import Path; from badc.chunks.manifest import job_keys, read_manifest\n"
        "chunks = read_manifest(Path(sys.argv[1])).chunks; keys = job_keys(chunks)\n"
        "print(len(chunks), len(keys), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, timeout=60, check=True)
    rows, keys, peak_kib = map(int, done.stdout.split())
    assert (rows, keys) == (1_000_000, 1_000_000)
    assert peak_kib < 1 << 20
