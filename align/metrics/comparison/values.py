"""What a comparison of systems holds: a row per quantity, a column per system."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LEVEL = 0.05  # of all verdicts of a family of rows together

Better = Literal["higher", "lower", "neither"]
Outcome = Literal["better", "worse", "differs", "no difference shown", ""]


@dataclass(frozen=True, slots=True)
class Score:
    """The value of one system with both bounds of its 95 % interval, and what chance gives."""

    value: float
    low: float | None = None
    high: float | None = None
    chance: float | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """A value of one system minus that of the baseline.

    Attributes:
        value: The difference, in the unit of the row.
        low: Lower bound of its 95 % interval, ``None`` where no interval could be made.
        high: Upper bound.
        p: Two-sided p-value of this difference by itself, ``None`` without an interval.
        p_holm: The same, adjusted by Holm's method over the rows that decide, or over those that
            do not, times the systems that are compared with the baseline.
        is_paired: Whether both systems were drawn anew together, pair by pair.
        caveat: Why the difference is neither better nor worse whatever its sign; else empty.
    """

    value: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    is_paired: bool = True
    caveat: str = ""

    def __repr__(self) -> str:
        def text(value: float | None) -> str:
            return "" if value is None else f"{value:+.4g}"

        p = "" if self.p is None else f", p {self.p:.2g}"
        return f"Difference({text(self.value)} [{text(self.low)}, {text(self.high)}]{p})"

    @property
    def is_shown(self) -> bool:
        """Whether there is one: its interval leaves out 0, and its adjusted p is at most 0.05."""
        if self.low is None or self.high is None or self.p_holm is None:
            return False
        return not self.low <= 0 <= self.high and self.p_holm <= LEVEL


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """One quantity of all systems.

    Attributes:
        name: Identifier of the quantity, such as ``recall_at_10``.
        label: What a reader sees.
        part: What it is measured on, or the family it belongs to; a key of ``Comparison.parts``.
        better: Which direction is better.
        is_share: Whether it is a share in [0, 1], shown in per cent.
        decides: Whether the verdict rests on it.
        scores: The value of each system that has one, by name.
        undefined: Why there is none, for each other system.
        differences: Each other system minus the baseline, where both have a value.
    """

    name: str
    label: str
    part: str
    better: Better
    is_share: bool
    decides: bool
    scores: dict[str, Score]
    undefined: dict[str, str]
    differences: dict[str, Difference]

    def outcome(self, system: str) -> Outcome:
        """How a system stands to the baseline; empty where that cannot be said."""
        difference = self.differences.get(system)
        if difference is None or difference.p_holm is None:
            return ""
        if not difference.is_shown:
            return "no difference shown"
        if self.better == "neither" or difference.caveat:
            return "differs"
        return "better" if (difference.value > 0) == (self.better == "higher") else "worse"


@dataclass(frozen=True, slots=True)
class ComparisonValues:
    """Some systems on the same pairs, as numbers.

    Attributes:
        title: What was compared.
        systems: Names, in the order in which they were given.
        baseline: The one that the others are compared with.
        rows: One per quantity and part.
        parts: What each part is called, in order.
        lead: Name of the quantity that the verdict begins with.
        cautions: What must be read before any value, whole sentences.
        notes: What was measured and how, whole sentences.
    """

    title: str
    systems: tuple[str, ...]
    baseline: str
    rows: tuple[ComparisonRow, ...]
    parts: dict[str, str]
    lead: str
    cautions: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def others(self) -> tuple[str, ...]:
        """The systems that are compared with the baseline."""
        return tuple(name for name in self.systems if name != self.baseline)

    @property
    def deciding(self) -> tuple[ComparisonRow, ...]:
        """The rows that the verdict rests on."""
        return tuple(row for row in self.rows if row.decides)

    def row(self, name: str, part: str | None = None) -> ComparisonRow:
        """The row of a quantity, the first where several parts have it and none is named.

        Raises:
            KeyError: There is no such row.
        """
        for row in self.rows:
            if row.name == name and part in (None, row.part):
                return row
        where = "" if part is None else f" in {part!r}"
        raise KeyError(
            f"a comparison has one row per quantity and part; none is named {name!r}{where}. It "
            f"has {list(dict.fromkeys(row.name for row in self.rows))} in {list(self.parts)}."
        )


def check_systems(names: list[str], baseline: str | None) -> str:
    """The name of the baseline, the first if none is named.

    Raises:
        TypeError: A name is no text.
        ValueError: There are fewer than two systems, or the baseline is none of them.
    """
    odd = [name for name in names if not isinstance(name, str)]
    if odd:
        raise TypeError(
            f"names of systems must be text; got {odd[0]!r} of type {type(odd[0]).__name__}. "
            'Pass a dict such as {"CLIP": a, "ours": b}.'
        )
    if len(names) < 2:
        raise ValueError(
            f"a comparison needs at least two systems; got {names}. Pass a dict such as "
            '{"CLIP": a, "ours": b}.'
        )
    if baseline is not None and baseline not in names:
        raise ValueError(
            f"the baseline must be one of the systems {names}; got {baseline!r}. Name one of them, "
            "or leave it out for the first."
        )
    return names[0] if baseline is None else baseline
