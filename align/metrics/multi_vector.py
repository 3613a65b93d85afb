"""How well several vectors per item retrieve held-out pairs, at any budget."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from align.adapters.multi_vector.meta_tokens import MetaTokens
from align.data.embeddings import Vectors
from align.data.multi_vector import MultiVector
from align.data.repeats import warn_of_repeats
from align.data.sides import Side
from align.data.token_pairs import TokenPairs
from align.metrics.evaluation import DistinctItems, Evaluation, evaluate_ranks, seen_in_training
from align.metrics.ranks import rank_scores
from align.scoring.late_interaction import maxsim

ROWS = 256  # queries scored at a time, so that scores never fill (q, m)


class MultiMaps(Protocol):
    """Both sides as several vectors per item, to be scored by MaxSim; ``MetaTokens`` is one."""

    def queries(self, x: Vectors, tokens: MultiVector | None, /, *, side: Side) -> MultiVector:
        """Vectors of queries."""

    def gallery(self, x: Vectors, tokens: MultiVector | None, /, *, side: Side) -> MultiVector:
        """Vectors of items that are searched."""


def evaluate_meta_tokens(
    pairs: TokenPairs,
    head: MultiMaps,
    *,
    budget: tuple[int, int] | None = None,
    by: Iterable[object] | None = None,
    seed: int = 0,
) -> Evaluation:
    """``evaluate`` for late interaction: the same items, ranks and intervals.

    Args:
        pairs: Held-out pairs with the token states that the head draws on.
        head: A head of ``fit_meta_tokens``.
        budget: ``(r_q, r_c)``, the first vectors of queries and of gallery items that count; all
            of them if left out.
        by: What kind each pair is, as for ``evaluate``.
        seed: Seeds the bootstrap of the intervals.

    Raises:
        ValueError: The head refuses the pairs, or has fewer vectors than the budget.

    Warns:
        NotHeldOut: The head was fitted on some of the pairs.
        RepeatedItems: As for ``evaluate``.

    Examples:
        >>> import warnings, torch, align
        >>> rng = torch.Generator().manual_seed(0)
        >>> states = [torch.randn(6, 8, generator=rng) for _ in range(60)]
        >>> tokens = align.MultiVector.pack(states)
        >>> means = torch.stack([each.mean(dim=0) for each in states])
        >>> pooled = align.PairedEmbeddings.from_arrays(means, means)
        >>> data = align.TokenPairs(pooled, tokens, tokens)
        >>> from align.adapters.closed_form.rcca import rcca
        >>> head = align.fit_meta_tokens(
        ...     data, vectors=2, asking=2, epochs=1,
        ...     fit_adapter=lambda pairs: rcca(pairs.source, pairs.target),  # align.fit if left out
        ... )
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter('ignore')  # these pairs were trained on
        ...     found = align.evaluate_meta_tokens(data, head)
        >>> found.mean['recall_at_10'].value
        1.0
    """
    pooled = pairs.pooled
    sides = pooled.source, pooled.target
    warn_of_repeats(sides, pooled.groups, "evaluate_meta_tokens", stacklevel=2)
    adapter = head.adapter if isinstance(head, MetaTokens) else None
    seen = seen_in_training(adapter, pooled, stacklevel=2)

    def rank(queries: DistinctItems, gallery: DistinctItems) -> Tensor:
        query_vectors = head.queries(queries.embeddings, _tokens(pairs, queries), side=queries.side)
        gallery_vectors = head.gallery(
            gallery.embeddings, _tokens(pairs, gallery), side=gallery.side
        )
        ranks = []
        for start in range(0, len(query_vectors), ROWS):
            block = slice(start, start + ROWS)
            scores = maxsim(query_vectors[block], gallery_vectors, budget=budget)
            ranks.append(rank_scores(scores, queries.codes[block], gallery.codes).first)
        return torch.cat(ranks)

    return replace(evaluate_ranks(pooled, rank, by=by, seed=seed), trained_on=seen)


def _tokens(pairs: TokenPairs, items: DistinctItems) -> MultiVector | None:
    tokens = pairs.source if items.side == "source" else pairs.target
    return None if tokens is None else tokens.take(items.rows)
