"""Evaluations with planted ranks, and maps that lose some of what they are given."""

from __future__ import annotations

import torch
from torch import Tensor

from align.data.embeddings import PairedEmbeddings
from align.metrics.evaluation import DistinctItems, Evaluation, evaluate_ranks


class Same:
    """Leaves both sides where they are."""

    def queries(self, x, /, *, side):
        return x.vectors

    def gallery(self, x, /, *, side):
        return x.vectors


class Noisy(Same):
    """Adds fixed noise to the queries."""

    def __init__(self, scale, seed=5):
        self.scale, self.seed = scale, seed

    def queries(self, x, /, *, side):
        rng = torch.Generator().manual_seed(self.seed)
        return x.vectors + self.scale * torch.randn(x.vectors.shape, generator=rng)


class Shuffled(Same):
    """Gives each query the vector of another."""

    def queries(self, x, /, *, side):
        return x.vectors.roll(1, dims=0)


def pairs(rng, n=60, noise=0.5, d=8):
    target = torch.randn(n, d, generator=rng)
    return PairedEmbeddings.from_arrays(target + noise * torch.randn(n, d, generator=rng), target)


def planted(forth: Tensor, back: Tensor, groups: Tensor) -> Evaluation:
    """An evaluation with these ranks; ``groups`` of the first direction, one query each back."""
    n = len(groups)
    data = PairedEmbeddings.from_arrays(
        torch.arange(n)[:, None] + 1.0,
        groups[:, None] + 1.0,
        groups=[f"group {code}" for code in groups.tolist()],
    )

    def rank(queries: DistinctItems, gallery: DistinctItems) -> Tensor:
        return forth if queries.side == "source" else back

    return evaluate_ranks(data, rank)
