"""A curve through recall at a few numbers of pairs, and how far it may be off beyond them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from align._display.lines import count, one_line
from align.metrics.bootstrap import resamples, weighted_mean

DRAWS = 1000
LEVEL = 0.9  # of prediction intervals
DAMPING = 0.6  # how much sooner a curve flattens near 1, see Extrapolation
DAMPING_SPREAD = 0.4
STRAY, STRAY_PER_LOG = 0.04, 0.07  # how far a curve is off, and per e-fold of pairs beyond
NEAREST = 0.02  # to 0 and 1 that recall counts as, where one hit changes many logits


@dataclass(frozen=True, slots=True)
class Predicted:
    """A value at a number of pairs, or a gain, with both bounds of its 90 % prediction interval."""

    value: float
    low: float
    high: float

    def __repr__(self) -> str:
        return f"Predicted({self.value:.4g} [{self.low:.4g}, {self.high:.4g}])"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Extrapolation:
    """Many curves that could have given what was measured; each column is one metric.

    ``logit p(n) = level + slope (1 - (n / last)^-c) / c`` with ``c = damping p(last)``: straight in
    the logarithm of ``n`` while recall is low, and flatter the nearer it comes to 1. Each draw
    resamples the held-out pairs, whole groups at a time, fits level and slope by least squares in
    which larger samples weigh more, and takes a damping of its own. Each is a little off, and more
    so beyond the data.

    Reference:
        Viering and Loog 2022, arXiv:2103.10948, for curves that were tried elsewhere. Of logit and
        probit lines in log n, power laws with and without an end, a parabola and a straight line,
        this one extrapolated best on the data sets of ``experiments/learning_curve.py``, on which
        its constants were set, with a closed form of fixed settings.
    """

    last: float  # pairs of the largest sample
    level: Tensor  # logit there, (draws, metrics) float64
    slope: Tensor  # per e-fold of pairs there, not negative
    damping: Tensor  # (draws, 1)
    stray: Tensor  # standard normal, (draws, 1)

    def __repr__(self) -> str:
        return one_line(
            "Extrapolation", count(len(self.level), "curve"), f"from {self.last:,.0f} pairs"
        )

    @classmethod
    def of(
        cls, sizes: Tensor, values: Tensor, units: Tensor, generator: torch.Generator
    ) -> Extrapolation:
        """Of what held-out pairs gave at several numbers of pairs.

        Args:
            sizes: Pairs of each sample, rising, ``(s,)`` float64.
            values: Of each held-out pair, in [0, 1], ``(q, s, metrics)`` float64.
            units: Group of each held-out pair, ``(q,)`` int64, every code of ``0 .. g - 1``.
            generator: Draws.
        """
        q, s, metrics = values.shape
        flat = values.reshape(q, s * metrics)
        drawn = torch.cat([weighted_mean(flat, w) for w in resamples(units, DRAWS, generator)])
        share = drawn.reshape(DRAWS, s, metrics).clamp(0.5 / q, 1 - 0.5 / q)
        x = (sizes / sizes[-1]).log()[:, None]
        weight = share * (1 - share) * (sizes / sizes[-1]).square()[:, None]
        weight = weight / weight.sum(dim=1, keepdim=True)
        centre = (weight * x).sum(dim=1, keepdim=True)
        along = weight * (x - centre)
        slope = (along * share.logit()).sum(dim=1) / (along * (x - centre)).sum(dim=1)
        slope = slope.clamp_min(0)  # more pairs do no harm to a recipe that may ignore them
        level = (weight * share.logit()).sum(dim=1) - slope * centre[:, 0]

        def normal() -> Tensor:
            return torch.randn(DRAWS, 1, generator=generator, dtype=torch.float64)

        damping = (DAMPING + DAMPING_SPREAD * normal()).clamp_min(-0.3)
        return cls(sizes[-1].item(), level, slope, damping, normal())

    def shares(self, n: float) -> Tensor:
        """The metrics at ``n`` pairs on every curve, ``(draws, metrics)`` in (0, 1)."""
        ratio = math.log(n / self.last)
        c = self.damping * self.level.sigmoid()
        near = c.abs() < 1e-6  # where the limit is the logarithm
        flattened = -torch.expm1(-c * ratio) / c.masked_fill(near, 1)
        gain = self.slope * torch.where(near, ratio, flattened)
        return (self.level + gain + self._off(STRAY_PER_LOG * max(ratio, 0))).sigmoid()

    def at(self, n: float) -> list[Predicted]:
        """Each metric at ``n`` pairs: what another such data set would give, on average."""
        return _predicted((self.shares(n).logit() + self._off(STRAY).flip(0)).sigmoid())

    def gain(self, n: float, more: float) -> list[Predicted]:
        """By how much each metric is higher with ``more`` pairs than with ``n``."""
        return _predicted(self.shares(n + more) - self.shares(n))

    def _off(self, amount: float) -> Tensor:
        """Logits by which the curves are off: more where recall is near 0 or 1 and logits are many.

        ``amount`` is in units in which a binomial share has the same spread everywhere.
        """
        share = self.level.sigmoid().clamp(NEAREST, 1 - NEAREST)
        return amount * self.stray / (share * (1 - share)).sqrt()


def _predicted(drawn: Tensor) -> list[Predicted]:
    at = drawn.new_tensor([0.5, (1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return [Predicted(*column) for column in drawn.quantile(at, dim=0).T.tolist()]
