"""What tests of training share: starts, settings, and how adapters are compared."""

from dataclasses import replace

import torch

from align.adapters.closed_form.procrustes import procrustes
from align.adapters.trainable import residual
from align.fitting.training.config import TrainConfig
from tests.helpers.planted import mean_reciprocal_rank

QUICK = TrainConfig(steps=5, learning_rate=1e-2)


def weights_of(adapter):
    return {name: value.detach().clone() for name, value in adapter.named_parameters()}


def same(a, b):
    """Whether two adapters hold the same bits."""
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(a[name].equal(b[name]) for name in a)


def closed(pairs):
    return procrustes(pairs.source, pairs.target)


def mrr(adapter, pairs):
    """One gallery item per group."""
    first = [pairs.groups.index(group) for group in dict.fromkeys(pairs.groups)]
    held = pairs.take(first)
    return mean_reciprocal_rank(adapter.source(held.source), adapter.target(held.target))


def settings(**changes):
    return replace(
        TrainConfig(steps=7, batch_size=16, learning_rate=1e-2, mixup=1.0, ema=0.5), **changes
    )


def mlp(pairs):
    generator = torch.Generator().manual_seed(3)
    return residual(closed(pairs), kind="mlp", size=5, dropout=0.5, generator=generator)
