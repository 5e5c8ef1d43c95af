"""Nights as units of time, as those who listen at night count them.

A night lasts from noon to noon by the station's clock and is named by the date of its evening: 02:00 on 10 May belongs
to the night of 9 May.
"""

from __future__ import annotations


def night_of(moment: str) -> str:
    """Return SQL for the night (a DATE) of an SQL expression for a local TIMESTAMP; null where that is null."""
    return f"CAST({moment} - INTERVAL 12 HOUR AS DATE)"
