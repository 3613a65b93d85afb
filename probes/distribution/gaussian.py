"""Squared Wasserstein distance of the Gaussians that share means and covariances with the clouds.

Also known as the Fréchet or, between centred clouds, the Bures distance.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from align._checks import check_at_least
from probes.distribution.clouds import Clouds, exactly_centred
from probes.distribution.squared_distance import CentredDistance, squared_distance_probes
from probes.inputs import Matrix, announce, common_space, near_one

K = 64
"""Principal axes used: a covariance of this size is known well from the 1,000 pairs of a report."""

_ENOUGH = 10  # pairs per dimension below which the upward bias is strong (Fréchet distance)


def gaussian_wasserstein(
    source: Matrix, target: Matrix, *, k: int | None = K, shrink: bool = True
) -> float:
    """Squared Wasserstein distance of the Gaussians fitted to both clouds; lower is better.

    ``||m||² + tr(A + B - 2 (A^1/2 B A^1/2)^1/2)`` where ``m`` is the gap of the centroids and ``A``
    and ``B`` are the covariances, divided by ``n``. It looks at means and covariances and at
    nothing else; pairing plays no part. The second term, the centred part, is
    ``gaussian_wasserstein(*centred(source, target))``. Its covariances are taken along the ``k``
    leading principal axes of both centred clouds together, so it is a lower bound of that of the
    whole space. The first term is always that of the whole space.

    In squared units of the embeddings, in float64; at least 0, and 0 for equal Gaussians. Estimated
    from ``n`` pairs, equal Gaussians give more, about in proportion to ``k / n``: read it against
    the same with the sides swapped. Rotation and a common shift change nothing; scaling both sides
    by ``c`` gives ``c²`` as much. Cost ``O(n d min(d, 2 n) + n k² + k³)``.

    Norms: as they are; the value grows with the square of the scale of all rows.

    Args:
        source: Source embeddings, ``(n, d)`` with ``n >= 2``.
        target: Target embeddings of the same pairs, ``(n, d)``.
        k: Principal axes, at most; ``None`` takes the whole space.
        shrink: Whether to shrink each covariance towards a multiple of the identity, by the share
            of Ledoit and Wolf. Without, the upward bias is stronger.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width with two rows, or
            ``k`` is below 1.

    Warns:
        UnreliableEstimate: There are fewer than 10 pairs per dimension of the covariances.

    Meaning:
        The distance of both clouds as their means and covariances see it; centred, of the
        covariances alone.

    Beware:
        What is not in mean and covariance, such as clusters, it does not see, and covariances are
        shrunk where pairs are few.

    Range:
        In [0, 4], centred [0, 2]; the value of swapped sides with nothing there; lower is better.

    Reference:
        Dowson and Landau 1982, doi:10.1016/0047-259X(82)90077-X; Ledoit and Wolf 2004,
        doi:10.1016/S0047-259X(03)00096-4. Fréchet inception distance
        (Heusel et al. 2017, arXiv:1706.08500) is this without shrinkage and with all axes.

    Examples:
        >>> import torch, probes
        >>> from torch.nn.functional import normalize
        >>> rng = torch.Generator().manual_seed(0)
        >>> x = normalize(torch.randn(50, 4, generator=rng), dim=1)
        >>> abs(round(probes.gaussian_wasserstein(x, x), 6))
        0.0
    """
    if k is not None:
        check_at_least("k", k, 1)
    (x, y), scale = near_one(*common_space(source, target))
    z, w, gap = exactly_centred(x, y)
    announce(_notes(len(z), z.shape[1] if k is None else min(k, z.shape[1])))
    along_z, along_w = _along(_axes(z, w, k), z, w)
    width = z.shape[1] if k is None else along_z.shape[1]
    between = _bures(along_z, along_w, width=width, shrink=shrink)
    return float(gap.square().sum() + between) * scale * scale


def _notes(n: int, width: int) -> tuple[str, ...]:
    if n >= _ENOUGH * width:
        return ()
    return (
        f"{n} pairs are fewer than {_ENOUGH} per dimension of the covariances ({width}): shrinkage "
        "holds the upward bias of the Gaussian Wasserstein distance down but does not remove it.",
    )


def _along(axes: Tensor | None, z: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    return (z, w) if axes is None else (z @ axes, w @ axes)


def _axes(z: Tensor, w: Tensor, k: int | None) -> Tensor | None:
    """Leading principal axes of both clouds, ``(d, r)``; ``None`` for those of the space."""
    n, d = z.shape
    # Where rows span fewer dimensions than they have, work in their span.
    basis = torch.linalg.qr(torch.cat([z, w]).T).Q if d > 2 * n else None
    if basis is not None:
        z, w = z @ basis, w @ basis
    if k is None or k >= z.shape[1]:
        return basis
    leading: Tensor = torch.linalg.eigh(z.T @ z + w.T @ w).eigenvectors[:, -k:]
    return leading if basis is None else basis @ leading


class _Covariance(NamedTuple):
    """A covariance shrunk towards the identity."""

    matrix: Tensor  # (r, r)
    share: Tensor  # weight of the identity
    floor: Tensor  # variance along each axis that the matrix leaves out


def _covariance(x: Tensor, *, width: int, shrink: bool) -> _Covariance:
    """Covariance of a centred cloud ``(n, r)`` that lies in ``width`` dimensions."""
    n, r = x.shape
    plain = x.T @ x / n
    norms = x.square().sum(dim=1)
    level = norms.mean() / width
    squares = plain.square().sum()
    noise = (norms.square().mean() - squares) / n
    distance = squares - width * level.square()
    # An isotropic cloud equals what it is shrunk to, whatever the share.
    share = (torch.minimum(noise, distance) / distance).where(distance > 0, 0.0) * shrink
    floor = share * level
    return _Covariance((1 - share) * plain + floor * torch.eye(r).to(plain), share, floor)


def _root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    # Rounding takes eigenvalues of a singular covariance below zero, where no root exists.
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root


def _bures(z: Tensor, w: Tensor, *, width: int, shrink: bool = True) -> float:
    """Squared distance between centred Gaussians fitted to clouds ``(n, r)``."""
    a, b = (_covariance(x, width=width, shrink=shrink) for x in (z, w))
    # Any factor of A will do in place of its root: the eigenvalues are those of A B.
    factor, failed = torch.linalg.cholesky_ex(a.matrix)
    if failed:
        factor = _root(a.matrix)
    roots = torch.linalg.eigvalsh(factor.T @ b.matrix @ factor).clamp(min=0).sqrt()
    inside = a.matrix.trace() + b.matrix.trace() - 2 * roots.sum()
    outside = (width - z.shape[1]) * (a.floor.sqrt() - b.floor.sqrt()).square()
    return float(inside + outside)


def _influence(z: Tensor, w: Tensor) -> Tensor:
    """What each pair contributes to the squared distance to first order, ``(n,)``.

    The derivative is ``tr((I - T) dA) + tr((I - T^-1) dB)`` with the map ``T`` that transports one
    Gaussian to the other (Bhatia, Jain and Lim 2019, arXiv:1712.01504). The shares of shrinkage
    move with the pairs; the principal axes are held.
    """
    n, k = z.shape
    sides = [(x, _covariance(x, width=k, shrink=True)) for x in (z, w)]
    total = torch.zeros(n).to(z)
    for (x, own), (_, other) in (sides, sides[::-1]):
        root = _root(other.matrix)
        values, vectors = torch.linalg.eigh(root @ own.matrix @ root)
        # Eigenvalues this small, relative to the largest, are rounding: nothing is divided by them.
        above = values > 1e-10 * values[-1]
        half = (root @ vectors)[:, above] / values[above].pow(0.25)
        slope = torch.eye(k).to(z) - half @ half.T
        plain = x.T @ x / n
        levels = x.square().sum(dim=1) / k
        shrunk = levels.mean() * slope.trace() - (slope * plain).sum()
        share = own.share
        total += (1 - share) * ((x @ slope) * x).sum(dim=1) + share * slope.trace() * levels
        total += shrunk * _influence_on_share(x, plain)
    return total


def _influence_on_share(x: Tensor, plain: Tensor) -> Tensor:
    """What each row of a centred cloud ``(n, k)`` contributes to the share of shrinkage."""
    n, k = x.shape
    norms = x.square().sum(dim=1)
    squares = plain.square().sum()
    noise = (norms.square().mean() - squares) / n
    distance = squares - plain.trace().square() / k
    if not 0 <= noise < distance:
        return torch.zeros(n).to(x)  # The share is at its end.
    on_squares = 2 * ((x @ plain) * x).sum(dim=1)
    # The mean moves too, and with it the fourth moment, which is not flat there as the second is.
    on_fourth = norms.square() - 4 * x @ (norms @ x / n)
    on_noise = (on_fourth - on_squares) / n
    on_distance = on_squares - 2 * plain.trace() / k * norms
    moved: Tensor = on_noise / distance - noise / distance.square() * on_distance
    return moved - moved.mean()


def _solve(clouds: Clouds) -> CentredDistance:
    # The axes are those of both clouds together, which a swap leaves where they are.
    axes = _axes(clouds.source, clouds.target, K)
    along = _along(axes, clouds.source, clouds.target)
    k = along[0].shape[1]

    def again(swapped: Clouds) -> float:
        return _bures(swapped.source, swapped.target, width=k)

    notes = _notes(len(clouds.source), k)
    return CentredDistance(_bures(*along, width=k), _influence(*along), again, axes, notes)


# Each swap costs two small eigenproblems; 40 values make a p of 0.025.
GAUSSIAN_WASSERSTEIN, GAUSSIAN_WASSERSTEIN_CENTRED = squared_distance_probes(
    "gaussian_wasserstein",
    ("Gaussian W², shrunk, 64 axes", "Gaussian W², centred"),
    gaussian_wasserstein,
    _solve,
    draws=39,
    sampled=False,
)
