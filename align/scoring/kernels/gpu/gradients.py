"""Gradients of MaxSim: sums of the tokens that met, each sum in one fixed order."""

from __future__ import annotations

import torch
from torch import Tensor

from align.scoring.kernels.gpu.kernels import device_of, weighted_sums_kernel
from align.scoring.kernels.gpu.tiles import unit_of

_PAIRS = 1 << 20  # of a query token and a document, listed at a time; one takes some 40 bytes


def query_gradient(
    query_tokens: Tensor,
    document_tokens: Tensor,
    document_ends: Tensor,
    picks: Tensor,
    factors: Tensor,
    owners: Tensor,
) -> Tensor:
    """Gradient of each query token: the document tokens it picked, weighted.

    Args:
        query_tokens: ``(total query tokens, d)``.
        document_tokens: ``(total document tokens, d)``.
        document_ends: Offsets of the documents, ``(m + 1,)`` int64.
        picks: Best token of each document for each query token, counted within the document;
            ``(m, total query tokens)`` int32.
        factors: Incoming gradient times the weights of both items, ``(q, m)`` float32.
        owners: Query of each query token, ``(total query tokens,)`` int64.

    Returns:
        Of the shape and dtype of ``query_tokens``; summed in float32, document after document.
    """
    gradient = torch.zeros_like(query_tokens)
    step = max(1, _PAIRS // max(len(picks), 1))
    for start in range(0, len(query_tokens), step):
        part = slice(start, start + step)
        rows = (picks[:, part] + document_ends[:-1, None]).T.contiguous()
        ends = torch.arange(len(rows) + 1, device=rows.device) * rows.shape[1]
        _weighted_sums(document_tokens, rows, factors[owners[part]], ends, gradient[part])
    return gradient


def document_gradient(
    query_tokens: Tensor,
    document_tokens: Tensor,
    document_ends: Tensor,
    picks: Tensor,
    factors: Tensor,
    owners: Tensor,
) -> Tensor:
    """Gradient of each document token: the query tokens that picked it, weighted.

    Of the shape and dtype of ``document_tokens``; summed in float32, query token after query token.
    """
    gradient = torch.zeros_like(document_tokens)
    step = max(1, _PAIRS // max(len(query_tokens), 1))
    firsts = list(range(0, len(picks), step))
    cuts = document_ends[[*firsts, len(picks)]].tolist()
    for first, start, stop in zip(firsts, cuts[:-1], cuts[1:], strict=True):
        some = picks[first : first + step]
        picked = some + (document_ends[first : first + len(some), None] - start)
        # Sorting is stable: each token's list names query tokens in their own order.
        picked, pairs = picked.flatten().sort(stable=True)
        ends = torch.searchsorted(picked, torch.arange(stop - start + 1, device=picked.device))
        rows, documents = pairs % len(query_tokens), first + pairs // len(query_tokens)
        weights = factors[owners[rows], documents]
        _weighted_sums(query_tokens, rows, weights, ends, gradient[start:stop])
    return gradient


def _weighted_sums(
    tokens: Tensor, rows: Tensor, weights: Tensor, ends: Tensor, sums: Tensor
) -> None:
    """Write ``sums[i]``: the sum over ``e`` in ``ends[i]:ends[i + 1]`` of weighted ``rows[e]``."""
    count, d = sums.shape
    columns = min(128, max(16, 1 << (d - 1).bit_length()))
    chunks, unit = -(-d // columns), unit_of(d)
    if count * chunks == 0:
        return
    with device_of(sums):
        weighted_sums_kernel[(count * chunks,)](
            tokens, rows, weights, ends, sums, d // unit, chunks, 16, columns, unit,
            enable_fp_fusion=True,
        )  # fmt: skip
