"""An adapter whose gallery a database must rank as it does, and what it ranks."""

from __future__ import annotations

import torch
from planted import shared_factors
from torch import Tensor

from align.adapters.adapter import Adapter
from align.adapters.bank import Bank
from align.adapters.rcca import rcca
from align.hubness import InvertedSoftmax


def planted(*, corrected: bool) -> tuple[Adapter, Tensor, Tensor]:
    """An adapter, 7 source and 90 target embeddings; its gallery holds a correction if asked."""
    source, target = shared_factors(297, (12, 10), shared=6, noise=0.3)
    adapter = rcca(source[:200], target[:200])
    if corrected:
        banks = adapter.source(source[:200]), adapter.target(target[:200])
        adapter.bank = Bank(*banks, expansion=None, hubness=InvertedSoftmax(10.0))
    return adapter, source[200:207], target[207:]


def ranked(adapter: Adapter, source: Tensor, target: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Scores and rows of the best ``k``, by the plain product of queries and gallery."""
    scores = adapter.queries(source) @ adapter.gallery(target).T
    return torch.topk(scores, k, dim=1)
