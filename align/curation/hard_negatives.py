"""Wrong items that score high, and are wrong as far as one can tell: mined on cached features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, overload

import torch
from torch import Tensor

from align._checks import check_k, check_side
from align.adapters.adapter import Adapter
from align.curation.duplicates import equal_vectors
from align.data.embeddings import PairedEmbeddings, Vectors
from align.data.paired_arguments import pairs_and_adapter
from align.data.splits import group_codes
from align.scoring.inner_products import inner_products
from align.scoring.topk import best_columns

ROWS = 1024


@dataclass(frozen=True, slots=True, eq=False)
class HardNegatives:
    """The best-scoring wrong items of each query.

    Attributes:
        queries: Rows of the pairs whose query has ``k`` negatives, ``(q,)`` int64.
        rows: Rows of the pairs whose item is a negative, best-scoring first, ``(q, k)`` int64.
        scores: Their cosines, ``(q, k)``.
        lacking: Rows whose query has fewer, since its own item scores so low that nearly all
            others count as possible answers.
        withheld: How many items of other groups scored too high to be called wrong, per row of the
            pairs, ``(n,)`` int64.
    """

    queries: Tensor
    rows: Tensor
    scores: Tensor
    lacking: Tensor
    withheld: Tensor


@torch.no_grad()
@overload
def hard_negatives(
    pairs: PairedEmbeddings,
    adapter: Adapter,
    /,
    *,
    k: int,
    margin: float = 0.95,
    side: Literal["source", "target"] = "source",
) -> HardNegatives: ...
@overload
def hard_negatives(
    source: Vectors,
    target: Vectors,
    adapter: Adapter,
    /,
    *,
    k: int,
    margin: float = 0.95,
    side: Literal["source", "target"] = "source",
) -> HardNegatives: ...
def hard_negatives(
    pairs: PairedEmbeddings | Vectors,
    target: Vectors | Adapter,
    adapter: Adapter | None = None,
    /,
    *,
    k: int,
    margin: float = 0.95,
    side: Literal["source", "target"] = "source",
) -> HardNegatives:
    """The ``k`` items of the other side that score highest without being a match, for each query.

    Left out are items of the query's own group, items equal to one of them, and items that score
    above ``own - (1 - margin) |own|``, ``margin`` times the cosine of the query's own item where
    that is positive: they may be right answers that nobody wrote down. An item of several pairs is
    one item, named by its first row. The search is exact; of equal scores the lower row is first.

    An adapter scores pairs that it was fitted on higher than new ones; that lifts the bar.

    Args:
        pairs: Pairs to mine from, or their sources, in any form that
            ``PairedEmbeddings.from_arrays`` takes.
        target: Their targets, ``(n, d_target)``, unless ``pairs`` holds both sides; as for
            ``align.evaluate``.
        adapter: Maps both sides; the hubness correction is left aside, as training leaves it.
        k: Negatives per query, >= 1 and below the number of distinct items.
        margin: Share of the own item's cosine that a negative may reach, in (0, 1].
        side: The side of the queries.

    Raises:
        ValueError: ``k``, ``margin`` or ``side`` is out of range, or the adapter refuses the pairs.

    Reference:
        Moreira et al. 2024, arXiv:2407.15831 (NV-Retriever), call this positive-aware mining
        TopK-PercPos and use 95 %.
    """
    paired, maps = pairs_and_adapter(pairs, target, adapter)
    check_side(side)
    if not 0 < margin <= 1:
        raise ValueError(f"margin must lie in (0, 1]; got {margin}. 0.95 is the published value.")
    queries, mapped = maps.source(paired.source), maps.target(paired.target)
    raw = paired.target
    if side == "target":
        queries, mapped, raw = mapped, queries, paired.source
    same = equal_vectors(raw)
    items = same.kept
    check_k(k, len(items) - 1, of="the number of other items")
    column = torch.zeros(len(paired), dtype=torch.int64)
    column[items] = torch.arange(len(items))
    column = column[same.stands_in]  # the item of each pair
    groups = torch.from_numpy(group_codes(paired.groups))
    # Each item of each group once: all items of a query's group are matches of it.
    group_of, item = torch.unique(torch.stack([groups, column]), dim=1)
    gallery = mapped[items]
    rows, scores, withheld = [], [], []
    for block in torch.split(torch.arange(len(paired)), ROWS):
        products = inner_products(queries[block], gallery)
        own = products.gather(1, column[block, None])
        query, match = (groups[block, None] == group_of).nonzero(as_tuple=True)
        products[query, item[match]] = -torch.inf
        above = products > own - (1 - margin) * own.abs()
        withheld.append(above.sum(dim=1))
        best = best_columns(products.masked_fill(above, -torch.inf), k)
        rows.append(items[best.indices])
        scores.append(best.values)
    values = torch.cat(scores)
    whole = values[:, -1] > -torch.inf
    having, lacking = whole.nonzero().flatten(), (~whole).nonzero().flatten()
    return HardNegatives(
        having, torch.cat(rows)[whole], values[whole], lacking, torch.cat(withheld)
    )
