"""The Dask side: the cluster, its slots, and what runs on a worker."""
