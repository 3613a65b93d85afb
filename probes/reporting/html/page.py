"""A report as one HTML file that needs nothing else: no network, no script, no font."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from hashlib import sha256
from importlib import resources
from typing import TYPE_CHECKING

from probes.reporting.html.captions import CAPTIONS, caption, seen
from probes.reporting.html.escape import escaped
from probes.reporting.html.items import Items
from probes.reporting.html.plots import as_inline_svg, figures
from probes.reporting.html.tables_of_items import failure_table, hub_table
from probes.reporting.html.tables_of_measures import cards, caution, tables
from probes.reporting.verdict import verdict

if TYPE_CHECKING:
    from align.data.pairs import Pairs
    from probes.reporting.model import ReportValues

_NARROW = 5
"""Inches; a figure of one panel is narrower, and may shrink to the width of a telephone."""

_SECTIONS = {
    "verdict": "Verdict",
    "measures": "Measures",
    "figures": "Figures",
    "failures": "Failures",
    "hubs": "Hubs",
    "provenance": "Provenance",
}


def page(report: ReportValues, pairs: Pairs | None = None) -> str:
    """The report as HTML. It runs one script of its own, to sort tables, and loads nothing.

    Args:
        report: The report.
        pairs: The items behind the ids, to show texts and thumbnails; ids alone without.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: The report names an id that is not among the pairs.
    """
    items = None if pairs is None else Items(pairs, report)
    style, script = (
        resources.files("probes.reporting.html").joinpath(name).read_text(encoding="utf-8")
        for name in ("page.css", "page.js")
    )
    # Text of users is escaped; should that ever fail, the browser still runs and loads nothing.
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    title = f"Modality gap of {report.provenance.pairs:,} pairs"
    bodies = (
        _verdict(report), _measures(report), _figures(report),
        _failures(report, items), _hubs(report, items), _provenance(report),
    )  # fmt: skip
    sections = "\n".join(
        f'<section id="{id}" aria-labelledby="{id}-title">\n<h2 id="{id}-title">{name}</h2>\n'
        f"{body}\n</section>"
        for (id, name), body in zip(_SECTIONS.items(), bodies, strict=True)
    )
    links = "".join(f'<li><a href="#{id}">{name}</a></li>' for id, name in _SECTIONS.items())
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<a class="skip" href="#verdict">Skip to the verdict</a>
<header>
<h1>{title}</h1>
<p>{_facts(report)}</p>
<nav aria-label="Sections"><ul>{links}</ul></nav>
</header>
<main>
{sections}
</main>
<script>{script}</script>
</body>
</html>
"""


def _hash(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _facts(report: ReportValues) -> str:
    made = report.provenance
    facts = [
        f"{made.groups:,} groups", f"gallery of {made.pairs:,}",
        f"source {made.source_dim:,}-d", f"target {made.target_dim:,}-d",
        f"isthmus {made.versions.get('isthmus', 'of unknown version')}",
    ]  # fmt: skip
    return escaped(" \N{MIDDLE DOT} ".join(facts))


def _verdict(report: ReportValues) -> str:
    return f'<p class="verdict">{escaped(verdict(report))}</p>\n{cards(report)}'


def _measures(report: ReportValues) -> str:
    made = report.provenance
    return (
        "<p>Each cell holds a value, its 95\N{NO-BREAK SPACE}% interval in brackets, what it would "
        "be with nothing there (null), and the chance of such a value then (p). An arrow says "
        "which way is better, and a change is called better or worse only where both values are on "
        "one scale. The centred state is a control: what subtracting the means does by itself. "
        f"n is given where it is not {made.pairs:,} pairs.</p>\n{caution(report)}"
        f"{tables(report)}"
    )


def _figures(report: ReportValues) -> str:
    drawn = figures(report)
    parts = []
    for name, (title, _) in CAPTIONS.items():
        kind = "narrow" if drawn[name].get_figwidth() < _NARROW else "wide"
        svg = as_inline_svg(name, drawn[name], label=seen(name, report))
        parts.append(
            f'<figure class="{kind}"><div class="scroll" role="region" tabindex="0" '
            f'aria-label="{title}">{svg}</div>\n'
            f"<figcaption><h3>{title}</h3><p>{caption(name, report)}</p></figcaption></figure>"
        )
    return "\n".join(parts)


def _failures(report: ReportValues, items: Items | None) -> str:
    return (
        f"<p>Searches{_searched(report)} in a gallery of {report.provenance.pairs:,} in which "
        "something else came before the match, the worst of each direction.</p>\n"
        f"{failure_table(report, items)}"
    )


def _hubs(report: ReportValues, items: Items | None) -> str:
    k = report.provenance.k
    return (
        f"<p>The items that stand most often among the {k} best answers{_searched(report)}. By "
        f"chance an item would stand there about {k} times.</p>\n{hub_table(report, items)}"
    )


def _searched(report: ReportValues) -> str:
    """Which state was searched."""
    return f" ({report.searched})" if report.searched else ""


def _provenance(report: ReportValues) -> str:
    made = report.provenance
    facts = {
        "Pairs": f"{made.pairs:,} measured, of {made.given:,} given, in {made.groups:,} groups",
        "Rules": " ".join(made.rules) or "No pair was left out.",
        "Source": f"{made.source_dim:,} dimensions; {made.source_encoder or 'encoder unknown'}",
        "Target": f"{made.target_dim:,} dimensions; {made.target_encoder or 'encoder unknown'}",
        "Centred": made.centring,
        "Adapter": made.adapter or "none",
        "Trained on": report.about_training or "none",
        "Shared space": "none" if made.dim is None else f"{made.dim:,} dimensions",
        "Neighbourhood": f"k = {made.k}",
        "Intervals": f"95 %, {made.draws:,} bootstrap draws of whole groups",
        "Seed": str(made.seed),
        "Versions": ", ".join(f"{name} {version}" for name, version in made.versions.items()),
    }
    listed = "".join(f"<dt>{name}</dt><dd>{escaped(fact)}</dd>" for name, fact in facts.items())
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Probe", "Interval", "Null"))
    body = "\n".join(
        f'<tr><th scope="row">{escaped(row.label)}</th>{_cells((row.interval, row.null))}</tr>'
        for row in report.rows
    )
    return (
        f"<dl>{listed}</dl>\n"
        "<details><summary>How each interval and each null was made</summary>\n"
        '<div class="scroll" role="region" tabindex="0" aria-label="Intervals and nulls">'
        f'<table class="methods"><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>'
        "</div></details>"
    )


def _cells(texts: Iterable[str]) -> str:
    return "".join(f"<td>{escaped(text) or 'none'}</td>" for text in texts)
