"""The help: it leads, teaches, is cut nowhere, and the documentation says as much."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from flows.cli.main import GROUPS, _words_typed, build
from tests.conftest import ROOT
from tests.fakes.command_line import badc


def commands() -> list[list[str]]:
    """Every command there is, as its words."""
    found: list[list[str]] = []

    def walk(command: object, words: list[str]) -> None:
        found.append(words)
        for name, inner in getattr(command, "commands", {}).items():
            walk(inner, [*words, name])

    walk(typer.main.get_command(build(list(GROUPS))), [])
    return found


@pytest.mark.parametrize("words", commands(), ids=lambda words: " ".join(words) or "badc")
def test_every_help_teaches_and_is_plain_text(words, tmp_path):
    done = badc(*words, "--help", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage: badc")
    assert done.stderr == ""
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize("on_a_terminal", [False, True])
def test_at_80_columns_no_help_is_cut(on_a_terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: on_a_terminal)
    seen = 0
    for words in commands():
        command, told = help_of(*words)
        assert ("╭─" in told) == (on_a_terminal and not hasattr(command, "commands"))
        assert [line for line in told.splitlines() if len(line) > 80] == [], words
        for parameter in command.params:
            if not getattr(parameter, "hidden", False) and parameter.param_type_name == "option":
                seen += 1
                assert all(option in told for option in (*parameter.opts, *parameter.secondary_opts)), words
        whole = " ".join(told.split())
        for name, inner in getattr(command, "commands", {}).items():
            assert f"{name} {inner.get_short_help_str(10_000)}" in whole
            assert not inner.get_short_help_str(10_000).endswith("..."), name
    assert seen > 200


def help_of(*words: str) -> tuple[Any, str]:
    """A command and its help, without colours."""
    command: Any = typer.main.get_command(build(words[:1]))
    for word in words:
        command = command.commands[word]
    with command.make_context(" ".join(["badc", *words]), [], resilient_parsing=True) as context:
        return command, re.sub("\x1b\\[[0-9;]*m", "", command.get_help(context))


def test_the_help_leads(tmp_path):
    done = badc("-h", cwd=tmp_path).stdout
    ways = ["badc pipeline run FOLDER", "badc infer run MANIFEST", "badc infer orchestrate DATASET", "\nOptions:"]
    order = ["pipeline", "chunk", "infer", "report", "review", "species-list", "telemetry", "gpus", "setup", "server"]
    places = [done.index(word) for word in (*ways, *(f"\n  {name} " for name in order))]
    assert places == sorted(places)
    assert badc("--version", cwd=tmp_path).stdout == badc("version", cwd=tmp_path).stdout


def test_a_runs_options_have_headings_with_the_usual_first():
    told = help_of("infer", "run")[1]
    headings = re.findall(r"^(\w[^:\n]*):$", told, re.MULTILINE)
    assert headings[:6] == ["Arguments", "Runner", "BirdNET", "HawkEars", "ONNX", "Workers"]
    assert headings[6:] == ["Retries", "Places", "Prefect", "Options"]
    first = re.findall(r"^\w[^:\n]*:\n  (--[\w-]+)", told, re.MULTILINE)
    assert first[:5] == ["--use-birdnet", "--min-confidence", "--hawkears-arg", "--labels", "--max-gpus"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("inferr", "run"), "No such command 'inferr'. Did you mean 'infer'?"),
        (("infer", "run", "m.csv", "--use-birdnt"), "--use-birdnet"),
    ],
)
def test_a_mistyped_word_gets_a_suggestion(words, told, tmp_path):
    done = badc(*words, cwd=tmp_path)
    assert (done.returncode, told in done.stderr) == (2, True)


def test_a_shell_completes_the_commands_of_a_group(tmp_path, monkeypatch):
    given = {"_BADC_COMPLETE": "complete_bash", "COMP_WORDS": "badc infer or", "COMP_CWORD": "2"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert badc(cwd=tmp_path).stdout.split() == ["orchestrate"]
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "badc report su")  # as zsh and fish ask
    assert _words_typed() == ["report", "su"]


def test_every_command_and_option_is_documented():
    pages = [path.read_text() for path in (ROOT / "docs").glob("*.md")]
    app = typer.main.get_command(build(list(GROUPS)))
    missing = []
    for words in commands():
        command = app
        for word in words:
            command = command.commands[word]
        name = " ".join(["badc", *words])
        # Only in pages about this command: another one may have an option of the same name.
        own = [page for page in pages if re.search(rf"{re.escape(name)}(?![\w-])", page)]
        if not hasattr(command, "commands") and not own:
            missing.append(name)
        missing += [
            f"{name} {option}"
            for parameter in command.params
            if not getattr(parameter, "hidden", False)
            for option in (*parameter.opts, *parameter.secondary_opts)
            if option.startswith("--") and option != "--help" and not any(has_option(page, option) for page in own)
        ]
    assert missing == []


def has_option(page: str, option: str) -> bool:
    """Whether the page has the option as a whole word in backticks, with or without a value."""
    return re.search(rf"`{re.escape(option)}(?:[ =][^`\n]*)?`", page) is not None


def test_the_list_of_commands_has_every_command():
    page = (ROOT / "docs" / "commands.md").read_text()
    listed = set()
    for cell in re.findall(r"^\| \[(`badc .*?)\]\(", page, re.MULTILINE):
        first, *others = re.findall("`([^`]+)`", cell)
        listed |= {first, *(f"{first.rpartition(' ')[0]} {word}" for word in others)}
    groups = [words[:-1] for words in commands()]
    assert listed == {f"badc {' '.join(words)}" for words in commands() if words not in groups}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("chunk split a.wav --chunk-duration 45 --manifest m.csv", "`badc chunk manifest AUDIO --output FILE` writes"),
        ("chunk probe --file a.wav --gpu 0", "--gpu-index N chooses the GPU"),
        ("pipeline run ds --chunk-plan=plan.json", "`badc chunk orchestrate DATASET --plan-json FILE` writes the plan"),
        ("infer run --manifest m.csv --use-birdnet", "m.csv: no such manifest"),
        ("infer run --manifest=m.csv", "m.csv: no such manifest"),
        ("chunk split --file no.wav", "no.wav: no such audio file"),
    ],
)
def test_options_of_earlier_tools_work_or_are_answered(words: str, told: str, tmp_path: Path) -> None:
    done = badc(*words.split(), cwd=tmp_path)
    assert done.returncode == 2
    assert told in " ".join(done.stderr.split())
