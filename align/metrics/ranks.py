"""Ranks and the metrics of retrieval: the one definition for fitting, probes and experiments.

A query's positives are the gallery rows of its own group; all other rows are negatives. Ranks are
1-based and ties count against us, so a map that sends everything to one point scores worst.

Metrics of the best positive alone take ``Ranks`` or the rank of that of each query, ``(q,)``; all
others take ``Ranks``. A cut-off ``k`` below 1 raises ``ValueError``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from align._checks import check_codes, check_matrix, check_paired
from align.scoring.inner_products import check_scorable, inner_products

_COUNTED = 24  # positives up to which what is ahead of each is counted; for more, scores are sorted
_SORTED = 256  # queries whose scores are sorted at a time: bounds memory


@dataclass(frozen=True, slots=True, eq=False)
class Ranks:
    """Where the positives of each query came in the ranking of the gallery.

    Attributes:
        flat: Ranks of all positives, int64, query after query, rising within a query.
        offsets: Query ``i`` owns ``flat[offsets[i]:offsets[i + 1]]``; ``(q + 1,)`` int64, strictly
            increasing.
    """

    flat: Tensor
    offsets: Tensor

    @property
    def first(self) -> Tensor:
        """Rank of the best positive of each query, ``(q,)`` int64."""
        return self.flat[self.offsets[:-1]]

    @property
    def positives(self) -> Tensor:
        """Number of positives of each query, ``(q,)`` int64, at least 1."""
        return self.offsets.diff()

    def __len__(self) -> int:
        return len(self.offsets) - 1


@torch.no_grad()
def rank_positives(
    queries: Tensor,
    gallery: Tensor,
    query_groups: Tensor,
    gallery_groups: Tensor,
    *,
    rows: int = 1024,
) -> Ranks:
    """Ranks of all positives of each query by inner product, each in ``[1, m]``.

    The rank of the j-th best positive is j plus the number of negatives that score at least as
    high. Both are read from one block of scores, so that a tie is exact.

    Args:
        queries: ``(q, d)`` floating point.
        gallery: ``(m, d)``, same dtype and device.
        query_groups: Group code of each query, ``(q,)`` int64; ``align.data.splits.group_codes`` of
            queries and gallery together makes them.
        gallery_groups: Group code of each gallery row, ``(m,)`` int64.
        rows: Queries ranked at a time; a ``(rows, m)`` block of scores is held.

    Raises:
        ValueError: A matrix is not finite, shapes or codes do not fit, a query has no positive, or
            a score overflows.
    """
    check_matrix("queries", queries)
    check_matrix("gallery", gallery)
    check_scorable(queries, gallery)
    matches = _matches(query_groups, gallery_groups, (len(queries), len(gallery)))
    blocks = [
        matches.ranks(inner_products(queries[block], gallery), block)
        for block in torch.split(torch.arange(len(queries), device=queries.device), rows)
    ]
    return Ranks(torch.cat(blocks), matches.offsets)


@torch.no_grad()
def rank_scores(scores: Tensor, query_groups: Tensor, gallery_groups: Tensor) -> Ranks:
    """``rank_positives`` for scores of any kind, ``(q, m)`` floating point; higher is better.

    The groups are those of ``rank_positives``, and so are the errors.
    """
    check_matrix("scores", scores)
    q, m = scores.shape
    matches = _matches(query_groups, gallery_groups, (q, m))
    return Ranks(matches.ranks(scores, torch.arange(q, device=scores.device)), matches.offsets)


def ranks(queries: Tensor, gallery: Tensor) -> Tensor:
    """Rank of gallery row ``i`` for query ``i``, its only positive; ``(q,)`` int64, 1 is best.

    Both sides are row-matched ``(n, d)``; arguments and errors are those of ``rank_positives``.
    """
    check_paired(queries, gallery)
    codes = torch.arange(len(queries), device=queries.device)
    return rank_positives(queries, gallery, codes, codes).first


def ranks_of_partners(scores: Tensor) -> Tensor:
    """Rank of column ``i`` in row ``i`` of finite ``scores`` ``(n, n)``; ``(n,)`` int64, 1 is best.

    ``ranks`` for scores that are there already: row ``i`` holds those of query ``i``.
    """
    return (scores >= scores.diagonal()[:, None]).sum(dim=1, dtype=torch.int32).long()


def hits_at_k(ranks: Ranks | Tensor, k: int) -> Tensor:
    """1 where the best positive is in the top ``k`` and 0 elsewhere; ``(q,)`` float64."""
    _check_cut_off(k)
    return (_first(ranks) <= k).double()


def recall_at_k(ranks: Ranks | Tensor, k: int) -> float:
    """Share of queries whose best positive is in the top ``k``, in [0, 1]; higher is better.

    The recall@k of papers on retrieval between images and captions. Elsewhere it is called hit
    rate@k or Success@k, and recall@k is ``recall``: the two are one number where each query has one
    positive, and with five positives they differ up to five-fold. A random order gives ``k / m``
    for one positive.
    """
    return hits_at_k(ranks, k).mean().item()


def shares_found_at_k(ranks: Ranks, k: int) -> Tensor:
    """Share of each query's positives that are in its top ``k``; ``(q,)`` float64 in [0, 1]."""
    _check_cut_off(k)
    return _sum_by_query((ranks.flat <= k).double(), ranks) / ranks.positives


