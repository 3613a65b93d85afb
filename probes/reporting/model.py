"""What a report holds: plain values, so that it goes to JSON and comes back the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from align._files.codec import ADDED
from align.data.sides import SIDE_NAMES, SideNames
from align.metrics.subgroups import Subgroup
from probes.space import Better, Family, Scale

Column = Literal["raw", "aligned", "corrected", "centred"]
COLUMNS: tuple[Column, ...] = ("raw", "aligned", "corrected", "centred")
"""Before and after first; the centred state is a control, and no result, so that it comes last."""

CONTROL: Column = "centred"
Direction = Literal["source to target", "target to source"]
Points = tuple[tuple[float, float], ...]
Numbers = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of one probe in one state, on ``n`` of the pairs."""

    value: float
    low: float | None  # 95 % bounds; None where no interval could be made
    high: float | None
    null: float | None  # expected value with nothing there
    p: float | None  # chance of such a value under the null
    n: int
    notes: tuple[str, ...]  # why it is not to be trusted, if it is not
    # Share of the way from the null to the extreme, as ``effect_of``.
    effect: float | None = field(default=None, metadata=ADDED)

    @property
    def is_beyond_null(self) -> bool:
        """Whether the value differs from what chance gives: by its p, or else by its interval."""
        if self.p is not None:
            return self.p <= 0.05
        if self.null is None or self.low is None or self.high is None:
            return False
        return not self.low <= self.null <= self.high

    @property
    def excess(self) -> float:
        """The value, less what chance gives, or less 0 where that is not known."""
        return self.value - (self.null or 0)


def effect_of(
    value: float, null: float | None, extreme: float | None, *, opposite: float | None = None
) -> float | None:
    """How far a value lies from chance: the share of the way to as far as the quantity goes.

    ``(value - null) / (extreme - null)``: 0 is chance, 1 is as much as there can be, and below 0 is
    on the other side of chance. It is a recall or a correlation above chance, ``2 AUC - 1``
    for an AUC, ``1 - 2 x`` for FOSCTTM, the share of the variance itself for the offset, and for a
    distance its excess over what swapped sides or random pairings give. Unlike p, and unlike a
    deviation in standard errors, it does not grow with the pairs: with 5,000 of them nearly
    everything differs from chance, and what counts is by how much.

    Where the other side of chance is the wider one, as for a share whose chance value is 0.9, it is
    measured by its own end: ``-(value - null) / (opposite - null)``, so that -1 is as far as the
    quantity goes there.

    Args:
        value: What was measured.
        null: The value with nothing there.
        extreme: The value with as much as there can be, as in ``Probe``.
        opposite: The value as far as it can go on the other side of chance, likewise.

    Returns:
        The share, without a unit; ``None`` where one of the ends is not known, or both are one.

    Reference:
        Cohen 1960, doi:10.1177/001316446002000104, and Hubert and Arabie 1985,
        doi:10.1007/BF01908075, correct indices for chance in this way; for an AUC it is the D of
        Somers 1962, doi:10.2307/2090408.
    """
    if null is None or extreme is None or null == extreme:
        return None
    is_beyond = (value - null) * (extreme - null) < 0
    if is_beyond and opposite is not None and opposite != null:
        return -(value - null) / (opposite - null)
    return (value - null) / (extreme - null)


@dataclass(frozen=True, slots=True)
class Change:
    """A value after alignment minus the value before, with 95 % bounds on the same draws."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One probe in every state; from ``name`` to ``null`` as in ``Probe``."""

    name: str
    label: str
    family: Family
    better: Better
    scale: Scale
    interval: str
    null: str
    readings: dict[str, Reading]  # the value in each state where it is defined
    undefined: dict[str, str]  # why it is not defined, in each state where it is not
    change: Change | None  # aligned minus raw, where both are defined and share their draws


@dataclass(frozen=True, slots=True)
class Failure:
    """A query, of pair ``id``, whose own match came late."""

    id: str
    direction: Direction
    rank: int  # place of the best match, 1 is best
    score: float  # of its own match
    best_id: str  # the pair whose item came first instead
    best_score: float


@dataclass(frozen=True, slots=True)
class Hub:
    """The item of pair ``id``, in the top k of ``count`` queries, ``wrong`` of them of others."""

    id: str
    direction: Direction
    count: int
    wrong: int


