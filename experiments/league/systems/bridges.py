"""Adapters of the query side alone: a residual network fitted to targets, and a triplet matrix."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from align.adapters.adapter import Adapter
from align.data.embeddings import PairedEmbeddings
from align.fitting.training.gradient_cache import preserved_random_state
from experiments.league.systems.head_map import HeadMap, batch_size, with_heads
from experiments.league.systems.peer import Peer, Setting

HIDDEN, MARGIN = 256, 0.2


class Residual(nn.Module):
    """``A x + W2 gelu(W1 x)``, the second layer at 0 to begin with."""

    def __init__(self, d_source: int, d_target: int) -> None:
        super().__init__()
        self.straight = nn.Linear(d_source, d_target)
        self.first, self.second = nn.Linear(d_source, HIDDEN), nn.Linear(HIDDEN, d_target)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)
        nn.init.zeros_(self.straight.bias)
        if d_source == d_target:
            nn.init.eye_(self.straight.weight)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, d_source)`` to ``(n, d_target)``."""
        out: Tensor = self.straight(x) + self.second(F.gelu(self.first(x)))
        return out


def residual_mlp(train: PairedEmbeddings, setting: Setting, seed: int) -> Adapter:
    """A residual network from the source into the target's space, by squared error.

    Reference:
        The residual MLP of Drift-Adapter, EMNLP 2025; widths and steps are ours.
    """
    return _trained(train, setting, seed, Residual, lambda x, y: (x - y).square().sum(1).mean())


def triplet_matrix(train: PairedEmbeddings, setting: Setting, seed: int) -> Adapter:
    """A matrix of the source side, the identity where widths agree, by triplets of cosines.

    The negative of a pair is the hardest of its batch.

    Reference:
        linear-adapter-trainer of Santander AI Lab: one matrix from the identity, triplet loss,
        hard negatives; margin, batches and steps are ours.
    """

    def matrix(d_source: int, d_target: int) -> nn.Module:
        layer = nn.Linear(d_source, d_target, bias=False)
        if d_source == d_target:
            nn.init.eye_(layer.weight)
        return layer

    def triplets(x: Tensor, y: Tensor) -> Tensor:
        cosines = F.normalize(x, dim=1) @ F.normalize(y, dim=1).T
        own = cosines.diagonal()
        others = cosines - 2 * torch.eye(len(x))
        return F.relu(MARGIN + others.amax(dim=1) - own).mean()

    return _trained(train, setting, seed, matrix, triplets)


def _trained(
    train: PairedEmbeddings,
    setting: Setting,
    seed: int,
    network: Callable[[int, int], nn.Module],
    loss: Callable[[Tensor, Tensor], Tensor],
) -> Adapter:
    """The source through a network, the target as it is, both centred; AdamW, cosine."""
    d_source, d_target = train.source.shape[1], train.target.shape[1]
    with preserved_random_state(torch.device("cpu"), seed=seed):
        head = network(d_source, d_target)
    adapter = with_heads(train, head, nn.Identity(), dim=d_target)
    seen, wanted = adapter.source_map, adapter.target_map
    assert isinstance(seen, HeadMap)
    with torch.no_grad():
        targets = wanted(train.target.float())
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(head.parameters(), lr=setting.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, setting.length)
    for _ in range(setting.length):
        rows = torch.randperm(len(train), generator=generator)[: batch_size(train)]
        optimizer.zero_grad()
        loss(seen.project(train.source[rows].float()), targets[rows]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return adapter.eval()


RESIDUAL = Peer(
    "residual MLP (Drift-Adapter)",
    f"Linear map plus a hidden layer of {HIDDEN}, squared error, source side alone, centred; steps "
    "and rate chosen.",
    residual_mlp,
    (Setting(100, 1e-3), Setting(200, 1e-3), Setting(100, 3e-3), Setting(200, 3e-3)),
)
TRIPLET = Peer(
    "triplet matrix (Santander)",
    "As published: one matrix on the source side, from the identity where widths agree, triplet "
    f"loss with hard negatives. Ours: margin {MARGIN:g}, hardest of the batch, both sides centred; "
    "steps and rate chosen.",
    triplet_matrix,
    (Setting(100, 1e-3), Setting(200, 1e-3), Setting(100, 3e-3), Setting(200, 3e-3)),
)
