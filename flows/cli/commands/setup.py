"""`badc setup`: register BADC's block types with Prefect."""

from __future__ import annotations


def setup() -> None:
    """Register BADC's block types with Prefect, or update them; it can be run again at any time.

    Runners, workers, datasets and Slurm profiles can then be saved in Prefect's UI (Blocks), and named in
    --runner-block, --cluster-block, --dataset-block and --slurm-profile. PREFECT_API_URL says which server; without it,
    it is this user's own local database.
    """
    from flows.server.local import PrefectApi, quiet_defaults

    quiet_defaults(verbose=False)
    PrefectApi.begin().ready()
    from blocks.loading import register_block_types

    for name in register_block_types():
        print(name)
