"""Entrypoints `flows/deployed.py:NAME`, which servers keep of deployments that were registered before the flows moved.

Python never imports this file by name, as the package beside it comes first; Prefect loads it by its path.
"""

from flows.deployed.flows import aggregate, infer, orchestrate, pipeline, report

__all__ = ["aggregate", "infer", "orchestrate", "pipeline", "report"]
