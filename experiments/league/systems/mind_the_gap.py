"""Mind the Gap: hidden layers with ReLU from one encoder's space into the other's."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import torch
from torch import nn

from align.adapters.adapter import Adapter
from align.data.embeddings import PairedEmbeddings
from align.fitting.training.config import TrainConfig
from align.fitting.training.gradient_cache import preserved_random_state
from align.fitting.training.objectives import mind_the_gap
from align.fitting.training.train import train as train_adapter
from experiments.league.systems.head_map import BATCH, batch_size, with_heads
from experiments.league.systems.peer import Peer, Setting

HIDDEN, DEEP, L2 = (1024,), (2048, 2048), 0.005


def fit(
    train: PairedEmbeddings,
    setting: Setting,
    seed: int,
    *,
    hidden: tuple[int, ...] = HIDDEN,
    centre: bool = True,
) -> Adapter:
    """A projection network from the source; targets stay as they are, or centred.

    Args:
        train: Training pairs.
        setting: Steps and learning rate.
        seed: Of the start and of batches.
        hidden: Widths of the hidden layers.
        centre: Whether both sides are less their means, or as the encoders gave them.

    Reference:
        Yadav and McMillan 2024, arXiv:2410.23437 (Mind the Gap).
    """
    d_source, d_target = train.source.shape[1], train.target.shape[1]
    with preserved_random_state(torch.device("cpu"), seed=seed):
        layers: list[nn.Module] = []
        for wide, narrow in pairwise((d_source, *hidden)):
            layers += [nn.Linear(wide, narrow), nn.ReLU()]
        network = nn.Sequential(*layers, nn.Linear(hidden[-1], d_target))
    config = TrainConfig(
        steps=setting.length,
        batch_size=batch_size(train),
        learning_rate=setting.learning_rate,
        weight_decay=0.1,
        learn_temperature=False,
        seed=seed,
    )
    start = with_heads(train, network, nn.Identity(), dim=d_target, centre=centre)
    return train_adapter(start, train, loss=partial(mind_the_gap, l2=L2), config=config)


_COMMON = (
    "hidden layers with ReLU from the source into the target's space, N-pairs loss with a penalty "
    f"on squared norms. Ours, as we found none published: a penalty of {L2:g}, batches of {BATCH}, "
    "AdamW"
)
_SETTINGS = (Setting(100, 1e-3), Setting(200, 1e-3), Setting(100, 3e-3), Setting(200, 3e-3))

PEER = Peer(
    "Mind the Gap network",
    f"As published: one of the {_COMMON}, {HIDDEN[0]} hidden units, both sides centred, steps and "
    "learning rate.",
    fit,
    _SETTINGS,
)
PRINTED = Peer(
    "Mind the Gap network, untuned",
    f"As published: one of the {_COMMON}, {HIDDEN[0]} hidden units, 200 steps at 0.001, and "
    "vectors as the encoders gave them.",
    partial(fit, centre=False),
    (Setting(200, 1e-3),),
)
TWO_LAYERS = Peer(
    "Mind the Gap network, two layers",
    f"A second reading of the paper: two {_COMMON}, {DEEP[0]} hidden units each, both sides "
    "centred, steps and learning rate.",
    partial(fit, hidden=DEEP),
    _SETTINGS,
)
