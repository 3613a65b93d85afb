"""The items behind the ids that a report names: what its failures and hubs are shown with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from align.data.sides import Side

if TYPE_CHECKING:
    from align.data.pairs import Pairs
    from probes.reporting.model import ReportValues


@dataclass(frozen=True, slots=True)
class ReportItems:
    """Texts, paths of pictures, or anything else that was encoded, by the id of their pair."""

    source: Mapping[str, Any]
    target: Mapping[str, Any]

    def side(self, side: Side) -> Mapping[str, Any]:
        """The items of one side."""
        return self.source if side == "source" else self.target


def items_behind(report: ReportValues, pairs: Pairs) -> ReportItems:
    """The items of the pairs that a report names, and no others.

    Raises:
        ValueError: The report names an id that is not among the pairs.
    """
    rows = {id: row for row, id in enumerate(pairs.ids)}
    ids = {hub.id for hub in report.hubs}
    ids |= {id for failure in report.failures for id in (failure.id, failure.best_id)}
    missing = sorted(ids - set(rows))
    if missing:
        raise ValueError(
            f"pairs must hold every id that the report names; {len(missing)} of {len(ids)} "
            f"are missing, such as {missing[0]!r}. Pass the pairs that were embedded."
        )
    return ReportItems(
        {id: pairs.source[rows[id]] for id in sorted(ids)},
        {id: pairs.target[rows[id]] for id in sorted(ids)},
    )