@dataclass(frozen=True, slots=True)
class Provenance:
    """What was measured, and by what."""

    given: int  # pairs passed in
    pairs: int  # pairs measured; also the size of the gallery
    groups: int  # groups among them
    rules: tuple[str, ...]  # which pairs were left out and by which rule, whole sentences
    source_dim: int  # width of source vectors
    target_dim: int
    source_encoder: str | None  # fingerprint; None if unknown
    target_encoder: str | None
    adapter: str | None  # how the adapter describes itself; None without one
    trained: int | None  # pairs it was trained on; None without one, or if it does not remember
    dim: int | None  # width of the shared space; None without an adapter
    centring: str  # where the means of the centred state come from
    k: int  # neighbourhood size of hubs and neighbours
    draws: int  # bootstrap draws behind each interval
    seed: int  # seeds samples, draws and nulls
    versions: dict[str, str]  # of what could change a number
    # What people call the sides.
    side_names: SideNames = field(default=SIDE_NAMES, metadata=ADDED)


@dataclass(frozen=True, slots=True)
class Clouds:
    """Items of both sides on their first two principal axes, and on the line of the centroids."""

    source: Points
    target: Points
    source_along_gap: Numbers
    target_along_gap: Numbers


@dataclass(frozen=True, slots=True)
class Histogram:
    """How the cosines of true pairs, and of false ones (pairs of different groups), are spread."""

    edges: Numbers  # bounds of the bins, (b + 1,)
    true: Numbers  # densities, (b,), which integrate to 1
    false: Numbers


@dataclass(frozen=True, slots=True)
class Curve:
    """Values ``y`` at rising ``x``, and ``null``, what they would be with nothing there."""

    x: Numbers
    y: Numbers
    null: Numbers


@dataclass(frozen=True, slots=True)
class CanonicalCorrelations:
    """Canonical correlations, one per dimension, on held-out pairs and on the pairs of the fit."""

    held_out: Numbers
    train: Numbers
    null: Numbers  # what 95 % of shuffled pairings stay below, held out as well


@dataclass(frozen=True, slots=True)
class View:
    """What the figures show of one state; ``None`` where it is not defined."""

    clouds: Clouds | None
    cosines: Histogram | None
    recall: Curve | None  # against k, mean of both directions; the null is a random order
    # k-occurrence of gallery items against their place, as a share of all, most frequent first,
    # both directions pooled; the null is a random order.
    occurrence: Curve | None
    spectrum: CanonicalCorrelations | None


@dataclass(frozen=True, slots=True)
class ReportValues:
    """The modality gap of some held-out pairs in each state, as numbers."""

    provenance: Provenance
    rows: tuple[ReportRow, ...]  # one per probe
    views: dict[str, View]  # what the figures show, by state
    failures: tuple[Failure, ...]  # of the last state that can be searched, worst first
    hubs: tuple[Hub, ...]  # of that state, most frequent first
    # The pairs of each label in that state, the largest subgroup first; empty without labels.
    subgroups: tuple[Subgroup, ...] = field(default=(), metadata=ADDED)

    @property
    def side_names(self) -> SideNames:
        """What the reader calls source and target."""
        return self.provenance.side_names

    @property
    def columns(self) -> tuple[Column, ...]:
        """The states that anything was measured in, in order; the control comes last."""
        return tuple(column for column in COLUMNS if column in self.views)

    @property
    def searched(self) -> Column | None:
        """The state of ``failures`` and ``hubs``: the last to be searched, the control aside."""
        states = [c for c in self.columns if c != CONTROL and self.views[c].recall is not None]
        return states[-1] if states else None

    @property
    def caution(self) -> str:
        """What must be read before any value: that pairs were trained on; empty if none were."""
        about = self.provenance
        if not about.trained:
            return ""
        were = "were" if about.trained > 1 else "was"
        return (
            f"{about.trained:,} of the {about.pairs:,} pairs {were} trained on; these values are "
            "not held out."
        )

    @property
    def about_training(self) -> str:
        """Whether the adapter was trained on these pairs, in a sentence; empty without one."""
        if self.provenance.adapter is None or self.caution:
            return self.caution
        if self.provenance.trained is None:
            return "The adapter does not remember its training pairs: keep test pairs apart."
        return "None of these pairs were trained on."

    def row(self, name: str) -> ReportRow:
        """The row of the probe of that name; ``KeyError`` if there is none."""
        rows = {row.name: row for row in self.rows}
        if name not in rows:
            raise KeyError(
                f"a report has one row per probe; none is named {name!r}. It has {list(rows)}."
            )
        return rows[name]
