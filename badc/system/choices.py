"""Closed sets of words that a user chooses from."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Self, TypeVar


class Choice(StrEnum):
    """A closed set of words; upper and lower case are the same.

    Examples
    --------
    >>> class Format(Choice):
    ...     RAVEN = "raven"
    >>> Format("Raven")
    <Format.RAVEN: 'raven'>
    """

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        word = str(value).casefold()
        return next((choice for choice in cls if choice.value.casefold() == word), None)


C = TypeVar("C", bound=Choice)


def chosen(choices: type[C], words: Sequence[str]) -> tuple[C, ...]:
    """Return the choices that words mean, each once; raise ValueError for the first that means none."""
    found: dict[C, None] = {}
    for word in words:
        try:
            found[choices(word)] = None
        except ValueError:
            raise ValueError(f"'{word}' is not one of {', '.join(choices)}") from None
    return tuple(found)
