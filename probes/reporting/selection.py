"""What a report is to measure, by name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches

import probes as public
from probes.reporting.standard import STANDARD
from probes.space import Probe


def selected(chosen: Sequence[Probe | str]) -> tuple[Probe, ...]:
    """The probes that were named, in order; a ``Probe`` stands for itself.

    A name is that of a row of the standard report, as ``"recall_at_10"``, or of a public function,
    which stands for its rows: ``"recall_at_k"`` for every cut-off, ``"effective_rank"`` for both
    sides.

    Raises:
        TypeError: ``chosen`` is one name, or holds something that is neither.
        ValueError: There is no such name, two are the same, or there are none.
    """
    if isinstance(chosen, str | Probe):
        raise TypeError(
            f"probes must be a list of names or Probe objects; got {chosen!r} alone. "
            "Wrap it in a list."
        )
    listed = [probe for each in chosen for probe in _rows_of(each)]
    names = [probe.name for probe in listed]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated or not names:
        raise ValueError(
            f"a report needs at least one probe, each with a name of its own; got {len(names)} "
            f"with {repeated} more than once. Name each once, or rename your own with "
            "dataclasses.replace."
        )
    return tuple(listed)


def _rows_of(each: Probe | str) -> list[Probe]:
    if isinstance(each, Probe):
        return [each]
    if not isinstance(each, str):
        raise TypeError(
            "probes must be names of rows, names of functions, or Probe objects; got "
            f"{type(each).__name__}. Pass its name, as in probes=['recall_at_10']."
        )
    of_sides = {each, f"{each}_source", f"{each}_target"}
    at_k = re.compile(rf"{re.escape(each[:-1])}\d+") if each.endswith("_k") else None
    found = [p for p in STANDARD if p.name in of_sides or (at_k and at_k.fullmatch(p.name))]
    if found:
        return found
    rows = [probe.name for probe in STANDARD]
    near = get_close_matches(each, rows, n=3, cutoff=0.5)
    advice = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"Choose among {rows}."
    if each in dir(public) and each[0].islower():
        raise ValueError(
            f"a report measures rows of probes.STANDARD; probes.{each} has none. "
            f"Call it on embeddings itself. {advice}"
        )
    raise ValueError(f"probes must be named as rows of a report are; got {each!r}. {advice}")
