"""A calibration from pairs that an adapter was not fitted on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from align.adapters.calibration.calibration import Calibration, calibrate
from align.data.embeddings import PairedEmbeddings
from align.scoring.inner_products import inner_products

FEWEST = 20  # pairs, as for a fit
GALLERY = 1000  # held-out pairs that are asked of each other, one of each group

Mapped = Callable[..., Tensor]  # raw vectors and their side in, vectors to search with out


def calibration_of(pairs: PairedEmbeddings, queries: Mapped, gallery: Mapped) -> Calibration:
    """From held-out pairs and the ``queries`` and ``gallery`` of an adapter.

    Raises:
        ValueError: There are fewer than 20 pairs, or all are of one group.
    """
    first: dict[str, int] = {}
    for row, group in enumerate(pairs.groups):
        first.setdefault(group, row)
    several = len(set(pairs.group_key))
    if len(pairs) < FEWEST or several < 2:
        raise ValueError(
            f"a calibration needs at least {FEWEST} held-out pairs of several groups, and better "
            f"300; got {len(pairs)} of {several}. Hold out more."
        )
    order = torch.randperm(len(first), generator=torch.Generator().manual_seed(0))
    rows = torch.tensor(list(first.values()))[order]
    # Galleries of one size, since a last one of few items would say little.
    number = -(-len(rows) // GALLERY)
    of_sources, of_targets = [], []
    for block in torch.tensor_split(rows, number):
        x, y = pairs.source[block], pairs.target[block]
        of_sources.append(inner_products(queries(x, side="source"), gallery(y, side="target")))
        of_targets.append(inner_products(queries(y, side="target"), gallery(x, side="source")))
    return calibrate((pairs.source, pairs.target), pairs.group_key, (of_sources, of_targets))
