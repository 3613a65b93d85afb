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

from align._display.figure import as_inline_svg, dark_figures
from align.metrics.panels import QUERIES_OF_EACH, subgroup_cells
from probes.reporting import formatting
from probes.reporting.about import about_or_none
from probes.reporting.before_after import describe_change, headlines
from probes.reporting.html.captions import CAPTIONS, caption, seen
from probes.reporting.html.items import item_renderer, printable
from probes.reporting.html.plots import figure
from probes.reporting.verdict import conclusion, findings

if TYPE_CHECKING:
    from align.data.sides import Side
    from probes.reporting.items import ReportItems
    from probes.reporting.model import Reading, ReportValues


class Drawing(NamedTuple):
    """A figure with its words; a narrow one may shrink to the width of a telephone."""

    svg: Markup
    title: str
    caption: str
    is_narrow: bool


def page(report: ReportValues, items: ReportItems | None = None) -> str:
    """The report as HTML. It runs one script of its own, to sort tables, and loads nothing.

    ``items`` are shown behind the ids, as texts and thumbnails; ids alone without.
    """
    item = None if items is None else item_renderer(items)
    drawn = {name: figure(name, report) for name in CAPTIONS}
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
    style, script = Markup(_resource("page.css") + dark_figures()), Markup(_resource("page.js"))
    # Text of users is escaped; should that ever fail, the browser still runs and loads nothing.
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    said = conclusion(report)
    return _template().render(
        report=report,
        about=report.provenance,
        conclusion=said,
        findings=[words for words in findings(report).values() if not said.startswith(words)],
        headlines=headlines(report),
        families=formatting.rows_by_family(report),
        notes=formatting.Notes(),
        not_defined=formatting.undefined(report),
        explained=[words for row in report.rows if (words := about_or_none(row.name))],
        subgroups=list(zip(report.subgroups, subgroup_cells(report.subgroups), strict=True)),
        subgroups_note=QUERIES_OF_EACH,
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
        "about_or_none": about_or_none,
        "bounds": formatting.bounds,
        "defined": formatting.defined,
        "label": formatting.label,
        "searched_by": formatting.searched_by,
        "side_name": formatting.side_name,
        "sides_of": formatting.sides_of,
        "chance": _chance,
        "effect": _effect,
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
    """``chance 0.01, p 0.001``, or what there is of it."""
    parts = {"chance": reading.null, "p": reading.p}
    return ", ".join(f"{name} {formatting.number(x)}" for name, x in parts.items() if x is not None)


def _effect(reading: Reading) -> str:
    """``effect 62 %``, if there is one."""
    shown = formatting.effect(reading)
    return f"effect {shown}" if shown else ""
