"""Slurm: job scripts that run a dataset's inference on a cluster.

`array_script` writes one array task per manifest, `dask_script` one job with workers on several nodes. Both are made
from the templates beside this file, in which every value is quoted for the shell.
"""