def recall(ranks: Ranks, k: int) -> float:
    """Share of a query's positives in its top ``k``, mean over queries; higher is better.

    Recall@k as information retrieval defines it; ``recall_at_k`` asks for one positive only. At
    most ``k / p`` for a query with ``p > k`` positives; a random order gives ``k / m``.

    Reference:
        Manning, Raghavan and Schütze 2008, Introduction to Information Retrieval, eq. 8.2, of the
        first ``k`` results; ``R@k`` in ir-measures, ``recall.k`` in trec_eval.
    """
    return shares_found_at_k(ranks, k).mean().item()


def reciprocal_ranks(ranks: Ranks | Tensor) -> Tensor:
    """One over the rank of the best positive, per query; ``(q,)`` float64."""
    return _first(ranks).double().reciprocal()


def mean_reciprocal_rank(ranks: Ranks | Tensor) -> float:
    """Mean of one over the rank of the best positive, in (0, 1]; higher is better."""
    return reciprocal_ranks(ranks).mean().item()


def median_rank(ranks: Ranks | Tensor) -> float:
    """Median rank of the best positive, at least 1; lower is better, ``(m + 1) / 2`` is chance.

    The mean of the two middle ranks where the number of queries is even.
    """
    in_order = _first(ranks).sort().values.double()
    q = len(in_order)
    return (in_order[(q - 1) // 2] + in_order[q // 2]).item() / 2


def normalised_gains_at_k(ranks: Ranks, k: int) -> Tensor:
    """nDCG@k of each query with relevance 0 or 1; ``(q,)`` float64 in [0, 1].

    Reference:
        Järvelin and Kekäläinen 2002, doi:10.1145/582415.582418, with the discount
        ``1 / log2(rank + 1)`` of trec_eval.
    """
    _check_cut_off(k)
    gained = _sum_by_query(_discount(ranks.flat, k), ranks)
    return gained / _sum_by_query(_discount(_places(ranks), k), ranks)


def ndcg_at_k(ranks: Ranks, k: int) -> float:
    """Mean nDCG@k with relevance 0 or 1, in [0, 1]; higher is better."""
    return normalised_gains_at_k(ranks, k).mean().item()


def average_precisions(ranks: Ranks) -> Tensor:
    """Precision at each positive, averaged over the positives of a query; ``(q,)`` float64.

    Reference:
        Manning, Raghavan and Schütze 2008, Introduction to Information Retrieval, eq. 8.8.
    """
    return _sum_by_query(_places(ranks).double() / ranks.flat, ranks) / ranks.positives


def mean_average_precision(ranks: Ranks) -> float:
    """Mean over queries of the average precision, in (0, 1]; higher is better."""
    return average_precisions(ranks).mean().item()


def _check_cut_off(k: int) -> None:
    if k < 1:
        raise ValueError(f"k must be at least 1, the first place; got {k}. Pass k=1 or more.")


@dataclass(frozen=True, slots=True, eq=False)
class _Matches:
    """The gallery rows that belong to each query."""

    columns: Tensor  # gallery rows, group after group, (m,)
    begin: Tensor  # where the group of each query begins in columns, (q,)
    counts: Tensor  # positives of each query, (q,)

    @property
    def offsets(self) -> Tensor:
        return torch.cat([self.counts.new_zeros(1), self.counts.cumsum(0)])

    def ranks(self, scores: Tensor, block: Tensor) -> Tensor:
        """Ranks of all positives of the queries ``block``, end to end; scores are ``(b, m)``."""
        slots = torch.arange(int(self.counts[block].max()), device=scores.device)
        held = slots < self.counts[block, None]
        at = self.columns[(self.begin[block, None] + slots).clamp(max=len(self.columns) - 1)]
        return _ranks_of_block(scores, at, held)[held]


def _matches(query_groups: Tensor, gallery_groups: Tensor, shape: tuple[int, int]) -> _Matches:
    """Check the codes of ``q`` queries and ``m`` gallery rows and find the positives of each."""
    q, m = shape
    check_codes("query_groups", query_groups, q)
    check_codes("gallery_groups", gallery_groups, m)
    in_order, columns = gallery_groups.sort(stable=True)
    wanted = query_groups.contiguous()
    begin = torch.searchsorted(in_order, wanted)
    counts = torch.searchsorted(in_order, wanted, right=True) - begin
    if (counts == 0).any():
        lost = (counts == 0).nonzero().flatten().tolist()
        raise ValueError(
            f"every query needs a gallery row of its group; {len(lost)} of {q} have "
            f"none, the first at rows {lost[:5]}. Drop those queries or add their matches."
        )
    return _Matches(columns, begin, counts)


def _ranks_of_block(scores: Tensor, at: Tensor, held: Tensor) -> Tensor:
    """Ranks ``(b, p)`` of the positives in columns ``at``; meaningless where not ``held``."""
    best_first = (
        scores.gather(1, at).masked_fill(~held, -torch.inf).sort(dim=1, descending=True).values
    )
    # Everything that scores at least as high, less the positives among it, are the negatives.
    as_high = _as_high(scores, best_first)
    falling = best_first.neg().contiguous()
    own = torch.searchsorted(falling, falling, right=True)
    return as_high - own + torch.arange(1, at.shape[1] + 1, device=at.device)


def _as_high(scores: Tensor, slots: Tensor) -> Tensor:
    """How many of each row of scores ``(b, m)`` are at least each slot, ``(b, p)``."""
    if slots.shape[1] <= _COUNTED:
        counts = [(scores >= slot[:, None]).sum(1, dtype=torch.int32) for slot in slots.T]
        return torch.stack(counts, dim=1)
    below = [
        torch.searchsorted(_rising(some), wanted.contiguous())
        for some, wanted in zip(
            torch.split(scores, _SORTED), torch.split(slots, _SORTED), strict=True
        )
    ]
    return scores.shape[1] - torch.cat(below)


def _rising(scores: Tensor) -> Tensor:
    """Each row of scores in rising order."""
    if scores.device.type == "cpu" and scores.dtype in (torch.float32, torch.float64):
        # NumPy sorts by vector instructions, PyTorch one number at a time.
        return torch.from_numpy(np.sort(scores.detach().numpy(), axis=1))
    return scores.sort(dim=1).values


def _first(ranks: Ranks | Tensor) -> Tensor:
    return ranks.first if isinstance(ranks, Ranks) else ranks


def _places(ranks: Ranks) -> Tensor:
    """1, 2, ... within each query: the ranks if every positive beat every negative."""
    starts = ranks.offsets[:-1].repeat_interleave(ranks.positives)
    return torch.arange(1, len(ranks.flat) + 1, device=starts.device) - starts


def _discount(places: Tensor, k: int) -> Tensor:
    return (places.double() + 1).log2().reciprocal().where(places <= k, 0.0)


def _sum_by_query(values: Tensor, ranks: Ranks) -> Tensor:
    query = torch.arange(len(ranks), device=values.device).repeat_interleave(ranks.positives)
    return values.double().new_zeros(len(ranks)).index_add(0, query, values.double())
