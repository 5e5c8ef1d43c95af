"""How pages are made from templates: escaped, and with one style."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from badc.reports.study.words import clean


def template(package: str, name: str) -> Template:
    """Return a template of a package's folder `templates`, in which all text is escaped."""
    return _environment(package).get_template(name)


def page_style() -> Markup:
    """Return the style sheet of all pages."""
    return Markup(template("badc.reports.page", "page.css").render())  # noqa: S704 - ours


@cache
def _environment(package: str) -> Environment:
    """Return the templates of a package, compiled once in a process."""

    def tidy(value: Any) -> Any:
        # Markup is ours and already clean; other text may contain anything that a label or a file name can.
        return clean(value) if type(value) is str else value

    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=tidy,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
