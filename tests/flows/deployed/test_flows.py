"""What the runs of deployments are called."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("root", "block", "named"),
    [(None, None, None), ("/data/ridge", None, "ridge"), (None, "north", "valley"), (None, "nowhere", "nowhere")],
)
def test_a_run_has_the_name_of_its_dataset(
    prefect_api: str, root: str | None, block: str | None, named: str | None
) -> None:
    from blocks.types import Dataset
    from flows.deployed.flows import _root_of
    from flows.infer import name_of_run

    Dataset(root="/data/valley").save("north", overwrite=True)
    expected = "infer REC" if named is None else f"infer {named}/REC"
    assert name_of_run(Path("/data/REC.csv"), _root_of(root, block)) == expected
