"""Texts that a spreadsheet would run as a formula, marked as text with an apostrophe (`--for-spreadsheets`)."""

from __future__ import annotations

import re

_FORMULA = r"^[=+\-@\t\r]"
_NUMBER = r"^[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?$"


def text_cell(sql: str) -> str:
    """Return SQL for a text, with an apostrophe before it if a spreadsheet would run it."""
    runs = f"regexp_matches({sql}, '{_FORMULA}') AND NOT regexp_matches({sql}, '{_NUMBER}')"
    return f"CASE WHEN {runs} THEN '''' || {sql} ELSE {sql} END"


def text_of(text: str) -> str:
    """Return a text, with an apostrophe before it if a spreadsheet would run it."""
    return f"'{text}" if re.match(_FORMULA, text) and not re.match(_NUMBER, text) else text
