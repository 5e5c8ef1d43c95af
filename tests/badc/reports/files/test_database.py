"""The DuckDB database: its tables and views, how it replaces an older one, and when it does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pytest

from badc.detections.collected import embeddings_beside
from badc.detections.embeddings import Windows, gather, write_chunk
from badc.detections.tables import COVERAGE_SCHEMA, DETECTIONS_SCHEMA
from badc.errors import BadcError, RequestError
from badc.reports.files.database import make_database
from badc.reports.settings import DatabaseSettings

DAWN = "ST-1_20230509_055000"


@pytest.fixture
def parquet(write_detections, write_coverage):
    path = write_detections([(DAWN, 0, "Ovenbird", 0.5), (DAWN, 1, "Ovenbird", 1.0), ("B", 7_200_000, "=x,'\"", None)])
    write_coverage(path, [(DAWN, 0, 60_000, "ok"), (DAWN, 60_000, 120_000, "missing")])
    return path


def make(parquet: Path, database: Path | str = "made.duckdb", **more):
    return make_database(DatabaseSettings(parquet=parquet, database=Path(database), **more))


def query(database: Path | str, sql: str):
    with duckdb.connect(str(database), read_only=True) as opened:
        return opened.execute(sql).fetchall()


def columns(database: Path, table: str) -> list[str]:
    return [row[0] for row in query(database, f"DESCRIBE {table}")]


def test_tables_and_views_are_named_as_promised(parquet):
    path = make(parquet).database
    assert columns(path, "detections")[: len(DETECTIONS_SCHEMA)] == DETECTIONS_SCHEMA.names
    assert columns(path, "coverage")[: len(COVERAGE_SCHEMA)] == COVERAGE_SCHEMA.names
    assert columns(path, "label_summary") == ["label", "label_name", "detections", "avg_confidence", "events"]
    assert columns(path, "recording_summary") == ["recording_id", "detections", "avg_confidence", "events"]
    assert columns(path, "timeline_summary") == ["bucket_index", "bucket_start_ms", "detections", "avg_confidence"]
    kinds = query(path, "SELECT table_name, table_type FROM information_schema.tables ORDER BY ALL")
    assert kinds == [
        ("coverage", "BASE TABLE"),
        ("detections", "BASE TABLE"),
        ("effort", "VIEW"),
        ("event_counts", "BASE TABLE"),
        ("events", "VIEW"),
        ("label_summary", "VIEW"),
        ("recording_summary", "VIEW"),
        ("runs", "BASE TABLE"),
        ("timeline_summary", "VIEW"),
    ]


def test_embeddings_beside_the_table_are_a_view(parquet, chunk):
    windows = Windows([0, 500], 500, np.eye(2, dtype=np.float32))
    write_chunk(parquet.parent, chunk(), None, windows, {"runner": "birdnet"})
    gather(parquet.parent, "REC")
    beside = embeddings_beside(parquet)
    beside.mkdir()
    (parquet.parent / "REC.parquet").rename(beside / "00000.parquet")
    path = make(parquet).database
    assert query(path, "SELECT start_ms, embedding FROM embeddings ORDER BY 1") == [(0, [1, 0]), (500, [0, 1])]


def test_older_versions_of_duckdb_can_read_it(parquet):
    """The number after the magic bytes; 65 is that of DuckDB 1.2."""
    header = make(parquet).database.read_bytes()[:20]
    assert int.from_bytes(header[12:], "little") == 65


def test_the_views_count_detections(parquet):
    made = make(parquet, bucket_minutes=30)
    assert (made.detections, made.chunks) == (3, 2)
    assert query(made.database, "FROM label_summary") == [
        ("Ovenbird", "Ovenbird", 2, 0.75, 1),
        ("=x,'\"", "=x,'\"", 1, None, 1),
    ]
    assert query(made.database, "FROM recording_summary") == [(DAWN, 2, 0.75, 1), ("B", 1, None, 1)]
    assert query(made.database, "FROM timeline_summary") == [(0, 0, 2, 0.75), (4, 7_200_000, 1, None)]
    assert made.labels.rows == tuple(query(made.database, "FROM label_summary"))


def test_the_database_works_under_any_name_without_the_parquet(parquet):
    path = make(parquet, "o'brien [1]/x?*.duckdb").database
    for table in (parquet, parquet.with_name("d_coverage.parquet")):
        table.unlink()
    moved = path.rename("moved elsewhere.duckdb")
    assert query(moved, "SELECT sum(detections) FROM label_summary") == [(3,)]
    assert list(Path("o'brien [1]").iterdir()) == [], "nothing is left beside it"


def test_the_exports_are_the_whole_views(parquet):
    made = make(parquet, export_dir=Path("e"), top_labels=1, top_recordings=1)
    assert [path.name for path in made.written] == ["label_summary.csv", "recording_summary.csv", "timeline.csv"]
    assert made.written[0].read_text() == (
        'label,label_name,detections,avg_confidence,events\nOvenbird,Ovenbird,2,0.75,1\n"=x,\'""","=x,\'""",1,,1\n'
    )
    assert made.written[1].read_text() == f"recording_id,detections,avg_confidence,events\n{DAWN},2,0.75,1\nB,1,,1\n"
    assert len(made.labels.rows) == len(made.recordings.rows) == 1


