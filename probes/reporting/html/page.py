"""A report as one HTML file that needs nothing else: no network, no font."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable
from functools import cache
from hashlib import sha256
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from align._display.figure import as_inline_svg
from probes.reporting import formatting
from probes.reporting.before_after import describe_change, headlines
from probes.reporting.html.captions import CAPTIONS, caption, seen
from probes.reporting.html.items import item_renderer, printable
from probes.reporting.html.plots import figures
from probes.reporting.verdict import verdict

if TYPE_CHECKING:
    from align.data.pairs import Pairs
    from align.data.sides import Side
    from probes.reporting.model import Reading, ReportValues


class Drawing(NamedTuple):
    """A figure with its words; a narrow one may shrink to the width of a telephone."""

    svg: Markup
    title: str
    caption: str
    is_narrow: bool


def page(report: ReportValues, pairs: Pairs | None = None) -> str:
    """The report as HTML. It runs one script of its own, to sort tables, and loads nothing.

    Texts and thumbnails of the items behind the ids are taken from ``pairs``.
    """
    item = None if pairs is None else item_renderer(pairs, report)
    drawn = figures(report)
    drawings = [
        Drawing(
            Markup(as_inline_svg(name, drawn[name], label=seen(name, report))),
            words.title,
            caption(name, report),
            is_narrow=drawn[name].get_figwidth() < 5,  # inches: one panel
        )
        for name, words in CAPTIONS.items()
    ]
    return render(report, item, drawings)


def render(
    report: ReportValues,
    item: Callable[[Side, str], Markup] | None = None,
    drawings: Iterable[Drawing] = (),
) -> str:
    """The page with these drawings, and with the items that ``item`` makes of a side and an id."""
    style, script = (Markup(_resource(name)) for name in ("page.css", "page.js"))
    # Text of users is escaped; should that ever fail, the browser still runs and loads nothing.
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    return _template().render(
        report=report,
        about=report.provenance,
        verdict=verdict(report),
        headlines=headlines(report),
        families=formatting.rows_by_family(report),
        has_change=any(row.change is not None for row in report.rows),
        notes=formatting.Notes(),
        item=item,
        drawings=drawings,
        style=style,
        script=script,
        policy=Markup(policy),
    )


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    filters = {"number": formatting.number, "heading": formatting.heading}
    environment.filters |= filters | {"grouped": "{:,}".format}
    environment.globals |= {
        "ARROWS": formatting.ARROWS,
        "FAMILIES": formatting.FAMILIES,
        "bounds": formatting.bounds,
        "chance": _chance,
        "describe_change": describe_change,
    }
    return environment.from_string(_resource("page.html.jinja"))


def _finalize(value: Any) -> Any:
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _resource(name: str) -> str:
    return resources.files("probes.reporting.html").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _chance(reading: Reading) -> str:
    """``null 0.01, p 0.001``, or what there is of it."""
    parts = {"null": reading.null, "p": reading.p}
    return ", ".join(f"{name} {formatting.number(x)}" for name, x in parts.items() if x is not None)
