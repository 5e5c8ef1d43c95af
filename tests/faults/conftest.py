"""Faults of the field, each caused for real (docs/reliability.md)."""

from tests.flows.conftest import badc, frozen

__all__ = ["badc", "frozen"]
