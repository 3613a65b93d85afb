"""What people train today to join two frozen encoders, in plain PyTorch: the baselines to beat.

Each function takes the raw embeddings of ``n`` training pairs and returns something that
``align.evaluation.evaluate`` takes like any adapter. Both sides are normalised, centred with the
training means and normalised again before anything is learned, as for the closed forms.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from align.adapters.adapter import Adapter
from align.adapters.maps import centred
from align.adapters.moments import prepare
from align.adapters.ridge import ridge
from align.embeddings import Vectors, as_tensor
from align.evaluation import Side
from align.ranking import mean_reciprocal_rank, ranks

COLDEST, WARMEST = 0.01, 0.5  # bounds of a learned temperature
WARM_UP = 0.1  # share of the steps in which the learning rate rises; then it falls as a cosine
RIDGES = (0.3, 1.0, 3.0, 10.0, 30.0)


class Heads(nn.Module):
    """Two trained heads into one space; satisfies ``align.evaluation.Maps``.

    Args:
        source: Training sources as the encoder gave them, ``(n, d_source)``.
        target: Training targets, ``(n, d_target)``.
        source_head: ``(n, d_source)`` to ``(n, d)``.
        target_head: ``(n, d_target)`` to ``(n, d)``.
    """

    source_mean: Tensor  # (d_source,)
    target_mean: Tensor  # (d_target,)

    def __init__(
        self, source: Tensor, target: Tensor, source_head: nn.Module, target_head: nn.Module
    ) -> None:
        super().__init__()
        self.register_buffer("source_mean", prepare(source.float())[0])
        self.register_buffer("target_mean", prepare(target.float())[0])
        self.source_head = source_head
        self.target_head = target_head

    def prepared(self, x: Vectors, *, side: Side) -> Tensor:
        """Rows of one side as its head takes them: centred, unit norm; ``(n, d_side)``."""
        mean = self.source_mean if side == "source" else self.target_mean
        return centred(as_tensor(x).float(), mean)

    @torch.inference_mode()
    def queries(self, x: Vectors, /, *, side: Side) -> Tensor:
        """Unit-norm rows of one side in the shared space, ``(n, d_side)`` to ``(n, d)``."""
        head = self.source_head if side == "source" else self.target_head
        return F.normalize(head(self.prepared(x, side=side)), dim=1)

    def gallery(self, x: Vectors, /, *, side: Side) -> Tensor:
        """The same as ``queries``: no baseline corrects its gallery."""
        return self.queries(x, side=side)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How heads are trained, by AdamW.

    Attributes:
        steps: Updates.
        batch: Pairs per update, drawn anew without replacement; all pairs if there are fewer.
        learning_rate: At its peak.
        weight_decay: Decoupled, as AdamW's.
    """

    steps: int
    batch: int
    learning_rate: float
    weight_decay: float


class Dropout(nn.Module):
    """Dropout that draws from a generator of its own."""

    def __init__(self, share: float, generator: torch.Generator) -> None:
        super().__init__()
        self.share = share
        self.generator = generator

    def forward(self, x: Tensor) -> Tensor:
        """``x`` with a share of its entries at zero and the rest scaled up; ``x`` in evaluation."""
        if not self.training:
            return x
        kept = torch.rand(x.shape, generator=self.generator) >= self.share
        return x * kept / (1 - self.share)


def linear(d_in: int, d_out: int, generator: torch.Generator) -> nn.Linear:
    """A linear layer as PyTorch starts it, uniform in ``+-1 / sqrt(d_in)``, from ``generator``."""
    layer = nn.utils.skip_init(nn.Linear, d_in, d_out)
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -(d_in**-0.5), d_in**-0.5, generator=generator)
    return layer


def mlp(d_in: int, hidden: int, d_out: int, dropout: float, generator: torch.Generator) -> nn.Module:
    return nn.Sequential(
        linear(d_in, hidden, generator),
        nn.GELU(),
        Dropout(dropout, generator),
        linear(hidden, d_out, generator),
    )


def contrastive(
    source: Tensor, target: Tensor, head: Callable[[int], nn.Module], recipe: Recipe,
    generator: torch.Generator, *, mixed: bool, temperature: float = 0.07
) -> Heads:
    heads = Heads(source, target, head(source.shape[1]), head(target.shape[1]))
    x, y = heads.prepared(source, side="source"), heads.prepared(target, side="target")
    log_temperature = nn.Parameter(torch.tensor(math.log(temperature)))

    def loss(rows: Tensor) -> Tensor:
        a, b = x[rows], y[rows]
        if mixed == 1:
            half, share = len(rows) // 2, torch.rand((), generator=generator)
            a, b = (share * z[:half] + (1 - share) * z[half : 2 * half] for z in (a, b))
        if mixed == 2:
            half, share = len(rows) // 2, torch.rand((), generator=generator)
            perm = torch.randperm(len(rows), generator=generator)
            a, b = (share * z + (1 - share) * z[perm] for z in (a, b))
        za = F.normalize(heads.source_head(a), dim=1)
        zb = F.normalize(heads.target_head(b), dim=1)
        logits = za @ zb.T / log_temperature.exp().clamp(COLDEST, WARMEST)
        own = torch.arange(len(a))
        return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2

    train(heads, [log_temperature], loss, len(x), recipe, generator)
    return heads


def train(heads, extra, loss, n, recipe, generator):
    ps = [p for p in heads.parameters()]
    opt = torch.optim.AdamW([dict(params=ps), dict(params=extra, weight_decay=0.0)] if extra else ps, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    warm = max(1, round(WARM_UP * recipe.steps))
    def factor(step):
        if step < warm: return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / (recipe.steps - warm)))
    schedule = torch.optim.lr_scheduler.LambdaLR(opt, factor)
    heads.train()
    for _ in range(recipe.steps):
        rows = torch.randperm(n, generator=generator)[: recipe.batch]
        opt.zero_grad()
        loss(rows).backward()
        opt.step()
        schedule.step()
    heads.eval()


def npairs(source, target, hidden, recipe, l2, generator, both=False):
    head = nn.Sequential(linear(source.shape[1], hidden, generator), nn.ReLU(), linear(hidden, target.shape[1], generator))
    heads = Heads(source, target, head, nn.Identity())
    x, y = heads.prepared(source, side="source"), heads.prepared(target, side="target")
    def loss(rows):
        f, g = heads.source_head(x[rows]), y[rows]
        logits = f @ g.T
        own = torch.arange(len(rows))
        return F.cross_entropy(logits, own) + l2 * f.square().sum(1).mean()
    train(heads, [], loss, len(x), recipe, generator)
    return heads
