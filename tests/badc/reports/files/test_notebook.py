"""The notebook in docs/: its cells run in their order, and give what it shows."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import tempfile
from typing import Any

import pytest

from tests.conftest import ROOT

NOTEBOOK = ROOT / "docs" / "notebook.ipynb"


def test_the_notebook_runs_and_gives_what_it_shows(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    document = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert document["nbformat"] == 4
    names: dict[str, Any] = {"__name__": "__main__"}
    cells = [cell for cell in document["cells"] if cell["cell_type"] == "code"]
    assert len(cells) > 5
    for number, cell in enumerate(cells, start=1):
        assert cell["execution_count"] == number
        assert run("".join(cell["source"]), names) == shown(cell), f"cell {number}"


def test_a_cell_that_gives_something_else_is_noticed():
    assert run("x = 1\nprint('a')\nx + 1", {}) == ("a\n", "2")
    with pytest.raises(ZeroDivisionError):
        run("1 / 0", {})


def run(source: str, names: dict[str, Any]) -> tuple[str, str]:
    """Run a cell as Jupyter does: what it prints, and its last expression's value."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    value = None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "<cell>", "exec"), names)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)
    return printed.getvalue(), "" if value is None else repr(value)


def shown(cell: dict[str, Any]) -> tuple[str, str]:
    """What the notebook has below a cell: text that was printed, and a value."""
    outputs = cell["outputs"]
    printed = "".join(text for output in outputs for text in output.get("text", ()))
    return printed, "".join(text for output in outputs for text in output.get("data", {}).get("text/plain", ()))
