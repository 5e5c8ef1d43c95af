"""Prefect blocks: settings that are saved under a name; the Dask cluster, and the task runner that drives it."""
