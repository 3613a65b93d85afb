"""Second moments of two paired sides, and their spectra: all that the linear closed forms need."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from align._checks import check_k, check_matrix, check_no_zero_rows, check_paired
from align.adapters.maps.linear import LinearMap, centred, directions
from align.adapters.maps.parts import Parts

WIDEST = 1280  # directions of a wider side, which costs the cube of its width
ROWS = 4096  # rows at a time of what is too large to be held twice


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Eigenvalues of a covariance and their eigenvectors; the rest of the space holds nothing."""

    values: Tensor  # (r,), not negative
    vectors: Tensor  # orthonormal columns, (d, r), with r <= d
    mean: Tensor  # mean eigenvalue over all d dimensions: the unit of every ridge

    @classmethod
    def of_covariance(cls, covariance: Tensor) -> Spectrum:
        """Eigendecomposition of a symmetric ``(d, d)`` matrix, in its dtype."""
        values, vectors = torch.linalg.eigh(covariance)
        return cls(values.clamp_min(0), vectors, covariance.diagonal().mean())

    @classmethod
    def within(
        cls, covariance: Tensor, basis: Tensor, *, dtype: torch.dtype = torch.float64
    ) -> Spectrum:
        """That of a ``(d, d)`` matrix in the span of a ``basis`` ``(d, b)``, in ``dtype``."""
        inside = cls.of_covariance((basis.T @ covariance @ basis).to(dtype))
        mean = covariance.diagonal().mean().to(dtype)
        return cls(inside.values, basis.to(dtype) @ inside.vectors, mean)

    @classmethod
    def of_rows(cls, x: Tensor, *, dtype: torch.dtype = torch.float64) -> Spectrum:
        """Spectrum of ``x.T @ x / n``, via the ``n x n`` Gram matrix if ``n < d``.

        Moments are summed in float64 and decomposed in ``dtype``.
        """
        n, d = x.shape
        if n >= d:
            return cls.of_covariance((second_moment(x, x) / n).to(dtype))
        rows = x.double()
        values, left = torch.linalg.eigh((rows @ rows.T / n).to(dtype))
        positive = values > torch.finfo(dtype).eps * n * values[-1]
        values = values[positive]
        vectors = rows.T.to(dtype) @ (left[:, positive] / (n * values).sqrt())
        return cls(values, vectors, values.sum() / d)

    def scaled(self, ridge: float) -> Tensor:
        """``1 / sqrt(value + ridge * mean)``, ``(r,)``: the whitening of each eigenvector.

        Directions without variance get 0 where ``ridge`` is 0: they cannot be whitened.
        """
        shrunk = self.values + ridge * self.mean
        floor = torch.finfo(shrunk.dtype).eps * len(shrunk) * self.values.max()
        return torch.where(shrunk > floor, shrunk.clamp_min(floor).rsqrt(), 0)


@dataclass(frozen=True)
class Paired:
    """All that the linear closed forms need to know of the pairs, each side prepared."""

    means: tuple[Tensor, Tensor]  # mean directions of rows, (d_source,) and (d_target,)
    roots: tuple[bool, bool]  # whether each side goes through the signed square root first
    source: Spectrum
    target: Spectrum
    cross: Tensor  # Ux.T @ C_xy @ Uy, (r_source, r_target), in the dtype of the spectra
    n: int  # pairs behind cross
    parts: tuple[Parts | None, Parts | None] = (None, None)  # None for one part

    @property
    def widths(self) -> tuple[int, int]:
        """``(d_source, d_target)``."""
        return self.source.vectors.shape[0], self.target.vectors.shape[0]

    @cached_property
    def singular(self) -> tuple[Tensor, Tensor, Tensor]:
        """Thin singular value decomposition of ``cross``: ``U``, falling values, ``V.T``."""
        u, s, vt = torch.linalg.svd(self.cross, full_matrices=False)
        return u, s, vt

    def check_dim(self, dim: int | None) -> None:
        """Raise ``ValueError`` if ``dim`` is given and there are fewer directions."""
        if dim is not None:
            check_k(dim, min(self.cross.shape), name="dim", of="the number of directions")

    def maps(self, a: Tensor, b: Tensor) -> tuple[LinearMap, LinearMap]:
        """Linear maps with weights ``a`` ``(d_source, d)`` and ``b`` ``(d_target, d)``, float32."""
        return (
            LinearMap(self.means[0], a.float(), root=self.roots[0], parts=self.parts[0]),
            LinearMap(self.means[1], b.float(), root=self.roots[1], parts=self.parts[1]),
        )

    def eyes(self) -> tuple[Tensor, Tensor]:
        """Identity weights of the two sides."""
        source, target = (torch.eye(width, device=self.cross.device) for width in self.widths)
        return source, target


