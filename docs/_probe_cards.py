"""The page of probes: a card for each, written from its docstring by `probes.about`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from probes import Probe

_LINKS = re.compile(r"(arXiv:(\d{4}\.\d{4,5})|doi:(10\.\d{4,}/[^\s;,]*[\w)]))")
_NORMS = re.compile(r"^Norms: (.+?)(?=\n\s*\n|\Z)", re.MULTILINE | re.DOTALL)
_REPORTING = ("about", "compare", "report")  # functions that are no probes
_INTRODUCTION = """\
# Probes

What each row of a report means, when it misleads, and where it is from. The words are those of the
docstrings, which `probes.about("foscttm")` shows in a notebook. The families answer
[five questions](concepts/modality_gap.md), and none answers for another.

Read a value against **nothing there**, and not against 0: it is what two sides give that have
nothing to do with each other or, for offset and distribution, that lie in one cloud. A report
measures it on your pairs and adds an interval ([reading a report](how_to/read_a_report.md)).

Every probe is a function of two arrays, `probes.foscttm(a, b)`, and a name in
`probes.report(a, b, probes=["foscttm"])` ([measure without training](how_to/measure.md)).
"""


def probe_cards() -> str:
    """A card per function behind the standard report, by family, then what else there is."""
    import probes
    from probes.reporting.formatting import FAMILIES

    rows: dict[object, list[Probe]] = {}
    for probe in probes.STANDARD:
        rows.setdefault(probe.function, []).append(probe)
    lines = [_INTRODUCTION]
    for family, question in FAMILIES.items():
        lines += [f"## {family.capitalize()}", "", question, ""]
        for each in rows.values():
            if each[0].family == family:
                lines += _card(each)
    return "\n".join([*lines, *_others({_public_name(each) for each in rows})])


def _card(rows: Sequence[Probe]) -> list[str]:
    """What is said of the rows that one function gives; each can be linked to by its name."""
    import probes

    about = probes.about(rows[0])
    name = _public_name(rows[0].function)
    anchor = rows[0].name if len(rows) == 1 else name
    others = [f'<span id="{row.name}"></span>' for row in rows if row.name != anchor]
    norms = _NORMS.search(inspect.getdoc(rows[0].function) or "")
    facts = {
        "Misleads": _text(about.beware),
        "Range": f"{_text(about.range)}; {about.better} is better",
        "Nothing there": _capitalized(_text(about.nothing)),
        "Norms": _capitalized(_text(" ".join(norms[1].split()))) if norms else "",
        "From": _LINKS.sub(_linked, _text(about.reference)),
        "Rows": ", ".join(f"`{row.name}`" for row in rows),
        "Function": f"[`probes.{name}`](api/probes.md#probes.{name})",
    }
    listed = [line for term, text in facts.items() if text for line in (term, f":   {text}", "")]
    return [
        *(("".join(others), "") if others else ()),
        f"### {_title(rows)} {{ #{anchor} }}",
        "",
        _text(about.meaning),
        "",
        *('<div class="card" markdown>', "", *listed, "</div>", ""),
    ]


def _title(rows: Sequence[Probe]) -> str:
    """What the labels of the rows have in common, such as Recall@k."""
    if len(rows) == 1:
        return rows[0].label
    letters = zip(*(row.label for row in rows), strict=False)
    shared = "".join(each[0] for each in takewhile(lambda each: len(set(each)) == 1, letters))
    return f"{shared}k" if shared.endswith("@") else shared.removesuffix(" of ").rstrip(", ")


def _others(carded: set[str]) -> list[str]:
    """Public functions that have no row in a standard report."""
    import probes

    functions = {
        name: getattr(probes, name)
        for name in probes.__all__
        if inspect.isfunction(getattr(probes, name)) and name not in carded
    }
    listed = [
        f"| [`{name}`](api/probes.md#probes.{name}) | {_table_text(function)} |"
        for name, function in functions.items()
        if name not in _REPORTING
    ]
    return [
        *("## Not in a standard report", ""),
        "Curves, values per item, and what needs labels or a choice of yours.",
        *("", "| function | what it gives |", "|---|---|", *listed, ""),
    ]


def _public_name(function: object) -> str:
    """The public function of a quantity; a property is one of what `canonical_spectrum` gives."""
    return "canonical_spectrum" if isinstance(function, property) else function.__name__


def _table_text(function: Callable[..., object]) -> str:
    first = (inspect.getdoc(function) or "").split("\n")[0]
    return first.replace("``", "`").replace("|", r"\|")


def _text(words: str) -> str:
    return words.replace("*", r"\*").replace("<", "&lt;")


def _capitalized(words: str) -> str:
    """With a capital at its start, unless it starts with a formula such as ``k / n``."""
    return words[0].upper() + words[1:] if words[1:2].isalpha() and "(" not in words[:6] else words


def _linked(match: re.Match[str]) -> str:
    said, arxiv, doi = match.groups()
    address = f"https://arxiv.org/abs/{arxiv}" if arxiv else f"https://doi.org/{doi}"
    return f"[{said}]({address})"
