"""Candidates of any searcher, scored anew in the shared space."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from align._checks import as_list, check_length
from align.data.embeddings import Vectors, as_tensor
from align.data.multi_vector import MultiVector
from align.retrieval.cascade import rescore, rows_at_a_time
from align.retrieval.fusion import check_ranking
from align.retrieval.hits import Hit, Id
from align.retrieval.index.inputs import check_rows

Lookup = Callable[[list[Id]], Vectors | MultiVector]
"""Ids in, and the gallery vectors of those items out, in that order."""


def rescore_hits(
    queries: Vectors | MultiVector, hits: Sequence[Sequence[Hit]], vectors: Lookup
) -> list[list[Hit]]:
    """The hits of each query, best first by inner product, or by MaxSim of several vectors.

    The first stage may be anything that gives ids: BM25, a vector database, another index. To
    rescore by an adapter, pass ``embedder.queries(texts)`` and a function that looks items up and
    gives ``embedder.gallery(items)``; with several vectors per item, those of a ``MetaTokens`` or
    of any late-interaction model.

    Args:
        queries: ``q`` query vectors, ``(q, d)``, or ``q`` packed queries.
        hits: What the first stage found for each query.
        vectors: Gives the gallery vectors of a list of ids: ``(n, d)``, or ``n`` packed items. It
            is called once, with each id once, so that nothing is encoded or read twice; pass fewer
            queries at a time to hold fewer vectors.

    Returns:
        The same hits with new scores. Of equal ones the first stage's order stays.

    Raises:
        ValueError: There is not one list of hits per query, an item stands in one list twice,
            ``vectors`` does not give one item per id, a vector or a score of the first stage is
            not a number, or the widths differ.
    """
    asked = _packed("queries", queries)
    hits = as_list("hits", hits)
    check_length("hits", hits, len(asked))
    for found in hits:
        check_ranking(found)
    ids = list(dict.fromkeys(hit.id for found in hits for hit in found))
    if not ids:
        return [[] for _ in hits]
    items = _packed("what vectors gives", vectors(ids))
    check_length("what vectors gives", range(len(items)), len(ids))
    place = {name: row for row, name in enumerate(ids)}
    rows = rows_at_a_time(items)
    return [
        _rescored(
            asked[number : number + 1],
            found,
            items.take(torch.tensor([place[hit.id] for hit in found])),
            rows,
        )
        if found
        else []
        for number, found in enumerate(hits)
    ]


def _rescored(query: MultiVector, hits: Sequence[Hit], items: MultiVector, rows: int) -> list[Hit]:
    """The hits of one query, best first; ``items`` are theirs, in their order."""
    everything = torch.arange(len(hits), device=items.tokens.device)[None]
    best = rescore(query, everything, items.take, k=len(hits), rows=rows)
    return [
        hits[row]._replace(score=score)
        for row, score in zip(best.indices[0].tolist(), best.values[0].tolist(), strict=True)
    ]


def _packed(name: str, items: Vectors | MultiVector) -> MultiVector:
    """Items of one vector each as multi-vectors; their MaxSim is the inner product."""
    check_rows(name, items)
    if not isinstance(items, MultiVector):
        items = MultiVector.from_equal(as_tensor(items).float()[:, None])
    bad = (~items.tokens.isfinite().all(dim=1)).nonzero().flatten()
    if len(bad):
        rows = torch.bucketize(bad.cpu(), items.offsets.cpu(), right=True) - 1
        raise ValueError(
            f"{name} must be finite; row {int(rows[0])} of {len(items)} holds NaN or infinity, "
            "which no score can be sorted by. Find out which item gave it, and drop or re-encode "
            "that."
        )
    return items
