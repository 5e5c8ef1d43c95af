"""Commands whose help leads: options below headings, in panels on a terminal; nothing is cut off at its right edge."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from io import StringIO
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from flows.cli.old_spellings import answer, as_now

_NO_HEADING = "Options"
_NO_LIMIT = 10_000
F = TypeVar("F", bound=Callable[..., Any])
Rows = list[tuple[str, str]]


class Command(TyperCommand):
    """A command with its options below the headings that they name (`rich_help_panel`), in the order of these."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take the words of a command line, those of earlier tools too."""
        name = ctx.command_path.partition(" ")[2]
        if (told := answer(name, args)) is not None:
            raise typer.BadParameter(told, ctx)
        return super().parse_args(ctx, as_now(name, args))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments and options."""
        sections: dict[str, Rows] = {"Arguments": [], _NO_HEADING: []}
        for parameter in self.get_params(ctx):
            if (record := parameter.get_help_record(ctx)) is not None:
                is_argument = parameter.param_type_name == "argument"
                heading = "Arguments" if is_argument else getattr(parameter, "rich_help_panel", None) or _NO_HEADING
                sections.setdefault(heading, []).append(_fitting(record, formatter.width))
        for heading in sorted(sections, key=_order(self)):
            _write_section(formatter, heading, sections[heading])


class Group(TyperGroup):
    """A group of commands that are listed below headings, each with a whole sentence."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write what the commands do."""
        sections: dict[str, Rows] = {}
        for name in self.list_commands(ctx):
            command: Any = self.get_command(ctx, name)
            if not command.hidden:
                heading = getattr(command, "rich_help_panel", None) or "Commands"
                sections.setdefault(heading, []).append((name, command.get_short_help_str(_NO_LIMIT)))
        for heading, rows in sections.items():
            with formatter.section(heading):
                formatter.write_dl(rows)


class App(typer.Typer):
    """Commands with such help, which `-h` shows too."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(
            rich_markup_mode=None,  # the help is drawn here
            context_settings={"help_option_names": ["-h", "--help"]},
            **({"cls": Group} | settings),
        )

    def command(self, name: str | None = None, **settings: Any) -> Callable[[F], F]:
        """Return a decorator, as `typer.Typer.command` does."""
        return super().command(name, **({"cls": Command} | settings))


def _order(command: Command) -> Any:
    """Return the key that sorts headings: arguments, no heading, then as the settings have them."""
    known = ["Arguments", *getattr(command.callback, "headings", ()), _NO_HEADING]
    return lambda heading: known.index(heading) if heading in known else len(known)


def _fitting(record: tuple[str, str], width: int) -> tuple[str, str]:
    """Return an option and its help, with names that are too long for a line on several."""
    names, text = record
    return (names if len(names) < width - 2 else names.replace(" / ", " /\n  ").replace(", ", ",\n  ")), text


def _write_section(formatter: Any, heading: str, rows: Sequence[tuple[str, str]]) -> None:
    if not rows:
        return
    if not sys.stdout.isatty():
        with formatter.section(heading):
            formatter.write_dl(rows)
        return
    from rich import box
    from rich.console import Console
    from rich.panel import Panel
    from rich.text import Text

    inner = type(formatter)(width=formatter.width - 4)
    inner.write_dl(rows)
    drawn = StringIO()
    console = Console(file=drawn, force_terminal=True, width=formatter.width, highlight=False)
    text = Text(inner.getvalue().rstrip("\n"))
    text.highlight_regex(r"(?<![\w-])--?[a-z][\w-]*", "cyan")
    console.print(Panel(text, title=heading, title_align="left", border_style="dim", box=box.ROUNDED))
    formatter.write(drawn.getvalue())
