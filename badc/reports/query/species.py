"""One label a species, where some rows name it by its code and others by its name.

HawkEars' `HETH` and `Hermit Thrush` are one species, as are HawkEars' `TEWA` and BirdNET's `Tennessee Warbler`. The
codes and names in the rows themselves say so.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import pyarrow as pa


def with_joined_labels(database: duckdb.DuckDBPyConnection, rows: str, view: str) -> None:
    """Make a view of rows (a view with `label`, `label_code` and `label_name`) in which a species has one label."""
    spellings = database.execute(f"SELECT DISTINCT label, label_code, label_name FROM {rows}").fetchall()
    joined = joined_labels(spellings)
    if not joined:
        database.execute(f"CREATE VIEW {view} AS SELECT * FROM {rows}")
        return
    database.register("found_labels", pa.table({"told": list(joined), "species": list(joined.values())}))
    database.execute(f"CREATE TABLE {view}_labels AS SELECT * FROM found_labels")
    database.unregister("found_labels")
    database.execute(
        f"CREATE VIEW {view} AS SELECT r.* REPLACE (coalesce(l.species, r.label) AS label) "
        f"FROM {rows} r LEFT JOIN {view}_labels l ON l.told = r.label"
    )


def joined_labels(spellings: Sequence[tuple[str, str | None, str | None]]) -> dict[str, str]:
    """Return the label of its species for each label that has another one.

    `spellings` are label, code and name of the rows. Two labels are one species where a row that is labelled with its
    code or its name has the one as code and the other as name. The code, if it is one word, stands for both, else the
    name. A label that is neither code nor name of its row, as a custom command may write, is joined to none by that
    row.
    """
    rows = [row for row in spellings if row[0] in row[1:]]
    group: dict[str, set[str]] = {label: {label} for label, *_ in spellings}
    for _, code, name in rows:
        if code in group and name in group and group[code] is not group[name]:
            group[code] |= group[name]
            for label in group[name]:
                group[label] = group[code]
    codes = {code for _, code, _ in rows if code}
    short = {code for code in codes if len(code.split()) == 1}
    best = {label: min(labels, key=lambda t: (t not in short, t in codes, t)) for label, labels in group.items()}
    return {label: species for label, species in best.items() if species != label}
