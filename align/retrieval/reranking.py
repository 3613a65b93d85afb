"""Candidates of any searcher, scored anew in the shared space."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from align._checks import as_list, check_length
from align.data.embeddings import Vectors, as_tensor
from align.data.multi_vector import MultiVector
from align.retrieval.fusion import check_ranking
from align.retrieval.hits import Hit, Id, SearchResults, of_same_query
from align.retrieval.index.inputs import check_rows
from align.scoring.pair_scores import maxsim_pairs

Lookup = Callable[[list[Id]], Vectors | MultiVector]
"""Ids in, and the gallery vectors of those items out, in that order."""


def rescore_hits(
    queries: Vectors | MultiVector, hits: Sequence[Sequence[Hit]], vectors: Lookup
) -> SearchResults:
    """The hits of each query, best first by inner product, or by MaxSim of several vectors.

    The first stage may be anything that gives ids: BM25, a vector database, another index. To
    rescore by an adapter, pass ``embedder.queries(texts)`` and a function that looks items up and
    gives ``embedder.gallery(items)``; with several vectors per item, those of a ``MetaTokens`` or
    of any late-interaction model.

    Args:
        queries: ``q`` query vectors, ``(q, d)``, or ``q`` packed queries.
        hits: What the first stage found for each query.
        vectors: Gives the gallery vectors of a list of ids: ``(n, d)``, or ``n`` packed items. It
            is called once, with each id once; pass fewer queries at a time to hold fewer vectors.

    Returns:
        The same hits with new scores. Of equal ones the first stage's order stays.

    Raises:
        ValueError: There is not one list of hits per query, an item stands in one list twice,
            ``vectors`` does not give one item per id, a vector or a score of the first stage is
            not a number, or the widths differ.

    Examples:
        >>> import torch, align
        >>> vectors = {"a": [1.0, 0.0], "b": [0.0, 1.0]}
        >>> def lookup(ids):
        ...     return torch.tensor([vectors[each] for each in ids])
        >>> hits = [[align.Hit("a", 2.0), align.Hit("b", 1.0)]]
        >>> found = align.rescore_hits(torch.tensor([[0.0, 1.0]]), hits, lookup)
        >>> [hit.id for hit in found[0]]
        ['b', 'a']
    """
    queries = _finite("queries", queries)
    hits = as_list("hits", hits)
    check_length("hits", hits, len(queries))
    for ranking in hits:
        check_ranking(ranking)
    ids = list(dict.fromkeys(hit.id for ranking in hits for hit in ranking))
    if not ids:
        return SearchResults(hits)
    items = _finite("what vectors gives", vectors(ids))
    check_length("what vectors gives", range(len(items)), len(ids))
    row_of = {name: row for row, name in enumerate(ids)}
    pairs = [(row, row_of[hit.id]) for row, ranking in enumerate(hits) for hit in ranking]
    with torch.no_grad():
        scores = iter(maxsim_pairs(queries, items, pairs).tolist())
    rescored = [
        [hit._replace(score=next(scores), confidence=None) for hit in ranking] for ranking in hits
    ]
    for ranking in rescored:
        ranking.sort(key=lambda hit: hit.score, reverse=True)  # equal ones keep their order
    paired = zip(rescored, hits, strict=True)
    return SearchResults(of_same_query(new, [ranking]) for new, ranking in paired)


def _finite(name: str, items: Vectors | MultiVector) -> MultiVector:
    """Packed items without NaN or infinity; MaxSim of one vector each is the inner product."""
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
