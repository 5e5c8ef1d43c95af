"""What Prefect and Dask add around one call into `badc`: tasks, artifacts, and the worker's side of a task."""
