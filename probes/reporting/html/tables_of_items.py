"""The failures and the hubs of a report as tables that can be sorted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from probes.reporting.html.escape import escaped
from probes.reporting.html.items import Items, Side, sides
from probes.reporting.numbers import number

if TYPE_CHECKING:
    from probes.reporting.model import Failure, Hub, ReportValues


def failure_table(report: ReportValues, items: Items | None) -> str:
    """The worst-ranked queries as HTML.

    Args:
        report: The report.
        items: What the ids stand for; ids alone without.
    """
    if not report.failures:
        return "<p>There are none: every query found its own match first.</p>"
    headers = (
        ("Rank", "number", "descending"), ("Search", "text", ""), ("Query", "text", ""),
        *([("Its match", "", "")] if items else []), ("Score", "number", ""),
        ("Came first instead", "text", ""), ("Its score", "number", ""),
    )  # fmt: skip
    rows = (_failure(failure, items) for failure in report.failures)
    caption = "What was asked, what belongs to it, and what came first instead"
    return _sortable("failures", caption, headers, rows)


def hub_table(report: ReportValues, items: Items | None) -> str:
    """The most frequent answers as HTML.

    Args:
        report: The report.
        items: What the ids stand for; ids alone without.
    """
    if not report.hubs:
        return "<p>Nothing was searched.</p>"
    headers = (
        ("Item", "text", ""), ("Search", "text", ""), ("Times found", "number", "descending"),
        ("Of these wrong", "number", ""),
    )  # fmt: skip
    rows = (_hub(hub, items) for hub in report.hubs)
    return _sortable("hubs", "Items by how often they were found", headers, rows)


def _failure(failure: Failure, items: Items | None) -> Iterable[str]:
    asks, found = sides(failure.direction)
    yield _number_cell(failure.rank, f"{failure.rank:,}")
    yield _text_cell(failure.direction)
    yield _item_cell(failure.id, _drawn(items, asks, failure.id))
    if items:
        yield f"<td>{items.html(found, failure.id)}</td>"
    yield _number_cell(failure.score, number(failure.score))
    yield _item_cell(failure.best_id, _drawn(items, found, failure.best_id))
    yield _number_cell(failure.best_score, number(failure.best_score))


def _hub(hub: Hub, items: Items | None) -> Iterable[str]:
    _, found = sides(hub.direction)
    yield _item_cell(hub.id, _drawn(items, found, hub.id))
    yield _text_cell(hub.direction)
    yield _number_cell(hub.count, f"{hub.count:,}")
    yield _number_cell(hub.wrong, f"{hub.wrong:,}")


def _number_cell(value: float, shown: str) -> str:
    return f'<td class="number" data-key="{value!r}">{shown}</td>'


def _text_cell(text: str) -> str:
    return f'<td data-key="{escaped(text)}">{escaped(text)}</td>'


def _drawn(items: Items | None, side: Side, id: str) -> str:
    return "" if items is None else items.html(side, id)


def _item_cell(id: str, drawn: str) -> str:
    name = f'<p class="id" dir="auto">{escaped(id)}</p>'
    return f'<td data-key="{escaped(id)}">{drawn}{name}</td>'


def _sortable(
    name: str,
    caption: str,
    headers: Iterable[tuple[str, str, str]],
    rows: Iterable[Iterable[str]],
) -> str:
    """A table whose headers a script turns into buttons; it is whole without the script."""
    heads = "".join(
        f'<th scope="col" class="{kind}"'
        + (f' data-sort="{kind}"' if kind else "")
        + (f' aria-sort="{order}"' if order else "")
        + f">{label}</th>"
        for label, kind, order in headers
    )
    body = "\n".join(f"<tr>{''.join(cells)}</tr>" for cells in rows)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-labelledby="{name}-caption">'
        '<table class="exhibits" data-sortable>'
        f'<caption id="{name}-caption"><span>{caption}</span></caption>'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )
