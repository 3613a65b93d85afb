"""FuseMix: residual blocks with much dropout, trained on blends of pairs."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from align.adapters.adapter import Adapter
from align.data.embeddings import PairedEmbeddings
from align.fitting.training.config import TrainConfig
from align.fitting.training.gradient_cache import preserved_random_state
from align.fitting.training.train import train as train_adapter
from experiments.league.systems.head_map import BATCH, WIDTH, batch_size, with_heads
from experiments.league.systems.peer import Peer, Setting

BLOCKS, EXPANSION, DROPOUT = 1, 4, 0.6


class Block(nn.Module):
    """``x + W2 dropout(gelu(W1 norm(x)))``."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d)
        self.body = nn.Sequential(
            nn.Linear(d, EXPANSION * d),
            nn.GELU(),
            nn.Dropout(DROPOUT),
            nn.Linear(EXPANSION * d, d),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(n, d)`` to ``(n, d)``."""
        out: Tensor = x + self.body(self.norm(x))
        return out


class UnitScale(nn.Module):
    """Rows of unit norm to entries of unit mean square.

    Encoders give features of about that size, beside which a new block is small; beside rows of
    unit norm it would drown what it is added to.
    """

    def forward(self, x: Tensor) -> Tensor:
        """``(n, d)`` to ``(n, d)``."""
        return x * math.sqrt(x.shape[1])


def fit(train: PairedEmbeddings, setting: Setting, seed: int) -> Adapter:
    """Heads trained on blends of the halves of each batch, one share for both sides.

    Reference:
        Vouitsis et al. 2024, arXiv:2312.10144 (FuseMix), and the configuration of its repository,
        layer6ai-labs/fusemix.
    """

    def head(d: int) -> nn.Module:
        blocks = [Block(d) for _ in range(BLOCKS)]
        return nn.Sequential(UnitScale(), *blocks, nn.LayerNorm(d), nn.Linear(d, WIDTH))

    with preserved_random_state(torch.device("cpu"), seed=seed):
        start = with_heads(
            train, head(train.source.shape[1]), head(train.target.shape[1]), dim=WIDTH
        )
    config = TrainConfig(
        steps=setting.length,
        batch_size=batch_size(train),
        learning_rate=setting.learning_rate,
        weight_decay=0.1,
        temperature=0.07,
        temperature_bounds=(0.001, 0.5),
        mixup=1.0,
        seed=seed,
    )
    return train_adapter(start, train, config=config)


PEER = Peer(
    "FuseMix heads",
    f"As published: pre-norm residual blocks of expansion {EXPANSION} and dropout {DROPOUT}, to "
    f"{WIDTH}, one share of Beta(1, 1) for both sides of a batch, temperature from 0.07 in "
    f"[0.001, 0.5], AdamW, weight decay 0.1, cosine. Scaled to few pairs: {BLOCKS} block in place "
    f"of 4, batches of {BATCH} in place of 40,960, the number of steps.",
    fit,
    (Setting(50, 3e-4), Setting(100, 3e-4), Setting(50, 1e-3), Setting(100, 1e-3)),
)
