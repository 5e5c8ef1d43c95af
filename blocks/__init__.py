"""The compute that a flow runs on: the Dask cluster and the task runner that drives it."""
