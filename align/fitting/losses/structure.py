"""STRUCTURE: a penalty on what a map does to the neighbourhoods of its inputs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from align._checks import check_at_least, check_paired
from align.fitting.losses.in_batch import check_divisor


def structure(
    inputs: Tensor, outputs: Tensor, *, temperature: float = 0.05, levels: int = 1
) -> Tensor:
    """Divergence of the similarity structure of outputs from that of inputs, in [0, log 2] nats.

    On each side, rows are centred over the batch and normalised, their inner products are divided
    by ``temperature``, and a softmax over each row gives a transition matrix ``P``. The loss is
    ``(1/L) sum_l JS(P_inputs^l, P_outputs^l) / l`` with matrix powers ``P^l``, where ``JS`` is the
    Jensen-Shannon divergence of rows, averaged over them: 0 if the map rotates, scales or shifts.
    Nothing flows back into the inputs. Cost ``O(n² d)``, and ``O(n³)`` for each further level.

    Args:
        inputs: Embeddings before the map, ``(n, d_in)``, float32 or wider.
        outputs: The same items after it, ``(n, d_out)``, float32 or wider.
        temperature: Divides cosines of centred rows, > 0.
        levels: ``L``, >= 1; more levels see wider neighbourhoods.

    Raises:
        ValueError: The sides are not row-matched, there is one row or none, ``temperature`` is not
            positive and finite, or ``levels`` is below 1.

    Reference:
        Gröger et al. 2025, arXiv:2506.16895 (STRUCTURE).
    """
    check_paired(inputs, outputs)
    check_divisor("temperature", temperature)
    check_at_least("levels", levels, 1)
    if len(inputs) < 2:
        raise ValueError(
            f"structure needs at least 2 rows to compare; got {len(inputs)}. Use larger batches."
        )
    with torch.no_grad():
        before = _transitions(inputs, temperature)
    after = _transitions(outputs, temperature)
    p, q = before, after
    total = _jensen_shannon(p, q)
    for level in range(2, levels + 1):
        p, q = p @ before, q @ after
        total = total + _jensen_shannon(p, q) / level
    return total / levels


def _transitions(x: Tensor, temperature: float) -> Tensor:
    rows = F.normalize(x - x.mean(dim=0), dim=1)
    return (rows @ rows.T / temperature).softmax(dim=1)


def _jensen_shannon(p: Tensor, q: Tensor) -> Tensor:
    """Mean over rows of the Jensen-Shannon divergence in nats."""
    middle = _log((p + q) / 2)
    apart = p * (_log(p) - middle) + q * (_log(q) - middle)
    return apart.sum(dim=1).mean() / 2


def _log(p: Tensor) -> Tensor:
    # A probability that underflows adds 0, and its logarithm would make gradients NaN.
    return p.clamp(min=torch.finfo(p.dtype).tiny).log()
