"""Tables on stdout: drawn on a terminal, tab-separated when piped."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any


def print_table(rows: Sequence[dict[str, Any]], title: str | None = None) -> None:
    """Print rows that share their keys; numbers are set to the right."""
    if not rows:
        return
    if not sys.stdout.isatty():
        print("\t".join(rows[0]))
        for row in rows:
            print("\t".join("" if value is None else str(value) for value in row.values()))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for name, value in rows[0].items():
        table.add_column(name, justify="right" if isinstance(value, int | float) else "left", overflow="fold")
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    Console(markup=False, highlight=False).print(table)
