"""Times and lengths as they are printed."""

from __future__ import annotations

import pytest

from badc.system.clock import hours_text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (30, "30 s"),
        (59.7, "1 min"),
        (240, "4 min"),
        (3599.9, "1.00 h"),
        (3852, "1.07 h"),
        (359_999, "100.00 h"),
        (5_000_000, "1,389 h"),
    ],
)
def test_an_amount_of_audio_is_said_in_the_unit_that_suits_it(seconds, text):
    assert hours_text(seconds / 3600) == text
