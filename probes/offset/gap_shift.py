"""Recall and loss as both clouds are moved along the gap: does closing the offset help?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from align._checks import check_k
from align._display.lines import one_line
from align._display.panel import render
from align._display.parts import Panel, Table
from align.metrics.bootstrap import resamples
from align.metrics.chance import RandomOrder
from align.metrics.ranks import hits_at_k, recall_at_k
from align.scoring.inner_products import inner_products
from probes.inputs import Matrix, codes_of, directions, unit_pairs
from probes.space import K, Space

if TYPE_CHECKING:
    from pandas import DataFrame

    from align._display.figure import Figure

SHIFTS = (-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
_DRAWS = 1_000


@dataclass(frozen=True, slots=True)
class ShiftPoint:
    """What is measured at one shift.

    Attributes:
        shift: Share of the gap that is closed: 0 as it was, 1 closed, below 0 widened.
        gap: Distance of the centroids after the rows were divided by their norms again.
        recall: Recall@k, mean of both directions, in [0, 1].
        low: Lower bound of its 95 % interval over groups.
        high: Upper bound.
        change: Recall minus that at shift 0.
        change_low: Lower bound of the 95 % interval of the change, from the same draws.
        change_high: Upper bound.
        loss: Contrastive loss, mean of both directions, in nats; lower is better.
    """

    shift: float
    gap: float
    recall: float
    low: float
    high: float
    change: float
    change_low: float
    change_high: float
    loss: float


@dataclass(frozen=True, slots=True, repr=False)
class GapShift:
    """Recall@k and loss against the shift along the gap.

    Attributes:
        points: One per shift, rising; those at 0 and at 1 are always among them.
        gap: Distance of the centroids as they were, the plain one, noise included.
        k: Cut-off of the recall.
        chance: Recall@k in a random order.
        pairs: Pairs measured, which is the size of the gallery.
        temperature: Divided the cosines in the loss.
    """

    points: tuple[ShiftPoint, ...]
    gap: float
    k: int
    chance: float
    pairs: int
    temperature: float

    def at(self, shift: float) -> ShiftPoint:
        """The point at a shift; ``KeyError`` if it was not measured."""
        for point in self.points:
            if point.shift == shift:
                return point
        raise KeyError(
            f"a shift must be one that was measured, {[p.shift for p in self.points]}; "
            f"got {shift}. Pass it in shifts."
        )

    @property
    def verdict(self) -> str:
        """Whether closing the offset changes retrieval, in one sentence."""
        closed = self.at(1.0)
        change = f"{100 * closed.change:+.1f} points of recall@{self.k}"
        bounds = f"[{100 * closed.change_low:.1f}, {100 * closed.change_high:.1f}]"
        if closed.change_low <= 0 <= closed.change_high:
            return f"Closing the gap of {self.gap:.2f} shows no difference: {change} {bounds}."
        what = "helps" if closed.change > 0 else "harms"
        return f"Closing the gap of {self.gap:.2f} {what}: {change} {bounds}."

    def __repr__(self) -> str:
        return one_line("GapShift", f"{len(self.points)} shifts", self.verdict)

    def _repr_html_(self) -> str:
        columns = ("share closed", "gap", f"recall@{self.k} (%)", "change (points)", "loss (nats)")
        rows = [
            (
                f"{p.shift:g}",
                f"{p.gap:.3f}",
                f"{100 * p.recall:.1f} [{100 * p.low:.1f}, {100 * p.high:.1f}]",
                f"{100 * p.change:+.1f} [{100 * p.change_low:.1f}, {100 * p.change_high:.1f}]",
                f"{p.loss:.3f}",
            )
            for p in self.points
        ]
        note = f"{self.pairs:,} pairs; by chance {100 * self.chance:.1f} %. plot() draws the curve."
        table = Table(columns, rows, numeric=range(len(columns)), note=note)
        return render(Panel("Shift along the gap", sentence=self.verdict, tables=(table,)))

    def to_frame(self) -> DataFrame:
        """One line per shift; ``ImportError`` unless pandas is installed."""
        from pandas import DataFrame

        return DataFrame([asdict(point) for point in self.points])

    def plot(self) -> Figure:
        """Recall with its interval above, loss below, against the shift; no pyplot.

        Raises:
            ImportError: matplotlib is not installed.
        """
        from align._display.figure import COLOURS, empty_figure, own_style

        shifts = [point.shift for point in self.points]
        with own_style():
            figure = empty_figure(6.0, 4.6)
            above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
            bounds = ([p.low for p in self.points], [p.high for p in self.points])
            above.fill_between(shifts, *bounds, color=COLOURS["source"], alpha=0.18, linewidth=0)
            recalls = [p.recall for p in self.points]
            above.plot(shifts, recalls, "o-", color=COLOURS["source"], markersize=3.5)
            above.axhline(self.chance, color=COLOURS["ink"], linestyle="dotted", linewidth=1.1)
            above.annotate("random order", (shifts[-1], self.chance), ha="right", va="bottom")
            above.set(ylabel=f"recall@{self.k}", ylim=(0, 1.04))
            losses = [p.loss for p in self.points]
            below.plot(shifts, losses, "s--", color=COLOURS["target"], markersize=3.5)
            below.set(ylabel="loss (nats)", xlabel="share of the gap that is closed")
            for axes in (above, below):
                for shift in (0, 1):
                    axes.axvline(shift, color=COLOURS["rule"], linewidth=0.9, zorder=0)
            for shift, words in ((0, "as it is"), (1, "centroids meet")):
                above.annotate(words, (shift, 1.04), ha="center", va="bottom")
        return figure


def gap_shift(
    source: Matrix,
    target: Matrix,
    *,
    k: int = K,
    shifts: Sequence[float] = SHIFTS,
    temperature: float = 0.01,
    groups: Sequence[str] | None = None,
    seed: int = 0,
) -> GapShift:
    """Recall@k and contrastive loss as both clouds are moved along the gap.

    With ``g = mean source - mean target``, rows become ``source - shift g / 2`` and ``target +
    shift g / 2``, divided by their norms again. At shift 1 the centroids coincide before that
    division, and nearly so after it. A flat curve says that the offset does not matter to
    retrieval, however large it is; a curve that rises to 1 says that it does. The means are those
    of the pairs measured, which favours shift 1 a little where they are few.

    Bootstrap draws of whole groups are the same for all shifts, so that changes from shift 0 are
    paired. Costs O(n^2 d) per shift.

    Norms: 1; rows of any other are refused.

    Args:
        source: Unit-norm source embeddings, ``(n, d)``.
        target: Unit-norm target embeddings of the same pairs, ``(n, d)``.
        k: Cut-off, ``1 <= k <= n``.
        shifts: Shares of the gap to close, finite; 0 and 1 are added where they lack.
        temperature: Divides cosines in the loss, > 0; that of CLIP is 0.01.
        groups: Group name of each pair: any partner within the group is right, and none of them is
            a negative.
        seed: Seeds the bootstrap.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width with unit-norm rows,
            ``k``, ``shifts``, ``temperature`` or ``groups`` do not fit, or a shift moves a row to
            the origin.

    Reference:
        Liang et al. 2022, arXiv:2203.02053, section 4.1 and figure 3.

    Examples:
        >>> import torch, probes
        >>> from torch.nn.functional import normalize
        >>> rng = torch.Generator().manual_seed(0)
        >>> x = torch.randn(60, 6, generator=rng)
        >>> captions, photos = normalize(x), normalize(x + 2.0)
        >>> curve = probes.gap_shift(captions, photos, k=1, shifts=[0.5])
        >>> [point.shift for point in curve.points]
        [0.0, 0.5, 1.0]
    """
    x, y = unit_pairs(source, target)
    codes = codes_of(groups, len(x))
    check_k(k, len(x))
    listed = sorted({0.0, 1.0, *map(float, shifts)})
    if not torch.tensor([*listed, temperature]).isfinite().all() or temperature <= 0:
        raise ValueError(
            "shifts must be finite and temperature positive; got "
            f"{list(shifts)} and {temperature}. Pass shifts such as 0, 0.5 and 1."
        )
    gap = x.double().mean(dim=0) - y.double().mean(dim=0)
    generator = torch.Generator().manual_seed(seed)
    weights = torch.cat(list(resamples(codes, _DRAWS, generator)))
    spaces = {shift: Space(*_unit(*moved(x, y, gap, shift)), codes) for shift in listed}
    hits = {shift: _hits(space, k) for shift, space in spaces.items()}
    draws = {shift: weights @ each / weights.sum(dim=1) for shift, each in hits.items()}
    points = []
    for shift, space in spaces.items():
        forth, back = (recall_at_k(ranks, k) for ranks in space.ranks)
        change = (hits[shift] - hits[0.0]).mean().item()
        apart = space.source.double().mean(dim=0) - space.target.double().mean(dim=0)
        points.append(
            ShiftPoint(
                shift,
                apart.norm().item(),
                (forth + back) / 2,
                *_bounds(draws[shift]),
                change,
                *_bounds(draws[shift] - draws[0.0]),
                _loss(space, temperature),
            )
        )
    positives = torch.bincount(codes)[codes]
    chance = RandomOrder.of(positives, len(x)).recall_at_k(k)
    return GapShift(tuple(points), gap.norm().item(), k, chance, len(x), temperature)


def moved(x: Tensor, y: Tensor, gap: Tensor, shift: float) -> tuple[Tensor, Tensor]:
    """Both clouds, ``(n, d)``, moved towards each other along ``gap`` ``(d,)``, norms as they come.

    At shift 0 they are untouched, to the last bit.
    """
    step = (shift / 2 * gap).to(x.dtype)
    return (x, y) if shift == 0 else (x - step, y + step)


def _unit(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return directions("shifted source", x).float(), directions("shifted target", y).float()


def _hits(space: Space, k: int) -> Tensor:
    forth, back = space.ranks
    return (hits_at_k(forth, k) + hits_at_k(back, k)) / 2


def _bounds(draws: Tensor) -> tuple[float, float]:
    low, high = draws.quantile(draws.new_tensor([0.025, 0.975])).tolist()
    return low, high


def _loss(space: Space, temperature: float) -> float:
    logits = inner_products(space.source, space.target).double() / temperature
    rest = space.same_group & ~torch.eye(space.n, dtype=torch.bool)
    logits = logits.masked_fill(rest, -torch.inf)
    own = torch.arange(space.n)
    return ((F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2).item()
