"""A head of meta tokens judged by codes of few bits alone, nothing rescored."""

from __future__ import annotations

import torch
from torch import Tensor

from align.adapters.multi_vector.meta_tokens import MetaTokens
from align.data.multi_vector import MultiVector
from align.data.token_pairs import TokenPairs
from align.metrics.evaluation import DistinctItems, Evaluation, evaluate_ranks
from align.metrics.ranks import rank_scores
from align.scoring.low_bits import LowBitVectors


def evaluate_codes(gallery: TokenPairs, head: MetaTokens, *, bits: int) -> Evaluation:
    """Ranks by codes of so few bits alone, nothing rescored."""

    def rank(queries: DistinctItems, items: DistinctItems) -> Tensor:
        sides = {"source": gallery.source, "target": gallery.target}

        def tokens(side: DistinctItems) -> MultiVector | None:
            found = sides[side.side]
            return None if found is None else found.take(side.rows)

        asking = head.queries(queries.embeddings, tokens(queries), side=queries.side)
        asked = head.gallery(items.embeddings, tokens(items), side=items.side)
        codes = LowBitVectors.of(asked, bits=bits)
        order = codes(asking, len(asked)).indices
        scores = torch.empty(len(asking), len(asked))
        places = torch.arange(len(asked), 0, -1, dtype=torch.float32)
        scores.scatter_(1, order, places.expand(len(asking), -1))
        return rank_scores(scores, queries.codes, items.codes).first

    return evaluate_ranks(gallery.pooled, rank)
