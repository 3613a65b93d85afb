"""How far the hits of one direction can be trusted, from the scores of held-out queries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

from align.adapters.calibration.thinned import thinned

CONSIDERED = 50  # best scores that a confidence is worked out from; the rest is estimated
ENOUGH = 2000  # held-out queries that are looked at: the error of a share of them is 1 %


class Confidence(nn.Module):
    """Scores of a gallery as probabilities, and the score that right items exceed.

    The probability that a hit is right, given that the right item is in the gallery, is
    ``exp(sharpness * score)`` over its sum over the gallery: a softmax whose sharpness has the
    greatest likelihood for held-out queries. It falls with the scores of others and with their
    number, so that it carries over to galleries of other sizes. Of a sum over more than
    ``CONSIDERED`` items the best are summed, and the others taken for normal, with the ``spread``
    that scores of wrong items had among held-out queries.

    Reference:
        Guo et al. 2017, arXiv:1706.04599, for a fitted temperature; Vovk et al. 2005, Algorithmic
        Learning in a Random World, and Lei et al. 2018, arXiv:1604.04173, for ``line``.
    """

    scores: Tensor  # of the right items of held-out queries, rising, (kept,) float32

    def __init__(self, scores: Tensor, *, sharpness: float, spread: float, gallery: int) -> None:
        super().__init__()
        self.register_buffer("scores", scores)
        self.kept = len(scores)
        self.sharpness = sharpness
        self.spread = spread
        self.gallery = gallery  # items that held-out queries were asked of

    @classmethod
    def of(cls, galleries: Sequence[Tensor]) -> Confidence:
        """From scores of held-out queries with held-out items, ``(q, q)``, right ones in front.

        Each is a gallery whose rows are queries; that of row ``i`` stands on the diagonal.
        """
        enough, count = [], 0
        for scores in galleries:
            enough.append(scores)
            count += len(scores)
            if count >= ENOUGH:
                break
        right = torch.cat([scores.diagonal() for scores in enough])
        return cls(
            thinned(right.float().sort().values),
            sharpness=_sharpest(enough),
            spread=math.sqrt(sum(map(_variance, enough)) / len(enough)),
            gallery=max(map(len, enough)),
        )

    def probabilities(self, scores: Sequence[float], size: int) -> list[float]:
        """That each hit is right, given that the right item is there; best first, as ``scores``.

        Args:
            scores: The best of a query, falling: ``CONSIDERED`` of them or more, or all ``size``.
            size: Items that the query was asked of.
        """
        best, sharpness, exp = scores[0], self.sharpness, math.exp
        weights = [exp(sharpness * (score - best)) for score in scores]
        considered = min(CONSIDERED, len(weights))
        total = sum(weights[:considered])
        if size > considered:
            rest = _rest(sharpness * self.spread, size, considered)
            total += weights[considered - 1] * rest
        return [weight / total for weight in weights]

    def line(self, coverage: float) -> float:
        """The score that the right item of a new query has or exceeds, with that probability.

        It says nothing of other items, so it holds for a gallery of any size: split conformal
        prediction.

        Raises:
            ValueError: ``coverage`` is out of (0, 1), or too high for so few held-out queries.
        """
        if not 0 < coverage < 1:
            raise ValueError(
                f"coverage must lie in (0, 1); got {coverage}. Pass 0.9 for sets that hold the "
                "right item nine times in ten."
            )
        at = math.floor((self.kept + 1) * (1 - coverage) + 1e-9)
        if at == 0:
            raise ValueError(
                f"coverage must be at most {self.kept / (self.kept + 1):.3f}, as the adapter was "
                f"calibrated on {self.kept} queries; got {coverage}. Lower it, or call "
                "adapter.calibrated with more held-out pairs."
            )
        return float(self.scores[at - 1])


@lru_cache(maxsize=1024)
def _rest(sharpness: float, size: int, seen: int) -> float:
    """Weight of the items behind the first ``seen``, in weights of the last of these.

    Scores are normal and of unit variance; the last that was seen is their quantile of its rank.
    """
    from scipy.special import log_ndtr, ndtri

    level = float(ndtri(1 - (seen - 0.5) / size))
    below = float(log_ndtr(level - sharpness) - log_ndtr(level))
    return (size - seen) * math.exp(sharpness * (sharpness / 2 - level) + below)


def _variance(scores: Tensor) -> float:
    """Of the scores of wrong items around the mean of their query, mean over queries."""
    q = len(scores)
    if q < 2:
        return 0.0
    wrong = torch.unflatten(scores.flatten()[1:], 0, (q - 1, q + 1))[:, :-1].reshape(q, q - 1)
    return float(wrong.double().var(dim=1, correction=0).mean())


def _sharpest(galleries: Sequence[Tensor]) -> float:
    """The sharpness of greatest likelihood; 0 where right items score no higher than others.

    One more query counts whose right item is any of its gallery, so that scores that tell every
    pair apart do not make it infinite.
    """
    from scipy.optimize import brentq

    apart = [scores - scores.mean(dim=1, keepdim=True) for scores in galleries]
    right = sum(float(scores.diagonal().double().sum()) for scores in apart)
    queries = sum(map(len, apart))

    def slope(sharpness: float) -> float:
        """Of the likelihood: falling, as it is concave."""
        expected = 0.0
        for scores in apart:
            chance = torch.softmax(sharpness * scores, dim=1)
            expected += float((chance * scores).sum(dim=1).double().sum())
        return right - expected * (queries + 1) / queries

    if slope(0.0) <= 0:
        return 0.0
    high = 1.0
    while slope(high) > 0:
        high *= 2
    return float(brentq(slope, 0.0, high, xtol=1e-3, rtol=1e-3))
