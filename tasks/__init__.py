"""What Prefect and Dask add to one call into `badc`: tasks, artifacts, and the worker's side of a task."""
