"""The gallery rows nearest to each query, where rounding does not decide between equals."""

from __future__ import annotations

import torch
from torch import Tensor

from align._checks import check_k
from align.scoring.inner_products import check_scorable, inner_products
from align.scoring.ties import PRODUCTS, largest_first

_SCORES = 2**24  # scores held at a time


def closest(queries: Tensor, gallery: Tensor, *, k: int) -> Tensor:
    """The ``k`` rows of a gallery ``(m, d)`` with the largest inner product with each query.

    As ``align.scoring.topk.nearest``, ``(q, k)`` int64, except that scores which differ by no more
    than 1e-6 of the lengths multiplied count as equal: of these the lower row comes first. A probe
    counts who is near whom; in a grid, a simplex or a set with repeats its value would else depend
    on the processor.
    """
    check_scorable(queries, gallery)
    check_k(k, len(gallery))
    blocks = torch.split(queries, max(1, _SCORES // len(gallery)))
    return torch.cat([_closest(inner_products(b, gallery), b, gallery, k) for b in blocks])


def closest_by(scores: Tensor, queries: Tensor, gallery: Tensor, *, k: int) -> Tensor:
    """``closest`` where the inner products ``(q, m)`` are there already."""
    check_k(k, len(gallery))
    rows = max(1, _SCORES // len(gallery))
    blocks = zip(torch.split(scores, rows), torch.split(queries, rows), strict=True)
    return torch.cat([_closest(some.contiguous(), b, gallery, k) for some, b in blocks])


def _closest(scores: Tensor, queries: Tensor, gallery: Tensor, k: int) -> Tensor:
    longest = torch.linalg.vector_norm(gallery, dim=1).amax()
    within = PRODUCTS * longest * torch.linalg.vector_norm(queries, dim=1, keepdim=True)
    return largest_first(scores, k, within=within)
