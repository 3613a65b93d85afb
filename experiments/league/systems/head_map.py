"""Any head as one map of an adapter, and what all heads share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.maps.linear import centred, mean_directions
from align.data.embeddings import PairedEmbeddings

BATCH = 256
WIDTH = 512  # of the shared space


class HeadMap(nn.Module):
    """Normalise, centre, normalise, a head of any kind, normalise."""

    mean: Tensor  # (d_in,)

    def __init__(self, mean: Tensor, head: nn.Module, *, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.head = head
        self.d_in, self.dim = len(mean), dim

    def project(self, x: Tensor) -> Tensor:
        """Rows ``(n, d_in)`` before the last normalisation, ``(n, dim)``."""
        out: Tensor = self.head(centred(x, self.mean))
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Rows ``(n, d_in)`` to unit-norm ``(n, dim)``."""
        return F.normalize(self.project(x), dim=1)


def with_heads(
    train: PairedEmbeddings,
    source_head: nn.Module,
    target_head: nn.Module,
    *,
    dim: int,
    centre: bool = True,
) -> Adapter:
    """An adapter of two heads that end in ``dim``.

    Args:
        train: Training pairs, for their widths and means.
        source_head: Rows of unit norm in, ``(n, d_source)`` to ``(n, dim)``.
        target_head: The same for targets.
        dim: Width of the shared space.
        centre: Whether heads see rows less the training mean, or as the encoder gave them.
    """
    means = [
        mean_directions(x) if centre else torch.zeros(x.shape[1])
        for x in (train.source, train.target)
    ]
    maps = [
        HeadMap(mean, head, dim=dim)
        for mean, head in zip(means, (source_head, target_head), strict=True)
    ]
    return Adapter(*maps, Card("heads", len(train), *map(len, means)))


def batch_size(train: PairedEmbeddings) -> int:
    """``BATCH``, or all pairs if there are fewer."""
    return min(BATCH, len(train))