def second_moment(x: Tensor, y: Tensor, *, dtype: torch.dtype = torch.float64) -> Tensor:
    """``x.T @ y``, ``(d_x, d_y)`` float64, over blocks of rows that are multiplied in ``dtype``."""
    total = torch.zeros(x.shape[1], y.shape[1], dtype=torch.float64, device=x.device)
    for a, b in zip(torch.split(x, ROWS), torch.split(y, ROWS), strict=True):
        wide = a.to(dtype)
        total += wide.T @ (wide if x is y else b.to(dtype))
    return total


def widest_directions(covariance: Tensor) -> Tensor:
    """``WIDEST`` directions of most variance of a ``(d, d)`` matrix, columns in float64."""
    vectors: Tensor = torch.linalg.eigh(covariance.float()).eigenvectors
    return vectors[:, -WIDEST:].double()


def prepare(x: Tensor, *, root: bool = False, parts: Parts | None = None) -> tuple[Tensor, Tensor]:
    """Mean direction ``(d,)`` and the centred unit-norm rows ``(n, d)`` of raw embeddings."""
    if parts is not None:
        mean = parts.mean(x, root=root)
        return mean, centred(x, mean, root=root, parts=parts)
    rows = torch.empty_like(x)
    blocks = torch.split(rows, ROWS)  # views: no more than the rows themselves is held whole
    for block, raw in zip(blocks, torch.split(x, ROWS), strict=True):
        block.copy_(directions(raw, root=root))
    mean = rows.mean(dim=0)
    for block in blocks:
        block.copy_(F.normalize(block - mean, dim=1))
    return mean, rows


def check_pairs(source: Tensor, target: Tensor) -> None:
    """Raise ``ValueError`` unless sides are row-matched, finite, vary and have no zero rows."""
    check_paired(source, target)
    for name, x in (("source", source), ("target", target)):
        check_matrix(name, x)
        check_no_zero_rows(name, x)
    if len(source) < 2:
        raise ValueError(
            f"fitting needs at least 2 pairs, and better 300; got {len(source)}. Encode more pairs."
        )
    for name, x in (("source", source), ("target", target)):
        rows = directions(x.float())
        if (rows - rows[0]).abs().amax() <= 1e-6:  # the rounding of float32
            raise ValueError(
                f"the {name} side must differ between pairs; all {len(x)} rows have one direction. "
                "Check what was encoded, and from which column."
            )


def paired_moments(
    source: Tensor, target: Tensor, *, roots: tuple[bool, bool] = (False, False)
) -> Paired:
    """Check, prepare and decompose raw pairs, ``(n, d_source)`` and ``(n, d_target)``; float64.

    Raises:
        ValueError: The sides are not row-matched finite matrices without zero rows, or one row.
    """
    check_pairs(source, target)
    source_mean, x = prepare(source.float(), root=roots[0])
    target_mean, y = prepare(target.float(), root=roots[1])
    sx, sy = Spectrum.of_rows(x), Spectrum.of_rows(y)
    cross = sx.vectors.T @ (second_moment(x, y) / len(x)) @ sy.vectors
    return Paired((source_mean, target_mean), roots, sx, sy, cross, len(x))
