"""A comparison in a notebook and as one page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html import escape

from align._display.escaping import plain
from align._display.panel import render
from align._display.parts import Folded, Panel, Table
from align.metrics.comparison.text import KEY
from align.metrics.comparison.values import ComparisonRow, ComparisonValues
from align.metrics.comparison.wording import (
    heading,
    shown_chance,
    shown_difference,
    shown_outcome,
    shown_score,
    verdict,
)


def panel(comparison: ComparisonValues) -> str:
    """What a notebook shows: the verdict, the rows that decide, and the others folded away."""
    values, differences = _tables(comparison, comparison.deciding)
    first = values, replace(differences, note=KEY.format(baseline=comparison.baseline))
    folded = []
    for part, title in comparison.parts.items():
        rows = [row for row in comparison.rows if row.part == part and not row.decides]
        if rows:
            folded.append(Folded(f"{title} ({len(rows)})", _tables(comparison, rows)))
    if comparison.notes:
        about = Table(("",), [(note,) for note in comparison.notes])
        folded.append(Folded("What was measured, and how", (about,)))
    return render(
        Panel(
            comparison.title,
            sentence=verdict(comparison),
            warning=" ".join(comparison.cautions),
            tables=first,
            folded=folded,
        )
    )


def page(comparison: ComparisonValues) -> str:
    """One page with the panel and the figure, light or dark, that needs no script and no network.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from align._display.figure import as_inline_svg, dark_figures
    from align.metrics.comparison.forest import forest

    drawing = as_inline_svg("differences", forest(comparison), label=plain(verdict(comparison)))
    style = (
        ":root { color-scheme: light dark; } "
        f"{dark_figures()} "
        "body { margin: 1.5rem auto; max-width: 60rem; padding: 0 1rem; } "
        "svg { max-width: 100%; height: auto; font-family: system-ui, sans-serif; }"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'\">\n"
        f"<title>{escape(plain(comparison.title))}</title>\n<style>{style}</style></head>\n"
        f"<body>\n{panel(comparison)}\n{drawing}\n</body></html>\n"
    )


def _tables(comparison: ComparisonValues, rows: Sequence[ComparisonRow]) -> tuple[Table, Table]:
    """Values with a column per system, and differences with one per system but the baseline."""
    values = Table(
        ("", "by chance", *comparison.systems),
        [
            (
                heading(row),
                shown_chance(row),
                *(_value(row, name) for name in comparison.systems),
            )
            for row in rows
        ],
        numeric=range(1, len(comparison.systems) + 2),
    )
    differences = Table(
        ("", *(f"{name} minus {comparison.baseline}" for name in comparison.others)),
        [(heading(row), *(_difference(row, name) for name in comparison.others)) for row in rows],
    )
    return values, differences


def _value(row: ComparisonRow, system: str) -> str:
    score = row.scores.get(system)
    return row.undefined.get(system, "") if score is None else shown_score(row, score)


def _difference(row: ComparisonRow, system: str) -> str:
    difference = row.differences.get(system)
    if difference is None:
        return ""
    return f"{shown_difference(row, difference)} {shown_outcome(row, system)}".strip()
