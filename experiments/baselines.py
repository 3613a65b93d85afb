"""What anyone would try first: the encoders as they are, and a ridge that was tuned once."""

from __future__ import annotations

import torch
from torch import Tensor

from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.closed_form.ridge import ridge
from align.adapters.maps.linear import IdentityMap
from align.data.embeddings import PairedEmbeddings
from align.metrics.ranks import mean_reciprocal_rank, ranks

RIDGES = (0.3, 1.0, 3.0, 10.0, 30.0)
HELD_OUT = 0.2  # share of the pairs that a ridge is chosen on


def raw_cosine(train: PairedEmbeddings, seed: int) -> Adapter:
    """The encoders as they are, of equal width; ``seed`` draws nothing."""
    width = train.source.shape[1]
    return Adapter(IdentityMap(width), IdentityMap(width), Card("raw cosine", 0, width, width))


def tuned_ridge(source: Tensor, target: Tensor, *, seed: int) -> Adapter:
    """Ridge both ways, its ridge chosen on a fifth of the pairs, then fitted on all of them."""
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(seed))
    held_out, rest = order.tensor_split([max(1, round(HELD_OUT * len(order)))])

    def quality(strength: float) -> float:
        adapter = ridge(source[rest], target[rest], ridge=strength)
        x, y = adapter.source(source[held_out]), adapter.target(target[held_out])
        return mean_reciprocal_rank(torch.cat([ranks(x, y), ranks(y, x)]))

    return ridge(source, target, ridge=max(RIDGES, key=quality))
