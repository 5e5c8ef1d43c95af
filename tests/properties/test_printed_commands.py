"""Commands that are printed: pasted into a shell, they give the same arguments, and these the same settings."""

from __future__ import annotations

import glob
import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import typer
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError
from typer.testing import CliRunner

from badc.datalad.run import DataladRun
from badc.inference.settings import InferSettings
from badc.runners.registry import RUNNERS
from badc.settings.model import BLOCK_FIELDS
from flows.cli.options import options_of
from tests.properties.examples import NAMES, TEXTS, examples, values_of

_OF_RUNNERS = {name for spec in RUNNERS for name in spec.own_options()} | {
    spec.switch.field for spec in RUNNERS if spec.switch is not None
}
_SHARED = sorted(set(InferSettings.model_fields) - _OF_RUNNERS - set(BLOCK_FIELDS) - {"manifest", "redo_before"})


@st.composite
def runs(draw: st.DrawFn) -> InferSettings:
    """Draw the settings of a run with one of the runners, or with the stub."""
    spec = draw(st.sampled_from(RUNNERS))
    names = draw(st.sets(st.sampled_from([*_SHARED, *spec.own_options()]), max_size=6)) | {"manifest"}
    values: dict[str, Any] = {name: draw(values_of(InferSettings.model_fields[name])) for name in sorted(names)}
    if (choice := spec.choice()) is not None:
        values[choice] = True if spec.switch is not None else draw(NAMES)
    try:
        return InferSettings(**values)
    except ValidationError:
        assume(False)
        raise


def _split_by_bash(line: str) -> list[str]:
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True)
    return done.stdout.decode().split("\0")[:-1]


@pytest.fixture(scope="module")
def parse() -> Callable[[list[str]], Any]:
    """Return a function that returns the settings that `badc infer run` makes of its arguments."""
    app = typer.Typer()
    seen: list[InferSettings] = []

    @app.command()
    @options_of(InferSettings)
    def command(settings: InferSettings) -> None:
        seen.append(settings)

    def run(words: list[str]) -> Any:
        done = CliRunner().invoke(app, words)
        return seen.pop() if seen else done.output

    return run


@examples(12, 1000)
@given(settings=runs())
def test_the_arguments_of_a_run_give_its_settings(parse: Callable[[list[str]], Any], settings: InferSettings) -> None:
    words = settings.to_arguments()
    assert _split_by_bash(shlex.join(words)) == words
    as_said = {"use_hawkears": False} if settings.runs_stub else {}  # a command names its runner, also the default
    assert parse(words) == settings.model_copy(update=as_said)


@examples(10, 2000)
@given(command=st.lists(TEXTS, min_size=1, max_size=5), file=NAMES, folder=NAMES)
def test_a_line_for_datalad_gives_the_command_and_its_files(command: list[str], file: str, folder: str) -> None:
    assume("\n" not in file + folder)  # refused where paths are read, see `inside`
    with TemporaryDirectory() as base:
        root = Path(base, folder)
        root.mkdir()
        (root / file).touch()
        run = DataladRun(root, "Infer it", tuple(command), inputs=(file,), output_files=(file,))
        words = _split_by_bash(run.line())
        assert words[:6] == ["datalad", "-C", str(root), "run", "-m", "Infer it"]
        _, given, _, written, dashes, *found = words[6:]
        assert dashes == "--"
        assert [re.sub(r"\{\{|\}\}", lambda braces: braces[0][0], word) for word in found] == command
        for pattern in (given, written):
            found_files = glob.glob(pattern, root_dir=root, include_hidden=True)  # noqa: PTH207 - as DataLad does
            assert file in map(os.path.normpath, found_files)
