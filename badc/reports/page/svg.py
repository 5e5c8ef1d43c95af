"""Inline SVG, piece by piece; every text and attribute is escaped here."""

from __future__ import annotations

from markupsafe import Markup, escape

from badc.reports.study.words import clean


def element(tag: str, *children: str, **attributes: object) -> Markup:
    """Return an element; `stroke_width` becomes `stroke-width`, `class_` becomes `class`, None is left out."""
    words = [
        f' {name.rstrip("_").replace("_", "-")}="{escape(_short(value))}"'
        for name, value in attributes.items()
        if value is not None
    ]
    inside = "".join(escape(child) for child in children)
    made = f"<{tag}{''.join(words)}>{inside}</{tag}>" if inside else f"<{tag}{''.join(words)}/>"
    return Markup(made)  # noqa: S704 - its parts are escaped


def _short(value: object) -> str:
    """Return an attribute; a tenth of a pixel is enough."""
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)


def rect(x: float, y: float, width: float, height: float, class_: str, title: str | None = None) -> Markup:
    """Return a rectangle; `title` shows on hover."""
    children = () if title is None else (element("title", clean(title)),)
    return element("rect", *children, x=float(x), y=float(y), width=float(width), height=float(height), class_=class_)


def text(x: float, y: float, words: str, class_: str | None = None, anchor: str | None = None) -> Markup:
    """Return a text; `anchor` is `middle` or `end`."""
    return element("text", clean(words), x=float(x), y=float(y), class_=class_, text_anchor=anchor)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """Return a line."""
    return element("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), class_=class_)


def picture(width: float, height: float, name: str, class_: str, *children: str) -> Markup:
    """Return an SVG that is one image to a screen reader, with this name."""
    return element(
        "svg",
        *children,
        viewBox=f"0 0 {width:g} {height:g}",
        class_=class_,
        role="img",
        aria_label=clean(name),
    )
