"""Mind the Gap: one hidden layer with ReLU from one encoder's space into the other's."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from align.adapters.adapter import Adapter
from align.data.embeddings import PairedEmbeddings
from align.fitting.training.config import TrainConfig
from align.fitting.training.gradient_cache import preserved_random_state
from align.fitting.training.objectives import mind_the_gap
from align.fitting.training.train import train as train_adapter
from experiments.peer_heads.head_map import BATCH, batch_size, with_heads
from experiments.peer_heads.peer import Peer, Setting

HIDDEN, L2 = 1024, 0.005


def fit(train: PairedEmbeddings, setting: Setting, seed: int) -> Adapter:
    """A projection network from the source; targets stay as they are, but centred.

    Reference:
        Yadav and McMillan 2024, arXiv:2410.23437 (Mind the Gap).
    """
    d_source, d_target = train.source.shape[1], train.target.shape[1]
    with preserved_random_state(torch.device("cpu"), seed=seed):
        network = nn.Sequential(nn.Linear(d_source, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, d_target))
    config = TrainConfig(
        steps=setting.length,
        batch_size=batch_size(train),
        learning_rate=setting.learning_rate,
        weight_decay=0.1,
        learn_temperature=False,
        seed=seed,
    )
    start = with_heads(train, network, nn.Identity(), dim=d_target)
    return train_adapter(start, train, loss=partial(mind_the_gap, l2=L2), config=config)


PEER = Peer(
    "Mind the Gap network",
    "As published: one hidden layer with ReLU from the source into the target's space, N-pairs "
    f"loss with a penalty on squared norms. Ours, as we found none published: {HIDDEN} hidden "
    f"units, a penalty of {L2:g}, batches of {BATCH}, AdamW, steps and learning rate.",
    fit,
    (Setting(100, 1e-3), Setting(200, 1e-3), Setting(400, 1e-3)),
)
