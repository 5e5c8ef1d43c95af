"""Messages as tables show them."""

from __future__ import annotations

import pytest

from badc.errors import in_a_line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a.wav: is empty", "a.wav: is empty"),
        ("3 of 3 chunks have no usable audio:\na.wav: is empty", "3 of 3 chunks have no usable audio: a.wav: is empty"),
        ("first\nsecond", "first"),
        ("", ""),
    ],
)
def test_a_line_says_what_its_colon_announces(text: str, line: str) -> None:
    assert in_a_line(text) == line
