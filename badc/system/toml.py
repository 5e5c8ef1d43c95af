"""TOML that people write: whatever is wrong with it is one kind of error."""

from __future__ import annotations

import tomllib
from typing import Any


class TomlError(Exception):
    """A text that is no TOML that can be used; the message says why."""


def parse_toml(text: str) -> dict[str, Any]:
    """Return what a TOML text says.

    Raises
    ------
    TomlError
        When it is not TOML, is nested too deeply, or has a number of thousands of digits.
    """
    try:
        document = tomllib.loads(text)
        repr(document)  # fails for a hexadecimal number that no message could show
        return document
    except RecursionError:
        raise TomlError("it is nested too deeply") from None
    except ValueError as error:  # TOMLDecodeError is one; so is a number too long for Python
        raise TomlError(str(error).partition(";")[0]) from None
