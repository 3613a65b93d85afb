"""STRUCTURE: linear heads that keep the neighbourhoods of what the encoders gave."""

from __future__ import annotations

from functools import partial

import torch

from align.adapters.adapter import Adapter
from align.adapters.maps.linear import mean_directions
from align.adapters.trainable import linear_heads
from align.data.embeddings import PairedEmbeddings
from align.fitting.training.config import TrainConfig
from align.fitting.training.objectives import contrastive_with_structure
from align.fitting.training.train import train as train_adapter
from experiments.league.systems.head_map import BATCH, WIDTH, batch_size
from experiments.league.systems.peer import Peer, Setting

WEIGHT, WARM_UP = 10.0, 100


def fit(train: PairedEmbeddings, setting: Setting, seed: int) -> Adapter:
    """Linear heads from an orthogonal start, InfoNCE and the penalty.

    Reference:
        Gröger et al. 2025, arXiv:2506.16895 (STRUCTURE).
    """
    start = linear_heads(
        train.source.shape[1],
        train.target.shape[1],
        dim=WIDTH,
        generator=torch.Generator().manual_seed(seed),
        means=(mean_directions(train.source), mean_directions(train.target)),
    )
    config = TrainConfig(
        steps=setting.length,
        batch_size=batch_size(train),
        learning_rate=setting.learning_rate,
        weight_decay=1e-4,
        temperature=0.07,
        seed=seed,
    )
    loss = partial(contrastive_with_structure, weight=WEIGHT, warmup=WARM_UP)
    return train_adapter(start, train, loss=loss, config=config)


PEER = Peer(
    "STRUCTURE heads",
    f"As published: linear heads to {WIDTH} from an orthogonal start, InfoNCE and {WEIGHT:g} times "
    "the structure penalty of one level at temperature 0.05, weight decay 1e-4. Not as published: "
    "the last layer of both encoders, AdamW with its usual second beta of 0.999 in place of 0.95. "
    f"Scaled to few pairs: batches of {BATCH} in place of 4,096, the penalty's weight rising over "
    f"{WARM_UP} steps in place of 1,000, the number of steps and the learning rate.",
    fit,
    (Setting(50, 1e-3), Setting(100, 1e-3), Setting(200, 1e-3), Setting(100, 3e-3)),
)
