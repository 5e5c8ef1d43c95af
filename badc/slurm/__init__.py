"""Slurm: job scripts that run a dataset's inference on a cluster.

`array_script` writes one array task per manifest, `dask_script` one job with workers on several nodes. Both are made
from the templates beside this file, in which every value is quoted for the shell.
"""

from badc.slurm.array_script import CHUNKS_NOT_COMPLETED_EXIT_CODE, ArrayTask, write_array_scripts
from badc.slurm.dask_script import write_dask_script
from badc.slurm.rendering import WrittenScript
from badc.slurm.settings import SlurmSettings

__all__ = [
    "CHUNKS_NOT_COMPLETED_EXIT_CODE",
    "ArrayTask",
    "SlurmSettings",
    "WrittenScript",
    "write_array_scripts",
    "write_dask_script",
]
