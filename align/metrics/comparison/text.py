"""A comparison as text: for a terminal, for Markdown, and as a table of numbers."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from align._display.escaping import in_markdown, plain
from align._display.lines import count, one_line, shortened
from align.metrics.comparison.values import ComparisonRow, ComparisonValues
from align.metrics.comparison.wording import (
    heading,
    shown_chance,
    shown_difference,
    shown_outcome,
    shown_score,
    verdict,
)

if TYPE_CHECKING:
    from pandas import DataFrame

_WIDTH = 100  # columns
_LONGEST = 24  # of a name in a terminal
KEY = (
    "Value [95 % interval]; difference from {baseline} [95 % interval], for % in points; p "
    "adjusted by Holm's method."
)


def line(comparison: ComparisonValues) -> str:
    """One short line: the baseline, and what the first other systems gain in the leading row."""
    rows = [row for row in comparison.deciding if row.name == comparison.lead]
    parts = [
        f"{name} {shown_difference(row, row.differences[name])} {row.outcome(name)}"
        for row in rows
        for name in comparison.others[:3]
        if name in row.differences
    ]
    more = len(comparison.others) - 3
    return one_line(
        "Comparison",
        f"baseline {comparison.baseline}",
        f"{rows[0].label}: {'; '.join(parts)}" if parts else "",
        f"{more} more" if more > 0 else "",
    )


def printed(comparison: ComparisonValues) -> str:
    """The verdict and the rows that decide, a line per system, within 100 columns."""
    lines = [*_wrapped(comparison.title), ""]
    for sentence in (*comparison.cautions, verdict(comparison)):
        lines += [*_wrapped(sentence), ""]
    names = {name: shortened(name, _LONGEST) for name in comparison.systems}
    first = max(map(len, names.values())) + 2
    for row in comparison.deciding:
        chance = shown_chance(row)
        lines.append(f"{heading(row)}{f', by chance {chance}' if chance else ''}")
        cells = [_cells(comparison, row, name) for name in comparison.systems]
        widths = [max(len(cell[at]) for cell in cells) for at in (0, 1)]
        for name, (score, difference, outcome) in zip(comparison.systems, cells, strict=True):
            line = f"  {names[name]:<{first}}{score:<{widths[0]}}  {difference:<{widths[1]}}  "
            if len(line + outcome) > _WIDTH:
                lines.append(line)
                line = " " * (first + 2)
            lines += textwrap.wrap(
                outcome, _WIDTH, initial_indent=line, subsequent_indent=" " * (first + 2)
            ) or [line]
    lines.append("")
    for note in (KEY.format(baseline=comparison.baseline), *_more(comparison), *comparison.notes):
        lines += _wrapped(note)
    return "\n".join(line.rstrip() for line in lines)


def _more(comparison: ComparisonValues) -> Iterator[str]:
    more = len(comparison.rows) - len(comparison.deciding)
    if more:
        are = "is" if more == 1 else "are"
        yield f"{count(more, 'more row')} {are} in to_markdown(), to_frame() and to_json()."


def _cells(comparison: ComparisonValues, row: ComparisonRow, system: str) -> tuple[str, str, str]:
    """Value, difference and outcome of one system."""
    score = row.scores.get(system)
    if score is None:
        return "\N{EN DASH}", "", plain(row.undefined.get(system, ""))
    if system == comparison.baseline:
        return shown_score(row, score), "", "baseline"
    difference = row.differences.get(system)
    if difference is None:
        return shown_score(row, score), "", ""
    return shown_score(row, score), shown_difference(row, difference), shown_outcome(row, system)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(plain(text), _WIDTH)


def markdown(comparison: ComparisonValues) -> str:
    """The verdict and a table per part as GitHub-flavoured Markdown."""
    lines = [f"# {in_markdown(comparison.title)}", ""]
    for caution in comparison.cautions:
        lines += [f"**{in_markdown(caution)}**", ""]
    lines += [in_markdown(verdict(comparison)), ""]
    lines += [in_markdown(KEY.format(baseline=comparison.baseline)), ""]
    columns = ["", "by chance"]
    for name in comparison.systems:
        columns.append(in_markdown(name))
        if name != comparison.baseline:
            columns.append(in_markdown(f"{name} minus {comparison.baseline}"))
    for part, title in comparison.parts.items():
        rows = [row for row in comparison.rows if row.part == part]
        if not rows:
            continue
        lines += [f"## {in_markdown(title)}", "", _line(columns), f"|{'---|' * len(columns)}"]
        for row in rows:
            cells = [heading(row), shown_chance(row)]
            for name in comparison.systems:
                score, difference, outcome = _cells(comparison, row, name)
                cells.append(score if name in row.scores else f"{score} {outcome}")
                if name != comparison.baseline:
                    known = name in row.differences
                    cells.append(", ".join(filter(None, (difference, outcome))) if known else "")
            lines.append(_line([in_markdown(cell) for cell in cells]))
        lines.append("")
    lines += [f"- {in_markdown(note)}" for note in comparison.notes]
    return "\n".join(lines) + "\n"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def frame(comparison: ComparisonValues) -> DataFrame:
    """One line per row and system."""
    try:
        from pandas import DataFrame
    except ImportError as error:
        raise ImportError(
            "a data frame needs pandas, which is not installed. Run `pip install pandas`, or use "
            "to_json()."
        ) from error
    return DataFrame(list(_records(comparison)))


def _records(comparison: ComparisonValues) -> Iterator[dict[str, Any]]:
    for row in comparison.rows:
        for name in comparison.systems:
            score, difference = row.scores.get(name), row.differences.get(name)
            record: dict[str, Any] = {"part": row.part, "name": row.name, "system": name}
            for field in ("value", "low", "high", "chance"):
                record[field] = getattr(score, field, None)
            for column, field in (
                ("difference", "value"),
                ("difference_low", "low"),
                ("difference_high", "high"),
                ("p", "p"),
                ("p_holm", "p_holm"),
            ):
                record[column] = getattr(difference, field, None)
            record["outcome"] = row.outcome(name)
            record["better"], record["decides"] = row.better, row.decides
            record["note"] = row.undefined.get(name, getattr(difference, "caveat", ""))
            yield record
