"""Commands whose options are the fields of a settings model, and the one place that renders errors."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args, get_origin

import typer

from badc.errors import BadcError, ExitCode, RequestError
from badc.system.texts import printable

if TYPE_CHECKING:  # importing pydantic takes longer than `badc --help`
    from badc.settings.model import Settings

S = TypeVar("S", bound="Settings")
# The request names a wrong path; other system errors (a full disk) are not its mistake.
_WRONG_PLACE = (NotADirectoryError, IsADirectoryError, FileExistsError, FileNotFoundError, PermissionError)

DatasetOfLog = Annotated[
    Path | None,
    typer.Argument(
        help="A dataset or folder of recordings whose newest log to show. Default: the newest of the working "
        "directory and its dataset, in artifacts/telemetry and data/telemetry/infer.",
        show_default=False,
    ),
]
LogOption = Annotated[
    Path | None, typer.Option(help="Telemetry log (JSONL) to show; a run prints its path when it starts.")
]


def with_boundary(function: Callable[..., int | None]) -> Callable[..., None]:
    """Return a command that exits with its function's code, and shows a user's mistake without a traceback."""

    @functools.wraps(function)
    def command(*args: Any, **kwargs: Any) -> None:
        try:
            code = function(*args, **kwargs) or 0
        except BadcError as error:
            print(f"badc: {printable(str(error))}", file=sys.stderr)
            code = error.exit_code
        except BrokenPipeError:  # the reader closed the pipe
            code = ExitCode.FAILED
        except OSError as error:
            print(
                f"badc: {error.filename or 'a file'}: {error.strerror or error or type(error).__name__}",
                file=sys.stderr,
            )
            code = ExitCode.WRONG_REQUEST if isinstance(error, _WRONG_PLACE) else ExitCode.FAILED
        except KeyboardInterrupt:
            print("badc: interrupted", file=sys.stderr)
            code = ExitCode.INTERRUPTED
        raise typer.Exit(code)

    return command


def options_of(model: Any) -> Callable[[Callable[..., int | None]], Callable[..., None]]:
    """Return a decorator that turns a model's fields into the options of a command.

    The function gets the filled model; its further parameters become options too.
    """

    def decorate(function: Callable[..., int | None]) -> Callable[..., None]:
        own = [_parameter(name, field) for name, field in model.model_fields.items()]
        others = {name: _other_ways(name, field) for name, field in model.model_fields.items()}
        further = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        shown = _below_headings(model, [*own, *further])

        def call(context: typer.Context, **values: Any) -> int | None:
            from badc.settings.model import settings_from

            given = {name: values.pop(name) for name in model.model_fields}
            for name, ways in others.items():
                for way in ways:
                    if (value := values.pop(way.name)) is not None:
                        _refuse_twice(context, name, model.model_fields[name])
                        given[name] = value
            given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
            changed = {
                name: value
                for name, value in given.items()
                # Also a default that was given as an option: it overrides a block.
                if value is not None and (value != model.model_fields[name].default or _is_given(context, name))
            }
            settings = with_blocks(settings_from(model, changed), bool(values.get("verbose")))
            return function(settings, **values)

        call.__name__ = function.__name__
        call.__doc__ = function.__doc__
        command = with_boundary(call)
        command.headings = tuple(model.sections)  # type: ignore[attr-defined]
        ways_first = [way for ways in others.values() for way in ways]
        context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (context, *ways_first, *shown)]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        return command

    return decorate


def _below_headings(model: Any, parameters: list[inspect.Parameter]) -> list[inspect.Parameter]:
    """Return options in the order of the model's `sections`, each with its heading; those of none come first."""
    for parameter in parameters:
        number, _ = model.in_the_help(parameter.name)
        for told in getattr(parameter.annotation, "__metadata__", ()) if number >= 0 else ():
            told.rich_help_panel = list(model.sections)[number]
    return sorted(parameters, key=lambda parameter: model.in_the_help(parameter.name))


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _refuse_twice(context: typer.Context, name: str, field: Any) -> None:
    """Refuse a value that is given in two ways."""
    from badc.settings.model import option_names

    if _is_given(context, name):
        raise RequestError(f"{option_names(name, field)[0]}: given twice, also in another way; give it once")


def _other_ways(name: str, field: Any) -> list[inspect.Parameter]:
    """Return the parameters, beside that of `_parameter`, that fill a field: an argument, or an old option's name."""
    from badc.settings.model import ARGUMENT_OR_OPTION, former_name

    way: Any
    if field.json_schema_extra == ARGUMENT_OR_OPTION:
        way = typer.Argument(help=field.description, show_default=False, metavar="TABLE")
    elif (former := former_name(field)) is not None:
        way = typer.Option(former, hidden=True)
    else:
        return []
    annotation = Annotated[Path | None, way]
    return [inspect.Parameter(f"other_{name}", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)]


def _parameter(name: str, field: Any) -> inspect.Parameter:
    from badc.settings.model import ARGUMENT, ARGUMENT_OR_OPTION, option_names

    kind = field.annotation
    repeatable = get_origin(kind) is tuple
    if repeatable:
        kind = list[get_args(kind)[0]]  # type: ignore[misc]
    if field.json_schema_extra == ARGUMENT:
        annotation: Any = Annotated[kind, typer.Argument(help=field.description, show_default=False)]
        default = inspect.Parameter.empty if field.is_required() else field.default
    else:
        if Literal["auto"] in get_args(kind):  # a number or a word, which the model tells apart
            kind = str
        shown = not any(field.default is unset for unset in (None, False, ()))
        options = option_names(name, field)
        told = "The same as the argument." if field.json_schema_extra == ARGUMENT_OR_OPTION else field.description
        annotation = Annotated[kind, typer.Option(*options, help=told, show_default=shown, case_sensitive=False)]
        default = [] if repeatable else field.default
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def with_blocks(settings: S, verbose: bool = False) -> S:
    """Return the settings, filled from the blocks that they name; `verbose` shows Prefect's own messages.

    Raises RequestError if a block does not exist or does not fit, or the configured Prefect API does not answer.
    """
    if not settings.named_blocks:
        return settings
    from flows.server.local import PrefectApi, quiet_defaults

    quiet_defaults(verbose)
    PrefectApi.begin().ready()
    from blocks.loading import filled_from_blocks

    return filled_from_blocks(settings)
