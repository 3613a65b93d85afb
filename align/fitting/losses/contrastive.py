"""Losses that tell a row's partner from the rest of its batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from align._checks import check_at_least
from align.fitting.losses.in_batch import (
    Positives,
    check_batch,
    check_divisor,
    row_losses,
    same_group,
)


def info_nce(
    source: Tensor,
    target: Tensor,
    *,
    temperature: float | Tensor,
    groups: Tensor | None = None,
    positives: Positives = "own",
    symmetric: bool = True,
) -> Tensor:
    """InfoNCE with in-batch negatives, by default the mean of both directions; in nats.

    Row ``i`` of both sides is a positive pair; rows of other groups are negatives. It is ``log(n)``
    when all embeddings coincide and groups are single.

    Args:
        source: Unit-norm embeddings, ``(n, d)``, float32 or wider.
        target: Unit-norm embeddings, ``(n, d)``, float32 or wider.
        temperature: Divides cosine similarities, > 0; a number, or a scalar tensor if learned.
        groups: Group codes, int64 ``(n,)``; every pair is its own group if left out.
        positives: What the other pairs of a group are: ``"own"`` leaves them out of the negatives,
            ``"sum"`` maximises the probability that any of the group is chosen, and ``"mean"`` is
            the cross-entropy to the uniform distribution over the group.
        symmetric: Average with the direction from target to source; else source to target alone.

    Raises:
        ValueError: The sides are not row-matched in one space, ``temperature`` is not positive
            and finite, ``groups`` do not fit, or ``positives`` is unknown.

    Reference:
        van den Oord et al. 2018, arXiv:1807.03748; symmetric as in Radford et al. 2021,
        arXiv:2103.00020; the mean over positives is that of Khosla et al. 2020, arXiv:2004.11362,
        with their sum outside the logarithm.

    Examples:
        >>> import torch, align
        >>> x = torch.eye(4)
        >>> right, wrong = (align.info_nce(x, y, temperature=0.05).item() for y in (x, x.flip(0)))
        >>> right < wrong
        True
    """
    check_batch(source, target)
    check_divisor("temperature", temperature)
    same = same_group(groups, source)
    logits = source @ target.T / temperature
    loss = row_losses(logits, same, positives=positives).mean()
    if symmetric:
        loss = (loss + row_losses(logits.T, same, positives=positives).mean()) / 2
    return loss


def n_pairs(source: Tensor, target: Tensor, *, l2: float = 0.0) -> Tensor:
    """N-pairs loss, from source to target, of embeddings that are not normalised.

    ``mean_i log(1 + sum_{j != i} exp(f_i . g_j - f_i . g_i))``, which is one-directional InfoNCE
    of inner products at temperature 1, in nats, plus ``l2 (mean ||f||^2 + mean ||g||^2)``.

    Args:
        source: ``f``, embeddings as the model gives them, ``(n, d)``, float32 or wider.
        target: ``g``, ``(n, d)``.
        l2: Weight of the squared norms, >= 0.

    Raises:
        ValueError: The sides are not row-matched in one space, or ``l2`` is below 0.

    Reference:
        Sohn 2016, NeurIPS, "Improved Deep Metric Learning with Multi-class N-pair Loss Objective".

    Examples:
        >>> import torch, align
        >>> x = 5 * torch.eye(4)
        >>> round(align.n_pairs(x, x).item(), 3)
        0.0
    """
    check_batch(source, target)
    check_at_least("l2", l2, 0)
    own = torch.arange(len(source), device=source.device)
    loss = F.cross_entropy(source @ target.T, own)
    if l2 == 0:
        return loss
    return loss + l2 * (source.square().sum(dim=1).mean() + target.square().sum(dim=1).mean())


def sigmoid(
    source: Tensor,
    target: Tensor,
    *,
    scale: float | Tensor,
    bias: float | Tensor,
    groups: Tensor | None = None,
) -> Tensor:
    """Sigmoid loss: each pair of the batch is classified as true or false by itself; nats per row.

    ``mean_i sum_j -log sigmoid(z_ij (scale cos_ij + bias))`` with ``z`` of 1 on the diagonal and
    -1 elsewhere. It is symmetric. Off-diagonal pairs of one group do not count.

    Args:
        source: Unit-norm embeddings, ``(n, d)``, float32 or wider.
        target: Unit-norm embeddings, ``(n, d)``.
        scale: Multiplies cosine similarities, > 0: the inverse of a temperature. The paper starts
            from 10.
        bias: Added to scaled similarities; the paper starts from -10, since most pairs are false.
        groups: Group codes, int64 ``(n,)``; every pair is its own group if left out.

    Raises:
        ValueError: The sides are not row-matched in one space, ``scale`` is not positive and
            finite, or ``groups`` do not fit.

    Reference:
        Zhai et al. 2023, arXiv:2303.15343 (SigLIP).
    """
    check_batch(source, target)
    check_divisor("scale", scale)
    own = torch.eye(len(source), dtype=torch.bool, device=source.device)
    logits = source @ target.T * scale + bias
    losses = -F.logsigmoid(torch.where(own, logits, -logits))
    return losses.masked_fill(same_group(groups, source) & ~own, 0).sum(dim=1).mean()
