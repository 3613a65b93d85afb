"""Run as a child: trains in two stages and kills itself, without warning, at a chosen moment.

python train_then_die.py FOLDER MOMENT, where MOMENT is one of those in ``MOMENTS``.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace

import torch

from align.adapters.closed_form.procrustes import procrustes
from align.adapters.trainable import residual
from align.data.embeddings import PairedEmbeddings
from align.fitting.training.config import TrainConfig
from align.fitting.training.stages import Stage, train_stages
from tests.encoders.cache.encode_then_die import die, on_call
from tests.helpers.planted import shared_factors

CONFIG = TrainConfig(
    steps=12, batch_size=20, learning_rate=1e-2, mixup=1.0, ema=0.5, checkpoint_every=5
)
STAGES = (Stage("first", config=CONFIG), Stage("second", config=replace(CONFIG, seed=1)))
MOMENTS = ("inside the eighth step of the second stage", "before a checkpoint is renamed")


def quality(adapter):
    """Something that rises and falls."""
    return torch.sin(1e4 * adapter.source_map.delta.second.sum()).item()


def run(folder, *, log=()):
    """Two stages of training that draw from every source of chance there is."""
    pairs = PairedEmbeddings.from_arrays(*shared_factors(60, (8, 6), shared=4, noise=0.5))
    closed = procrustes(pairs.source, pairs.target)
    generator = torch.Generator().manual_seed(0)
    start = residual(closed, kind="mlp", size=5, dropout=0.5, generator=generator)
    return train_stages(start, pairs, STAGES, folder=folder, validate=quality, log=log)


if __name__ == "__main__":
    folder, moment = sys.argv[1:]
    steps = []

    def die_in_the_second_stage(record):
        steps.append(record["step"])
        if steps.count(8) == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    if moment == MOMENTS[1]:
        os.replace = on_call(2, os.replace, die)
    run(folder, log=[die_in_the_second_stage] if moment == MOMENTS[0] else [])
