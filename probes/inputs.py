"""What every probe takes: matrices with one embedding per row, NumPy or torch."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from align._checks import check_length, check_matrix, check_no_zero_rows, check_paired
from align.data.embeddings import as_tensor
from align.data.splits import group_codes

Matrix = Tensor | np.ndarray[Any, Any]

_UNIT = 1e-3
"""A norm this close to 1 counts as 1: float16 vectors that were normalised stay within it."""


class UnreliableEstimate(UserWarning):
    """The number is what its formula gives, but the sample is too small to trust it."""


def matrix(name: str, x: Matrix, *, least: int = 1) -> Tensor:
    """``x`` as a finite floating-point tensor ``(n, d)``, at least float32.

    Args:
        name: What to call it in a message.
        x: One embedding per row, ``(n, d)``.
        least: Rows that the quantity needs.

    Raises:
        ValueError: ``x`` is not such a matrix, holds NaN or infinity, or has too few rows.
    """
    rows = as_tensor(x).detach()
    check_matrix(name, rows)
    if len(rows) < least:
        raise ValueError(
            f"{name} must have at least {least} rows for this probe; got {len(rows)}. "
            "Pass more items."
        )
    return rows if rows.dtype in (torch.float32, torch.float64) else rows.float()


def pairs(source: Matrix, target: Matrix, *, least: int = 2) -> tuple[Tensor, Tensor]:
    """Row-matched matrices of one dtype, ``(n, d_source)`` and ``(n, d_target)``.

    Args:
        source: Source embeddings, ``(n, d_source)``.
        target: Target embeddings of the same pairs, ``(n, d_target)``.
        least: Pairs that the quantity needs.

    Raises:
        ValueError: The sides are not row-matched finite matrices with ``least`` rows.
    """
    x, y = as_tensor(source).detach(), as_tensor(target).detach()
    check_paired(x, y)
    x, y = matrix("source", x, least=least), matrix("target", y, least=least)
    dtype = torch.promote_types(x.dtype, y.dtype)
    return x.to(dtype), y.to(dtype)


def common_space(source: Matrix, target: Matrix, *, least: int = 2) -> tuple[Tensor, Tensor]:
    """Row-matched matrices of one space, both ``(n, d)``.

    Args:
        source: Source embeddings, ``(n, d)``.
        target: Target embeddings of the same pairs, ``(n, d)``.
        least: Pairs that the quantity needs.

    Raises:
        ValueError: As for ``pairs``, or the widths differ.
    """
    x, y = pairs(source, target, least=least)
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            "source and target must lie in one space for this probe; "
            f"got widths {x.shape[1]} and {y.shape[1]}. Map them with an adapter first."
        )
    return x, y


def near_one(*sides: Tensor) -> tuple[tuple[Tensor, ...], float]:
    """Matrices divided by the power of two that brings their largest entry near 1, and the power.

    That changes no digit, and keeps squares and products within the range of their dtype. What a
    probe finds has then to be multiplied by the power as often as it is in the unit of its input.

    Args:
        *sides: Finite matrices, brought near 1 together.
    """
    largest = torch.stack([side.abs().amax() for side in sides]).amax()
    power = _power_of_two(largest)
    return tuple(side / power for side in sides), float(power)


def _power_of_two(x: Tensor) -> Tensor:
    """The largest power of two that is not above each of ``x``, which are at least 0; 1 for 0."""
    return torch.where(x > 0, x / (2 * torch.frexp(x).mantissa), 1.0)


def directions(name: str, x: Tensor) -> Tensor:
    """Rows of ``x`` divided by their norms: what a cosine looks at.

    Args:
        name: What to call it in a message.
        x: ``(n, d)``.

    Raises:
        ValueError: A row is all zeros and so has no direction.
    """
    check_no_zero_rows(name, x)
    x = x / _power_of_two(x.abs().amax(dim=1, keepdim=True))
    norms: Tensor = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return x / norms


def check_unit(name: str, x: Tensor) -> None:
    """Raise ``ValueError`` unless every row of ``x`` has unit norm."""
    norms = torch.linalg.vector_norm(x, dim=1)
    if ((norms - 1).abs() > _UNIT).any():
        raise ValueError(
            f"every row of {name} must have unit norm; the norms span "
            f"[{norms.min():.4g}, {norms.max():.4g}]. Divide each row by its norm first."
        )


def codes_of(groups: Sequence[str] | None, n: int) -> Tensor:
    """Group code of each pair, ``(n,)`` int64; each pair is its own group if left out.

    Args:
        groups: Group names, ``n`` of them: pairs of one group are never false pairs.
        n: Number of pairs.

    Raises:
        ValueError: There is not one name per pair, or all pairs are of one group.
    """
    if groups is None:
        return torch.arange(n)
    check_length("groups", groups, n)
    codes = torch.from_numpy(group_codes(groups))
    if int(codes.max()) == 0:
        raise ValueError(
            f"pairs must be of at least two groups to be told apart; all {n} are of "
            f"{groups[0]!r}. Pass groups only where some pairs belong together."
        )
    return codes


def announce(notes: Sequence[str]) -> None:
    """Warn the caller of a public probe of each note, as ``UnreliableEstimate``."""
    for note in notes:
        warnings.warn(note, UnreliableEstimate, stacklevel=3)
