"""What a random order of the gallery gives: the value that stands beside every recall."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from align.data.repeats import RepeatedItems

_NEGLIGIBLE = 1e-18  # of a chance: smaller ones change no sum in float64
_ROUNDING = 1e-9  # chances this close to one half are one half: they are products of fractions

SMALL_GALLERY = 100  # items below which ten of them are no short list: recall at 1 is reported


class NoBetterThanChance(UserWarning):
    """Held-out pairs were not found more often than a random order would find them.

    Examples:
        >>> import warnings, numpy as np, align
        >>> rng = np.random.default_rng(0)
        >>> captions, unrelated = rng.standard_normal((60, 4)), rng.standard_normal((60, 6))
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     adapter = align.fit(captions, unrelated)
        >>> caught[0].category.__name__
        'NoBetterThanChance'
    """


@contextmanager
def without_chance_warnings() -> Iterator[None]:
    """No warnings of chance or repeats: for fits on folds of pairs that were checked before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoBetterThanChance)
        warnings.simplefilter("ignore", RepeatedItems)
        yield


@dataclass(frozen=True, slots=True, eq=False)
class RandomOrder:
    """The rank of the best right item of a query, if the order of the gallery is random.

    Right items are placed like all others, each order as likely as the next: the hypergeometric
    law. It knows nothing of how tightly right items lie together; five captions of one photo that
    are found together or not at all do worse than this where partners are drawn at random.

    Attributes:
        at_most: Chance that the rank is at most 1, 2, ..., m, for a query drawn from those that
            this is about; ``(m,)`` float64, rising to 1.
    """

    at_most: Tensor

    @classmethod
    def of(cls, positives: Tensor, m: int) -> RandomOrder:
        """Of queries with ``positives`` right items, ``(q,)`` int64 in ``[1, m]``, among ``m``."""
        share = torch.bincount(positives.cpu()).double() / len(positives)
        kept_back = m - torch.arange(1, m + 1, dtype=torch.float64)
        missing = torch.zeros(m, dtype=torch.float64)
        # The chance that the first 1, 2, ... places hold none of the items placed so far.
        missed = torch.ones(m, dtype=torch.float64)
        for placed in range(len(share) - 1):
            missed = missed * (kept_back[: len(missed)] - placed) / (m - placed)
            missed = missed[missed > _NEGLIGIBLE]
            if share[placed + 1] > 0:
                missing[: len(missed)] += share[placed + 1] * missed
        return cls(1 - missing)

    def recall_at_k(self, k: int) -> float:
        """Share of queries with a right item in the top ``k``; ``k / m`` with one right item."""
        return self.at_most[min(k, len(self.at_most)) - 1].item()

    @property
    def mean_reciprocal_rank(self) -> float:
        """Mean of one over the rank; ``(1 + 1/2 + ... + 1/m) / m`` with one right item."""
        exactly = torch.diff(self.at_most, prepend=self.at_most.new_zeros(1))
        places = torch.arange(1, len(exactly) + 1, dtype=torch.float64)
        return (exactly / places).sum().item()

    @property
    def median_rank(self) -> float:
        """Median of the rank; ``(m + 1) / 2`` with one right item."""
        low, high = (
            int((self.at_most < 0.5 + slack).sum()) + 1 for slack in (-_ROUNDING, _ROUNDING)
        )
        return (low + min(high, len(self.at_most))) / 2


@dataclass(frozen=True, slots=True, eq=False)
class HeldOutRanks:
    """Ranks of held-out pairs, each the only right item of its partner."""

    ranks: Tensor  # of each pair in each direction, (q, r), 1 is best
    gallery: Tensor  # items that each was ranked among, (q,) int64

    @classmethod
    def joined(cls, parts: Sequence[HeldOutRanks]) -> HeldOutRanks:
        """Those of several folds as one."""
        ranks, gallery = zip(*((part.ranks, part.gallery) for part in parts), strict=True)
        return cls(torch.cat(ranks), torch.cat(gallery))

    def first(self, n: int) -> HeldOutRanks:
        """Those of the first ``n`` pairs."""
        return HeldOutRanks(self.ranks[:n], self.gallery[:n])

    def recall_at_random(self, k: int) -> float:
        """Recall@k of a random order of each gallery."""
        return (k / self.gallery.double()).clamp(max=1).mean().item()

    @property
    def mean_reciprocal_rank_at_random(self) -> float:
        """Mean reciprocal rank of a random order of each gallery."""
        sizes = self.gallery.tolist()
        means = {m: _places(m).reciprocal().mean().item() for m in set(sizes)}
        return sum(means[m] for m in sizes) / len(sizes)

    def standard_errors(self, rounds: float = 1.0) -> float:
        """By how many standard errors pairs are found earlier than in a random order.

        The measure is the mean logarithm of the rank, which sees both a few pairs that are found
        at once and many that are found a little too early. Its mean and variance in a random order
        are known, and it is compared with those: no spread is taken from the data, so that twenty
        pairs are tested as fairly as thousands. Both directions of a pair count as one, and so do
        the ``rounds`` in which each pair occurs. Negative where pairs are found later.

        Reference:
            Savage 1956, doi:10.1214/aoms/1177728178, for scores of logarithms of ranks.
        """
        gains = torch.zeros(len(self.gallery), dtype=torch.float64)
        for m in set(self.gallery.tolist()):
            logs = _places(m).log()
            spread = logs.std(correction=0)
            if spread > 0:
                own = self.gallery == m
                observed = self.ranks[own].double().log().mean(dim=1).cpu()
                gains[own] = (logs.mean() - observed) / spread
        return gains.mean().item() * math.sqrt(len(gains) / rounds)

    def against_chance(self, *, better: bool) -> AgainstChance:
        """Recall beside that of a random order, at 10, or at 1 in a small gallery."""
        size = self.gallery.double().median().item()
        k = 1 if size < SMALL_GALLERY else 10
        recall = (self.ranks <= k).double().mean().item()
        return AgainstChance(k, recall, self.recall_at_random(k), round(size), better)


@dataclass(frozen=True, slots=True)
class AgainstChance:
    """Held-out recall@k beside that of a random order, and whether it is better beyond doubt."""

    k: int
    recall: float  # in [0, 1]
    chance: float
    gallery: int  # items searched
    better: bool

    def __str__(self) -> str:
        recall = (
            f"R@{self.k} {100 * self.recall:.1f} %, chance {100 * self.chance:.1f} % among "
            f"{self.gallery:,}"
        )
        if not self.better:
            return f"no better than chance: are the rows matched? ({recall})"
        ratio = self.recall / self.chance
        if ratio < 1.05:
            return f"ranks pairs higher than chance, and finds them no more often ({recall})"
        times = f"{ratio:.1f}" if ratio < 9.95 else f"{ratio:.0f}"
        return f"finds pairs {times} times as often as chance ({recall})"

    def warn(self, what: str, *, stacklevel: int) -> None:
        """Warn if ``what`` was fitted is no better; ``stacklevel`` counts from the caller."""
        if not self.better:
            warnings.warn(
                f"{what} is {self}. Held-out pairs must be found more often than a random order "
                "finds them. Look at whether row i of both sides is of one pair, give groups where "
                "pairs share items, or add pairs.",
                NoBetterThanChance,
                stacklevel=stacklevel + 1,
            )


def _places(m: int) -> Tensor:
    return torch.arange(1, m + 1, dtype=torch.float64)
