"""A batch of pairs, and its losses for ``align.train``: each says what of it goes into which.

Give one as it is, or with other settings by ``functools.partial``. Any other function of a
``Batch`` will do as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from align._display.lines import count, one_line
from align._display.panel import Panel, render
from align.fitting.losses.contrastive import info_nce, n_pairs, sigmoid
from align.fitting.losses.in_batch import Positives
from align.fitting.losses.matryoshka import matryoshka
from align.fitting.losses.modality_aware import mac, mamcl
from align.fitting.losses.structure import structure


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """One batch of row-matched pairs on their way through an adapter.

    Attributes:
        source_input: Sources as the encoder gave them, or blends of two with mixup, at unit norm;
            ``(n, d_source)``.
        target_input: Targets likewise, ``(n, d_target)``.
        source_projected: Sources in the shared space before the last normalisation, ``(n, dim)``.
            Maps without one give unit norm.
        target_projected: Targets likewise, ``(n, dim)``.
        temperature: Divides cosines; a scalar, learned or not.
        groups: Group codes, int64 ``(n,)``; with mixup each row is its own group.
        source_modality: Bit masks, int64 ``(n,)``, or ``None`` where the pairs have none. A blend
            is of the modalities of both its items.
        target_modality: Likewise.
        step: Steps done before this one.

    Examples:
        >>> import numpy as np, align
        >>> x = np.random.default_rng(0).standard_normal((100, 4))
        >>> pairs = align.PairedEmbeddings.from_arrays(x, x)
        >>> def squared(batch: align.Batch):
        ...     apart = batch.source_projected - batch.target_projected
        ...     return apart.square().sum(dim=1).mean()
        >>> adapter = align.fit(pairs, effort="fast")
        >>> align.train(adapter, pairs, loss=squared, config=align.TrainConfig(steps=2)).dim
        4
    """

    source_input: Tensor
    target_input: Tensor
    source_projected: Tensor
    target_projected: Tensor
    temperature: Tensor
    groups: Tensor
    source_modality: Tensor | None
    target_modality: Tensor | None
    step: int

    def __repr__(self) -> str:
        n, dim = self.source_projected.shape
        sides = f"{self.source_input.shape[1]:,} and {self.target_input.shape[1]:,}"
        widths = f"{sides} to {dim:,} dimensions"
        return one_line("Batch", count(n, "pair"), widths, f"step {self.step:,}")

    def _repr_html_(self) -> str:
        return render(Panel("Batch", sentence=repr(self)))

    @property
    def source(self) -> Tensor:
        """Sources in the shared space, unit-norm ``(n, dim)``."""
        return F.normalize(self.source_projected, dim=1)

    @property
    def target(self) -> Tensor:
        """Targets in the shared space, unit-norm ``(n, dim)``."""
        return F.normalize(self.target_projected, dim=1)


Loss = Callable[[Batch], Tensor]
"""A batch in, a scalar out."""


def contrastive(batch: Batch, *, positives: Positives = "own", symmetric: bool = True) -> Tensor:
    """``info_nce`` of both directions; by default other pairs of a group are left out."""
    return info_nce(
        batch.source,
        batch.target,
        temperature=batch.temperature,
        groups=batch.groups,
        positives=positives,
        symmetric=symmetric,
    )


def prefixes(
    batch: Batch, *, dims: Sequence[int], weights: Sequence[float] | None = None
) -> Tensor:
    """``contrastive`` summed over nested prefixes (``matryoshka``), to cut vectors at ``dims``."""
    loss = partial(info_nce, temperature=batch.temperature, groups=batch.groups)
    return matryoshka(loss, batch.source_projected, batch.target_projected, dims, weights)


def mind_the_gap(batch: Batch, *, l2: float = 1e-3) -> Tensor:
    """``n_pairs`` of projections that are not normalised, with a penalty on their squared norm.

    The temperature does not enter: learned norms take its place.

    Reference:
        Yadav and McMillan 2024, arXiv:2410.23437; the weight of the penalty is ours.
    """
    return n_pairs(batch.source_projected, batch.target_projected, l2=l2)


def siglip(batch: Batch, *, bias: float | None = None) -> Tensor:
    """``sigmoid`` with one over the temperature as scale.

    ``bias`` is ``-log(n)`` if left out: the log odds that a random pair of the batch is a true
    one, but for ``log(1 - 1/n)``. In the paper it is learned.
    """
    known = -math.log(len(batch.groups)) if bias is None else bias
    scale = 1 / batch.temperature
    return sigmoid(batch.source, batch.target, scale=scale, bias=known, groups=batch.groups)


def modality_aware(
    batch: Batch, *, positives: Positives = "own", symmetric: bool = False
) -> Tensor:
    """``mamcl``: each source is compared with targets of its own target's modality only."""
    return mamcl(
        *_with_modality(batch),
        temperature=batch.temperature,
        groups=batch.groups,
        positives=positives,
        source_modality=batch.source_modality,
        symmetric=symmetric,
    )


def softly_modality_aware(
    batch: Batch, *, across: float = 2.0, positives: Positives = "own", symmetric: bool = False
) -> Tensor:
    """``mac``: targets of other modalities count less, at ``across`` times the temperature."""
    return mac(
        *_with_modality(batch),
        within=batch.temperature,
        across=across * batch.temperature,
        groups=batch.groups,
        positives=positives,
        source_modality=batch.source_modality,
        symmetric=symmetric,
    )


def contrastive_with_structure(
    batch: Batch, *, weight: float = 10.0, warmup: int = 100, levels: int = 1
) -> Tensor:
    """``contrastive`` and ``weight`` times the mean ``structure`` of the two sides.

    The weight rises from 0 over ``warmup`` steps.

    Reference:
        Gröger et al. 2025, arXiv:2506.16895 (STRUCTURE).
    """
    share = min(1.0, batch.step / warmup) if warmup else 1.0
    penalty = structure(batch.source_input, batch.source, levels=levels)
    penalty = penalty + structure(batch.target_input, batch.target, levels=levels)
    return contrastive(batch) + weight * share * penalty / 2


def name_of(loss: Callable[..., Any]) -> str:
    """A loss in words, with the settings that ``partial`` gave it."""
    if isinstance(loss, partial):
        settings = [*map(repr, loss.args), *(f"{k}={v!r}" for k, v in loss.keywords.items())]
        return f"{name_of(loss.func)}({', '.join(settings)})"
    return str(getattr(loss, "__qualname__", type(loss).__qualname__))


def _with_modality(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    if batch.target_modality is None:
        raise ValueError(
            "a loss that is aware of modalities needs that of each target; the pairs have none. "
            "Pass target_modality to PairedEmbeddings.from_arrays, or use contrastive."
        )
    return batch.source, batch.target, batch.target_modality
