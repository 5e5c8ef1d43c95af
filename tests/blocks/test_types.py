"""Saved blocks: through a real server and back, and into the settings of the commands that name them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from badc.datasets.inference.settings import OrchestrateSettings
from badc.errors import RequestError
from badc.inference.settings import InferSettings
from badc.settings.model import BLOCK_FIELDS, option_name
from tests.conftest import ROOT

pytestmark = pytest.mark.xdist_group("blocks")

MANIFEST = Path("m.csv")


@pytest.fixture(scope="module")
def saved(prefect_api: str) -> Iterator[Any]:
    """The blocks of a lab, saved, and no others: the tests share a server with those of the documentation."""
    from prefect.client.orchestration import get_client

    from blocks import types as types
    from blocks.loading import register_block_types

    register_block_types()
    with get_client(sync_client=True) as client:
        for document in client.read_block_documents():
            if document.block_type.slug.startswith("badc-"):
                client.delete_block_document(document.id)
    types.BirdnetRunner(min_confidence=0.6).save("night")
    types.CommandRunner(runner_cmd="classify --fast", environment={"BADC_TOKEN": "s3cret-value"}).save("lab")
    types.ResidentRunner(runner_resident="stay", environment={"BADC_TOKEN": "s3cret-value"}).save("resident-lab")
    types.CommandRunner(runner_cmd="other").save("night-2")
    types.StubRunner().save("night-2")
    types.GpuCluster(max_gpus=0, cpu_workers=3, gpu_pool="shared").save("small")
    types.Dataset(root="/data/ridge", sites="sites.csv", record_datalad=False).save("ridge")
    types.SlurmProfile(slurm_account="st-me", slurm_gres="gpu:1", slurm_extra=["#SBATCH --qos=long"]).save("site")
    yield types
    os.environ.pop("BADC_TOKEN", None)


def filled(settings: Any) -> Any:
    from blocks.loading import filled_from_blocks

    return filled_from_blocks(settings)


def test_a_run_gets_what_its_blocks_say(saved: Any) -> None:
    settings = filled(
        InferSettings(manifest=MANIFEST, runner_block="night", cluster_block="small", dataset_block="ridge")
    )
    assert (settings.use_birdnet, settings.min_confidence) == (True, 0.6)
    assert (settings.max_gpus, settings.cpu_workers, settings.gpu_pool) == (0, 3, "shared")
    assert settings.dataset_root == Path("/data/ridge")
    assert settings.output_dir == Path("/data/ridge/artifacts/infer")
    # The command that repeats the run needs no blocks.
    assert not [word for word in settings.to_arguments() if "block" in word]


def test_what_is_given_beside_a_block_outweighs_it_even_a_default(saved: Any) -> None:
    settings = filled(
        InferSettings(manifest=MANIFEST, runner_block="night", min_confidence=0.25, cluster_block="small")
    )
    assert (settings.min_confidence, settings.cpu_workers) == (0.25, 3)


def test_a_dataset_gets_its_place_its_sites_and_its_slurm_profile(saved: Any) -> None:
    settings = filled(OrchestrateSettings(dataset_block="ridge", slurm_profile="site", slurm_script=Path("job.sh")))
    assert (settings.root, settings.record_datalad) == (Path("/data/ridge"), False)
    assert settings.sites == Path("/data/ridge/sites.csv")
    assert (settings.slurm_account, settings.slurm_extra) == ("st-me", ("#SBATCH --qos=long",))


@pytest.mark.parametrize("block", ["lab", "resident-lab"])
def test_secrets_reach_the_command_and_no_record(saved: Any, block: str) -> None:
    settings = filled(InferSettings(manifest=MANIFEST, runner_block=block))
    assert settings.runner_env == ("BADC_TOKEN",)
    spec = settings.runner_spec()
    assert spec.secrets == (("BADC_TOKEN", "s3cret-value"),)
    records = [repr(spec), settings.model_dump_json(), " ".join(settings.to_arguments()), spec.description]
    assert not [text for text in records if "s3cret" in text]


def test_the_server_gives_secrets_only_to_who_asks_for_them(saved: Any) -> None:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        document = client.read_block_document_by_name("lab", "badc-command", include_secrets=False)
    assert "s3cret" not in json.dumps(document.data)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"runner_block": "none"}, "--runner-block none: no such block; there is badc-birdnet/night"),
        ({"cluster_block": "night"}, "--cluster-block night: no such block; there is badc-gpu-cluster/small"),
        ({"runner_block": "night-2"}, "several of this name; write badc-command/night-2 or badc-stub/night-2"),
        ({"runner_block": "lab", "use_birdnet": True}, "--runner-cmd and --use-birdnet exclude each other"),
        ({"runner_block": "lab", "min_confidence": 0.5}, "--min-confidence is for --use-birdnet"),
    ],
)
def test_what_cannot_be_used_is_named_with_the_way_out(saved: Any, values: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        filled(InferSettings(manifest=MANIFEST, **values))
    assert message in str(caught.value)


def test_a_full_name_tells_blocks_of_one_name_apart(saved: Any) -> None:
    assert filled(InferSettings(manifest=MANIFEST, runner_block="badc-command/night-2")).runner_cmd == "other"


def test_a_block_is_as_strict_as_the_options(saved: Any) -> None:
    for wrong in ({"min_confidence": 2}, {"min_confidance": 0.5}):
        with pytest.raises(ValueError, match="min_confid"):
            saved.BirdnetRunner(**wrong)
    with pytest.raises(ValueError, match="not a Slurm time limit"):
        saved.SlurmProfile(slurm_time="soon")


@pytest.mark.long
def test_prefects_own_command_registers_the_same_types(prefect_api: str, tmp_path: Path) -> None:
    from prefect.client.orchestration import get_client

    from blocks.types import TYPES_BY_OPTION

    ours = {block.get_block_type_slug() for types in TYPES_BY_OPTION.values() for block in types}
    command = [sys.executable, "-m", "prefect", "block", "register", "-f", "blocks/types.py"]
    environment = os.environ | {"PREFECT_API_URL": prefect_api}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    with get_client(sync_client=True) as client:
        known = {kind.slug for kind in client.read_block_types()}
    assert ours <= known
    assert {"command", "dataset", "commandblock", "datasetblock", "settingsblock"} & known == set()


def test_the_snippet_beside_a_block_can_be_imported(saved: Any) -> None:
    for block in (saved.CommandRunner, saved.Dataset):
        assert f"from blocks.types import {block.__name__}" in block.get_code_example()


def test_a_secret_given_as_a_name_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="name of an environment variable") as caught:
        InferSettings(manifest=MANIFEST, runner_cmd="c", runner_env=("TOKEN=s3cret",))
    assert "s3cret" not in str(caught.value.errors(include_input=False))


def test_every_runner_has_a_block() -> None:
    from blocks.parts import RUNNERS
    from blocks.types import RUNNER_BLOCKS

    parts = [block.part for block in RUNNER_BLOCKS]
    assert [kind for kind, part in RUNNERS.items() if part not in parts] == []
    assert len(parts) == len(RUNNERS)


def test_every_option_for_a_block_is_in_the_settings() -> None:
    from blocks.types import TYPES_BY_OPTION

    assert set(TYPES_BY_OPTION) == set(BLOCK_FIELDS) <= set(OrchestrateSettings.model_fields)
    assert option_name("runner_block") == "--runner-block"
