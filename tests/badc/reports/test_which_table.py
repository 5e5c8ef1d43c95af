"""Which table a folder means."""

from __future__ import annotations

from pathlib import Path

import pytest

from badc.errors import RequestError
from badc.reports.which_table import table_in


def touch(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


@pytest.mark.parametrize("inside", ["", "artifacts/aggregate", "badc/artifacts/aggregate"])
def test_a_folder_means_its_only_table_of_detections(tmp_path, inside):
    touch(tmp_path / inside, "REC.parquet", "REC_coverage.parquet", "REC.duckdb")
    assert table_in(tmp_path) == tmp_path / inside / "REC.parquet"
    assert table_in(tmp_path / inside / "REC.parquet") == tmp_path / inside / "REC.parquet"


def test_a_table_that_is_only_named_like_coverage_is_one(tmp_path):
    touch(tmp_path, "vegetation_coverage.parquet")
    assert table_in(tmp_path) == tmp_path / "vegetation_coverage.parquet"


def test_of_several_tables_the_one_of_all_is_meant_or_one_is_to_be_named(tmp_path):
    folder = tmp_path / "artifacts/aggregate"
    touch(folder, "A.parquet", "A_coverage.parquet", "B.parquet")
    with pytest.raises(RequestError) as refused:
        table_in(tmp_path)
    assert f"{tmp_path}: 2 tables of detections in {folder}; name one of them:" in str(refused.value)
    assert f"\n{folder}/A.parquet\n{folder}/B.parquet\n" in str(refused.value)
    touch(folder, "detections.parquet", "detections_coverage.parquet")
    assert table_in(tmp_path) == folder / "detections.parquet"


def test_a_folder_without_a_table_is_refused_and_a_path_that_is_not_there_is_left_to_the_report(tmp_path):
    touch(tmp_path, "summary.csv")
    with pytest.raises(RequestError, match=r"no table of detections \(\*\.parquet\) in it, nor in its artifacts/aggre"):
        table_in(tmp_path)
    assert table_in(tmp_path / "none.parquet") == tmp_path / "none.parquet"
