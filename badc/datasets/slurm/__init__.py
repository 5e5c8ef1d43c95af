"""Slurm: job scripts that run a dataset's inference on a cluster, from the templates beside this file.

`array_script` writes one array task per manifest, `dask_script` one job with workers on several nodes.
"""
