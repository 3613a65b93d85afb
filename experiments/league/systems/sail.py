"""SAIL's alignment layer: a gated product of two linear maps, trained by a sigmoid loss."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from align.adapters.adapter import Adapter
from align.data.embeddings import PairedEmbeddings
from align.fitting.training.config import TrainConfig
from align.fitting.training.gradient_cache import preserved_random_state
from align.fitting.training.objectives import siglip
from align.fitting.training.train import train as train_adapter
from experiments.league.systems.head_map import BATCH, batch_size, with_heads
from experiments.league.systems.peer import Peer, Setting

DIM, WIDTH_FACTOR = 1024, 1
SCALE, BIAS = 20.0, -10.0


class StarMLP(nn.Module):
    """``g(relu6(f1 x) * f2 x)`` of normalised rows, each ``f`` to ``WIDTH_FACTOR`` times ``d``."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d)
        self.f1 = nn.Linear(d, WIDTH_FACTOR * d)
        self.f2 = nn.Linear(d, WIDTH_FACTOR * d)
        self.g = nn.Linear(WIDTH_FACTOR * d, DIM)
        for layer in (self.f1, self.f2, self.g):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, d)`` to ``(n, DIM)``."""
        x = self.norm(x)
        out: Tensor = self.g(nn.functional.relu6(self.f1(x)) * self.f2(x))
        return out


def fit(train: PairedEmbeddings, setting: Setting, seed: int) -> Adapter:
    """A star head per side.

    Reference:
        SAIL (Swift Alignment of Image and Language), CVPR 2025: ``model/linear.py``,
        ``model/sail_model.py`` and ``scripts/sail_train.sh`` of its code.
    """
    with preserved_random_state(torch.device("cpu"), seed=seed):
        heads = StarMLP(train.source.shape[1]), StarMLP(train.target.shape[1])
    config = TrainConfig(
        steps=setting.length,
        batch_size=batch_size(train),
        learning_rate=setting.learning_rate,
        weight_decay=1e-4,
        temperature=1 / SCALE,
        seed=seed,
    )
    start = with_heads(train, *heads, dim=DIM)
    return train_adapter(start, train, loss=partial(siglip, bias=BIAS), config=config)


PEER = Peer(
    "SAIL heads",
    f"As published: layer norm, star MLP with ReLU6 to {DIM}, sigmoid loss with a learned scale "
    f"from {SCALE:g} and a bias of {BIAS:g}, weight decay 1e-4. Not as published: the bias is not "
    "learned, AdamW in place of Lion. Scaled to few pairs: hidden width "
    f"{WIDTH_FACTOR} times the input's in place of 8, batches of {BATCH} in place of 32,768, the "
    "number of steps and the learning rate.",
    fit,
    (Setting(50, 3e-4), Setting(50, 1e-3), Setting(100, 1e-3), Setting(100, 3e-3)),
)
