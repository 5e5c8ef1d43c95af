"""Entrypoints `flows/deployed.py:NAME` of deployments that were registered before the flows moved.

Prefect loads this file by its path; `import flows.deployed` finds the package beside it.
"""

from flows.deployed.flows import aggregate, infer, orchestrate, pipeline, report

__all__ = ["aggregate", "infer", "orchestrate", "pipeline", "report"]
