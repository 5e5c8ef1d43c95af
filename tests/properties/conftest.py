"""What the property tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def _fresh_runner() -> Iterator[None]:
    """Close the runner that this process keeps, before and after the test."""
    from badc.runners.current import close_runner

    close_runner()
    yield
    close_runner()