def test_min_confidence_leaves_rows_out_of_the_table(parquet):
    assert query(make(parquet, min_confidence=0.75).database, "SELECT confidence FROM detections") == [(1.0,)]


def test_an_older_database_is_replaced_as_a_whole(parquet):
    with duckdb.connect("made.duckdb") as old:
        old.execute("CREATE TABLE notes AS SELECT 1 AS n")
    make(parquet)
    assert query("made.duckdb", "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'notes'") == [(0,)]
    assert not list(Path().glob("*.wal"))


def test_a_link_into_an_annex_is_replaced_and_not_written_through(parquet):
    stored = make(parquet, "object").database
    content = stored.read_bytes()
    stored.chmod(0o444)
    Path("made.duckdb").symlink_to(stored)
    path = make(parquet).database
    assert not path.is_symlink()
    assert stored.read_bytes() == content


@pytest.mark.parametrize("read_only", [True, False])
def test_a_database_that_another_program_has_open_stays(parquet, read_only):
    path = make(parquet).database
    before = path.read_bytes()
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import duckdb, sys; c = duckdb.connect({str(path)!r}, read_only={read_only}); print(flush=True); "
            "sys.stdin.read()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout.readline() == b"\n"
        with pytest.raises(RequestError, match=r"made\.duckdb: the database is open elsewhere; close it there"):
            make(parquet, min_confidence=1)
    finally:
        holder.communicate()
    assert path.read_bytes() == before
    assert make(parquet, min_confidence=1).detections == 1


@pytest.mark.parametrize("read_only", [True, False])
def test_a_database_that_this_program_has_open_stays(parquet, read_only):
    path = make(parquet).database
    before = path.read_bytes()
    with (
        duckdb.connect(str(path), read_only=read_only),
        pytest.raises(RequestError, match="the database is open elsewhere"),
    ):
        make(parquet)
    assert path.read_bytes() == before


def test_what_is_no_database_is_not_overwritten(parquet):
    for name, content in {"notes.txt": "a year of work\n" * 1000, "x.csv": "a,b\n1,2\n", "empty.duckdb": ""}.items():
        Path(name).write_text(content)
        with pytest.raises(RequestError, match=f"{name}: is not a DuckDB database, so it is not replaced"):
            make(parquet, name)
        assert Path(name).read_text() == content
    Path("folder").mkdir()
    with pytest.raises(RequestError, match="folder: is a folder; name the database to write"):
        make(parquet, "folder")


def test_a_failure_half_way_leaves_the_old_one_and_no_rest(parquet, write_detections):
    path = make(parquet).database
    before = path.read_bytes()
    damaged = write_detections([(f"R{n}", n, f"label {n}", 0.5) for n in range(2000)], "damaged.parquet")
    content = bytearray(damaged.read_bytes())
    content[100:3000] = b"\xff" * 2900
    damaged.write_bytes(content)
    files = set(Path().iterdir())
    with pytest.raises(BadcError, match=r"damaged\.parquet"):
        make(damaged)
    assert path.read_bytes() == before
    assert set(Path().iterdir()) == files
