"""Coarse to fine: a cheap first stage over all documents, then exact MaxSim on the best of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

from align._checks import check_k
from align._display.lines import count, one_line, percent
from align._display.panel import Panel, Tile, render
from align.data.multi_vector import MultiVector
from align.retrieval.first_stages import Budget, FirstStage, maxsim_flops, propose
from align.scoring.late_interaction import topk
from align.scoring.pair_scores import maxsim_pairs
from align.scoring.topk import Neighbours


def cascade(
    queries: MultiVector,
    documents: MultiVector,
    k: int,
    *,
    candidates: int,
    first: FirstStage,
    budget: Budget | None = None,
) -> Neighbours:
    """The ``k`` best by MaxSim among the documents that a first stage proposes.

    Scores are exact, and of equal ones the lower row comes first, as ``topk`` has it; a document
    is missed only if the first stage ranks it below ``candidates``.

    Args:
        queries: ``q`` packed queries.
        documents: ``m`` packed documents of the same width and device.
        k: Neighbours per query, ``1 <= k <= candidates``.
        candidates: Documents per query that MaxSim scores, at most ``m``.
        first: Made from the same documents by ``first_stage``.
        budget: Vectors used by MaxSim of each query and each document; all if left out.

    Raises:
        ValueError: ``k`` or ``candidates`` is out of range, ``first`` is of other documents,
            repeats some or gives NaN; and as for ``maxsim_pairs``.

    Examples:
        >>> import torch, align
        >>> rng = torch.Generator().manual_seed(0)
        >>> normalize = torch.nn.functional.normalize
        >>> items = [normalize(torch.randn(4, 8, generator=rng)) for _ in range(50)]
        >>> documents = align.MultiVector.pack(items)
        >>> first = align.first_stage(documents)
        >>> found = align.cascade(documents, documents, k=1, candidates=10, first=first)
        >>> found.indices[:3].tolist()
        [[0], [1], [2]]
    """
    check_candidates(k, candidates, len(documents))
    check_same(first, documents)
    return rescore(
        propose(first, queries, candidates).indices,
        lambda pairs: maxsim_pairs(queries, documents, pairs, budget=budget),
        k=k,
    )


@torch.no_grad()
def rescore(candidates: Tensor, score: Callable[[Tensor], Tensor], *, k: int) -> Neighbours:
    """The ``k`` best among the candidates of each query, ``(q, n)`` int64, each once.

    ``score`` gives the scores, ``(p,)``, of queries and candidates, ``(p, 2)``. Of equal scores the
    lower row comes first.
    """
    rising = candidates.sort(dim=1).values
    q, n = rising.shape
    asking = torch.arange(q, device=rising.device).repeat_interleave(n)
    scores = score(torch.stack([asking, rising.flatten()], dim=1)).view(q, n)
    values, order = scores.sort(dim=1, descending=True, stable=True)
    return Neighbours(values[:, :k], rising.gather(1, order[:, :k]))


@dataclass(frozen=True, slots=True)
class CandidateChoice:
    """How many candidates a cascade needs, measured on sample queries.

    Attributes:
        candidates: Documents per query that MaxSim should score.
        agreement: Mean share of the exact top ``k`` that the cascade then finds, in [0, 1].
        lower: One-sided 95 % confidence bound below the agreement on other queries like these.
        k: Neighbours per query.
        queries: How many queries were tried.
    """

    candidates: int
    agreement: float
    lower: float
    k: int
    queries: int

    def __repr__(self) -> str:
        return one_line(
            "CandidateChoice",
            count(self.candidates, "candidate"),
            f"{percent(self.agreement)} of the top {self.k}, at least {percent(self.lower)}",
            f"on {count(self.queries, 'query', 'queries')}",
        )

    def _repr_html_(self) -> str:
        tiles = [
            Tile("candidates", f"{self.candidates:,}", "a query"),
            Tile(
                f"of the top {self.k}", percent(self.agreement), f"at least {percent(self.lower)}"
            ),
            Tile("queries tried", f"{self.queries:,}"),
        ]
        return render(Panel("CandidateChoice", tiles=tiles))


def candidates_for(
    queries: MultiVector,
    documents: MultiVector,
    k: int,
    *,
    recall: float,
    first: FirstStage,
    budget: Budget | None = None,
) -> CandidateChoice:
    """The fewest candidates at which a cascade finds a stated share of the exact top ``k``.

    A document of the exact top ``k`` is in the cascade's if and only if it is a candidate, so its
    rank in the first stage decides, and the smallest number is found without trying any.

    The choice looks at the sample, so new queries may agree less than ``recall``: for a promise,
    choose a ``recall`` at which ``lower`` is high enough. The bound is Wilson's for as many
    yes-or-no trials as there are queries. A share has at most the variance of a yes-or-no with
    the same mean, so the bound errs on the low side; queries are taken as independent.

    Args:
        queries: Sample queries, at least one.
        documents: ``m`` packed documents; these and what follows are as for ``cascade``.
        k: Neighbours per query, ``1 <= k <= m``.
        recall: Mean share of the exact top ``k`` to reach on these queries, in (0, 1].
        first: Made from the same documents.
        budget: Vectors used by MaxSim.

    Raises:
        ValueError: There are no queries, ``k`` or ``recall`` is out of range, or ``first`` is of
            other documents, repeats some, or gives NaN.

    Reference:
        Wilson 1927, Journal of the American Statistical Association 22:209-212.

    Examples:
        >>> import torch, align
        >>> rng = torch.Generator().manual_seed(0)
        >>> normalize = torch.nn.functional.normalize
        >>> items = [normalize(torch.randn(4, 8, generator=rng)) for _ in range(50)]
        >>> documents = align.MultiVector.pack(items)
        >>> first = align.first_stage(documents)
        >>> choice = align.candidates_for(documents, documents, k=1, recall=0.9, first=first)
        >>> choice.candidates <= 50
        True
    """
    check_k(k, len(documents), of="the number of documents")
    if not 0 < recall <= 1:
        raise ValueError(
            f"recall must lie in (0, 1]; got {recall}. Pass 0.95 to find 95 % of the exact top k."
        )
    if len(queries) == 0:
        raise ValueError("a choice needs sample queries; got none. Pass some held-out queries.")
    check_same(first, documents)
    exact = topk(queries, documents, k, budget=budget).indices
    n = k
    ranks = ranks_in_stage(queries, exact, first, n)
    while _agreement(ranks, n) < recall:
        n = min(len(documents), 4 * n)
        ranks = ranks_in_stage(queries, exact, first, n)
    in_order = ranks.flatten().sort().values
    shares = torch.arange(1, len(in_order) + 1, dtype=torch.float64) / len(in_order)
    needed = max(k, int(in_order[int((shares < recall).sum())]))
    agreement = _agreement(ranks, needed)
    lower = _wilson_lower(agreement, len(queries))
    return CandidateChoice(needed, agreement, lower, k, len(queries))


def cascade_flops(
    queries: MultiVector,
    documents: MultiVector,
    *,
    candidates: int,
    first: FirstStage,
    budget: Budget | None = None,
) -> float:
    """Floating-point operations of ``cascade``, candidates taken to be of average length."""
    share = candidates / len(documents)
    return first.flops(queries) + share * maxsim_flops(queries, documents, budget=budget)


def check_candidates(k: int, candidates: int, documents: int) -> None:
    """Raise ``ValueError`` unless ``1 <= k <= candidates <= documents``."""
    check_k(candidates, documents, name="candidates", of="the number of documents")
    check_k(k, candidates, of="the number of candidates")


def check_same(first: FirstStage, documents: MultiVector) -> None:
    """Raise ``ValueError`` unless a first stage holds as many items as there are documents."""
    if len(first) != len(documents):
        raise ValueError(
            "a first stage must be made from the items that it selects among; it holds "
            f"{len(first)} and there are {len(documents)}. Make it anew by first_stage(documents), "
            "or pass a function of a MultiVector that keeps all of its items."
        )


def ranks_in_stage(
    queries: MultiVector, exact: Tensor, first: FirstStage, n: int, *, entries: int = 1 << 22
) -> Tensor:
    """First-stage rank of each row of ``exact``, ``(q, k)``; ``n + 1`` where not among ``n``.

    ``entries`` ranks are held at a time.
    """
    ranks = torch.full(exact.shape, n + 1)
    rows = max(1, entries // n)
    for start in range(0, len(queries), rows):
        proposed = propose(first, queries[start : start + rows], n).indices
        for column in range(exact.shape[1]):
            same = proposed == exact[start : start + rows, column, None]
            query, place = same.nonzero(as_tuple=True)
            ranks[start + query.cpu(), column] = place.cpu() + 1
    return ranks


def _agreement(ranks: Tensor, candidates: int) -> float:
    return int((ranks <= candidates).sum()) / ranks.numel()


def _wilson_lower(share: float, trials: int) -> float:
    """The one-sided 95 % bound of Wilson 1927."""
    z = NormalDist().inv_cdf(0.95)
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return max(0.0, (share + z * z / (2 * trials) - spread) / (1 + z * z / trials))
