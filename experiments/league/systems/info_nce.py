"""Heads with a random start trained by symmetric InfoNCE, linear and with a hidden layer."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from align.adapters.adapter import Adapter
from align.data.embeddings import PairedEmbeddings
from align.fitting.training.config import TrainConfig
from align.fitting.training.gradient_cache import preserved_random_state
from align.fitting.training.train import train as train_adapter
from experiments.league.systems.head_map import BATCH, WIDTH, batch_size, with_heads
from experiments.league.systems.peer import Peer, Setting

HIDDEN, DROPOUT = 1024, 0.5


def fit_heads(
    train: PairedEmbeddings, setting: Setting, seed: int, *, head: Callable[[int], nn.Module]
) -> Adapter:
    """One head per side, each made of the width of its input."""
    with preserved_random_state(torch.device("cpu"), seed=seed):
        start = with_heads(
            train, head(train.source.shape[1]), head(train.target.shape[1]), dim=WIDTH
        )
    config = TrainConfig(
        steps=setting.length,
        batch_size=batch_size(train),
        learning_rate=setting.learning_rate,
        weight_decay=0.1,
        seed=seed,
    )
    return train_adapter(start, train, config=config)


def _linear(train: PairedEmbeddings, setting: Setting, seed: int) -> Adapter:
    return fit_heads(train, setting, seed, head=lambda d: nn.Linear(d, WIDTH))


def _mlp(train: PairedEmbeddings, setting: Setting, seed: int) -> Adapter:
    def head(d: int) -> nn.Module:
        return nn.Sequential(
            nn.Linear(d, HIDDEN), nn.GELU(), nn.Dropout(DROPOUT), nn.Linear(HIDDEN, WIDTH)
        )

    return fit_heads(train, setting, seed, head=head)


_COMMON = f"random start, symmetric InfoNCE, learned temperature, batches of {BATCH}, align.train"

LINEAR = Peer(
    "linear heads, InfoNCE",
    f"To {WIDTH} on both sides; {_COMMON}.",
    _linear,
    (Setting(50, 1e-3), Setting(100, 1e-3), Setting(200, 1e-3), Setting(100, 3e-3)),
)
MLP = Peer(
    "MLP heads, InfoNCE",
    f"One hidden layer of {HIDDEN}, GELU, dropout {DROPOUT}; {_COMMON}.",
    _mlp,
    (Setting(100, 1e-4), Setting(100, 3e-4), Setting(100, 1e-3), Setting(200, 6e-4)),
)
