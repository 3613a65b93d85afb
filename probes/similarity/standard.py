"""The four standard similarities of two embeddings, each of all queries with all gallery rows.

All are symmetric and higher where two rows are more alike, so distances come out negative: at most
0, and 0 for equal rows only. Rows that are equal score equally to the last bit, on either side, so
that a tie is a tie. All take queries ``(q, d)`` and a gallery ``(m, d)`` to ``(q, m)``, float32 or
wider, at a cost of O(q m d), and raise ``ValueError`` unless both are finite matrices of one width.

Reference:
    Xu and Leiva 2025, arXiv:2506.08774, table 1, compare these four.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from align.metrics.ranks import rank_scores
from align.scoring.inner_products import inner_products
from probes.inputs import Matrix, directions, matrix

Similarity = Callable[[Tensor, Tensor], Tensor]
"""Queries ``(q, d_source)``, gallery ``(m, d_target)`` to scores ``(q, m)``; higher is closer."""

_ENTRIES = 1 << 17  # terms of the chi-square sum held at a time, few enough to stay in a cache
_TILE = 64  # rows are padded to a multiple: matrix products sum what is left over in another way


@torch.no_grad()
def cosine(queries: Matrix, gallery: Matrix) -> Tensor:
    """Cosine of the angle between rows, ``<x, y> / (||x|| ||y||)``; higher is more alike.

    In [-1, 1]; 0 for directions that have nothing to do with each other. No row may be all zeros.
    """
    x, y = _sides(queries, gallery)
    scores = inner_products(padded(directions("queries", x)), directions("gallery", y))
    return scores[: len(x)]


@torch.no_grad()
def euclidean(queries: Matrix, gallery: Matrix) -> Tensor:
    """Minus the Euclidean distance, ``-sqrt(sum_i (x_i - y_i)^2)``; higher is more alike.

    Rows of unit norm come in the same order as by the cosine: the squared distance is then
    ``2 - 2 cos``.
    """
    x, y = _sides(queries, gallery)
    # The short way by inner products loses half of the digits of small distances.
    return -torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


@torch.no_grad()
def manhattan(queries: Matrix, gallery: Matrix) -> Tensor:
    """Minus the Manhattan distance, ``-sum_i |x_i - y_i|``; a rotation changes it."""
    x, y = _sides(queries, gallery)
    return -torch.cdist(x, y, p=1.0)


@torch.no_grad()
def chi_square(queries: Matrix, gallery: Matrix) -> Tensor:
    """Minus the chi-square distance, ``-sum_i (x_i - y_i)^2 / (x_i + y_i)``; higher is more alike.

    A coordinate where both are 0 adds 0. A rotation changes it. It is made for histograms: entries
    must not be negative, so embeddings of any sign go through ``positive_and_negative_parts``
    first. Each term costs a division; no more than a block of the ``q m d`` terms is held.

    Raises:
        ValueError: The sides do not fit, or an entry is negative.

    Reference:
        Puzicha, Buhmann, Rubner and Tomasi 1999, doi:10.1109/ICCV.1999.790412, where each row is
        compared with the mean of both, which is half of this.
    """
    x, y = _sides(queries, gallery)
    _check_not_negative("queries", x)
    _check_not_negative("gallery", y)
    columns = max(1, _ENTRIES // x.shape[1])
    # Squares of entries this small are 0, so that this changes no term but 0 / 0, which becomes 0.
    smallest = torch.finfo(x.dtype).tiny
    scores = x.new_empty(len(x), len(y))
    for query, row in zip(x, scores, strict=True):
        for start in range(0, len(y), columns):
            block = y[start : start + columns]
            terms = (query - block).square_().div_((query + block).clamp_min_(smallest))
            torch.sum(terms, dim=1, out=row[start : start + columns])
    return scores.neg_()


def positive_and_negative_parts(x: Matrix) -> Tensor:
    """``max(x, 0)`` and ``max(-x, 0)`` side by side, ``(n, 2 d)``, of entries of any sign.

    Of rows so split, the chi-square distance is ``sum_i (x_i - y_i)^2 / (|x_i| + |y_i|)``. How
    the paper makes its embeddings non-negative is not known to us. We split signs since that
    needs no data, keeps zero where it was, and commutes with scaling; a shift by a training
    minimum is not defined for a later row that falls below it, and a softplus is so nearly a
    straight line on the entries of unit vectors that a Euclidean distance is left.

    Reference:
        Shang, Sohn, Almeida and Lee 2016, arXiv:1603.05201, eq. 3 (CReLU).
    """
    rows = matrix("x", x)
    return torch.cat([rows.clamp_min(0), rows.neg().clamp_min(0)], dim=1)


@torch.no_grad()
def match_ranks(similarity: Similarity, source: Tensor, target: Tensor, codes: Tensor) -> Tensor:
    """Rank of the best match of each row among the rows of the other side; lower is better.

    As in ``align.metrics.ranks``: from 1, ties counting against the similarity, which is called
    once, with all sources as queries and all targets as gallery, row-matched. Rows of one of
    ``codes`` match each other. ``(n, 2)`` int64: of targets searched by sources, and of sources
    searched by targets. Scores that are not a finite ``(n, n)`` matrix raise ``ValueError``.
    """
    scores = similarity(source, target)
    return torch.stack(
        [rank_scores(scores, codes, codes).first, rank_scores(scores.T, codes, codes).first], dim=1
    )


def padded(x: Tensor) -> Tensor:
    """``x`` ``(n, d)`` with rows of zeros below, so that a product treats all its rows alike."""
    return F.pad(x, (0, 0, 0, -len(x) % _TILE))


def _sides(queries: Matrix, gallery: Matrix) -> tuple[Tensor, Tensor]:
    """Both sides checked, in one dtype."""
    x, y = matrix("queries", queries), matrix("gallery", gallery)
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            "queries and gallery must lie in one space; "
            f"got widths {x.shape[1]} and {y.shape[1]}. Map both sides with an adapter first."
        )
    dtype = torch.promote_types(x.dtype, y.dtype)
    return x.to(dtype), y.to(dtype)


def _check_not_negative(name: str, x: Tensor) -> None:
    if (x < 0).any():
        rows = (x < 0).any(dim=1)
        raise ValueError(
            f"{name} must not be negative for a chi-square distance; {int(rows.sum())} of {len(x)} "
            f"rows have entries down to {x.min():.4g}. "
            "Pass them through positive_and_negative_parts first."
        )
