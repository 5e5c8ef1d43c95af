"""Prefect blocks: settings saved under a name."""
