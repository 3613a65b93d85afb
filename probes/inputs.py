"""What every probe takes: matrices with one embedding per row, in any form that people have.

Those are NumPy arrays, tensors, data frames, series and lists of vectors, and ``Embeddings``
(``align.data.named_rows``). All that is not as it must be raises ``ValueError``, and what is no
numbers ``TypeError``.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from align._checks import check_length, check_matrix, check_no_zero_rows
from align.data.embeddings import Vectors, as_tensor, matched_rows
from align.data.splits import deal, group_codes

Matrix = Vectors

_UNIT = 1e-3  # float16 vectors that were normalised have norms within this of 1


class UnreliableEstimate(UserWarning):
    """The number is what its formula gives, but the sample is too small to trust it.

    Examples:
        >>> import warnings, torch, probes
        >>> from torch.nn.functional import normalize
        >>> rng = torch.Generator().manual_seed(0)
        >>> x = normalize(torch.randn(40, 8, generator=rng), dim=1)
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     value = probes.pq_agreement(x, x)
        >>> caught[0].category.__name__
        'UnreliableEstimate'
    """


def matrix(name: str, x: Matrix, *, least: int = 1) -> Tensor:
    """``x`` as a finite floating-point tensor ``(n, d)``, at least float32; else ``ValueError``."""
    rows = as_tensor(x, name=name).detach()
    check_matrix(name, rows)
    if len(rows) < least:
        raise ValueError(
            f"{name} must have at least {least} rows for this probe; got {len(rows)}. "
            "Pass more items."
        )
    return rows if rows.dtype in (torch.float32, torch.float64) else rows.float()


def pairs(source: Matrix, target: Matrix, *, least: int = 2) -> tuple[Tensor, Tensor]:
    """Row-matched finite matrices of one dtype, ``(n, d_source)`` and ``(n, d_target)``."""
    x, y, _ = matched_rows(source, target)
    return _of_one_dtype(matrix("source", x, least=least), matrix("target", y, least=least))


def common_space(source: Matrix, target: Matrix, *, least: int = 2) -> tuple[Tensor, Tensor]:
    """As ``pairs``, with both sides in one space, ``(n, d)`` each."""
    x, y = pairs(source, target, least=least)
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            "source and target must lie in one space for this probe; "
            f"got widths {x.shape[1]} and {y.shape[1]}. Map them with an adapter first."
        )
    return x, y


def unit_pairs(source: Matrix, target: Matrix) -> tuple[Tensor, Tensor]:
    """As ``common_space``, where every row must have unit norm."""
    x, y = common_space(source, target)
    check_unit("source", x)
    check_unit("target", y)
    return x, y


def paired_directions(
    source: Matrix, target: Matrix, groups: Sequence[str] | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Both sides in a common space at unit norm, and the group code of each pair."""
    x, y = common_space(source, target)
    return directions("source", x), directions("target", y), codes_of(groups, len(x))


def queries_and_gallery(queries: Matrix, gallery: Matrix) -> tuple[Tensor, Tensor]:
    """Two finite matrices of one dtype, each scaled to be near 1."""
    x, y = each_near_one(matrix("queries", queries), matrix("gallery", gallery))
    return _of_one_dtype(x, y)


def _of_one_dtype(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    dtype = torch.promote_types(x.dtype, y.dtype)
    return x.to(dtype), y.to(dtype)


def near_one(*sides: Tensor) -> tuple[tuple[Tensor, ...], float]:
    """Matrices divided by the power of two that brings their largest entry near 1, and the power.

    That changes no digit, and keeps squares and products within the range of their dtype. A result
    has to be multiplied by the power as often as it is in the unit of the input.
    """
    power = _power_of_two(torch.stack([side.abs().amax() for side in sides]).amax())
    return tuple(side / power for side in sides), float(power)


def each_near_one(*sides: Tensor) -> tuple[Tensor, ...]:
    """Each matrix divided by a power of its own, for what does not depend on the scale of one."""
    return tuple(near_one(side)[0][0] for side in sides)


def _power_of_two(x: Tensor) -> Tensor:
    """The largest power of two that is not above each of ``x``, which are at least 0; 1 for 0."""
    return torch.where(x > 0, x / (2 * torch.frexp(x).mantissa), 1.0)


def directions(name: str, x: Tensor) -> Tensor:
    """Rows of ``x`` divided by their norms; a row of zeros has no direction."""
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
            f"[{norms.min():.4g}, {norms.max():.4g}]. Divide each row by its norm, with "
            "torch.nn.functional.normalize(x, dim=1), or call probes.report, which does."
        )


def codes_of(groups: Sequence[str] | None, n: int) -> Tensor:
    """Group code of each of ``n`` pairs, ``(n,)`` int64; each pair is its own group if left out."""
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


def folds_of(codes: Tensor, k: int, *, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Rows outside and rows inside each of ``k`` folds of whole groups, int64."""
    return deal([str(code) for code in codes.tolist()], k, seed=seed)


def announce(notes: Sequence[str]) -> None:
    """Warn the caller of a public probe of each note, as ``UnreliableEstimate``."""
    for note in notes:
        warnings.warn(note, UnreliableEstimate, stacklevel=3)
