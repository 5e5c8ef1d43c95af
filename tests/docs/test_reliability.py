"""Each promise of docs/reliability.md names the tests that cause the fault, and they exist."""

from __future__ import annotations

import re

from tests.conftest import ROOT

ROWS = [
    line.strip("| ").split(" | ")
    for line in (ROOT / "docs" / "reliability.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| case |")
]
TESTS = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^(?:async )?def test_(\w+)\(", path.read_text(), re.MULTILINE)
}


def test_every_promise_has_its_tests() -> None:
    assert len(ROWS) > 100, "the tables are found"
    lacking = [
        f"{row[0]}: {words}"
        for row in ROWS
        for words in (row[2].split("; ") if len(row) == 3 else ["(no tests named)"])
        if words.replace(" ", "_") not in TESTS
    ]
    assert lacking == []
