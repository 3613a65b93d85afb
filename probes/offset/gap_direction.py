"""Direction of the gap: whether it points where the data vary, or away from all of it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from align._checks import check_k
from probes.estimates import Measured, Null, SmoothEstimate, sums_of_groups
from probes.inputs import Matrix, announce, common_space
from probes.space import K, Probe, Space


def gap_orthogonality(source: Matrix, target: Matrix, *, k: int = K) -> float:
    """Share of the gap's length that lies in the top ``k`` principal directions of the data.

    ``||V_k' g|| / ||g||`` with ``g`` the difference of the centroids and ``V_k`` the leading
    eigenvectors of the covariance pooled within the two modalities. In [0, 1]; neither direction
    is better. 0 means that the gap is orthogonal to where the data vary, so that a translation
    leaves retrieval as it was; a random direction gives about ``sqrt(k/d)``. Directions without
    variance are never principal: fewer than ``k`` are used where the clouds span fewer. The gap is
    the plain difference, noise included. Costs O(n d^2 + d^3).

    Norms: as they are; one scale for all rows changes nothing.

    Args:
        source: Source embeddings, ``(n, d)``; any norm.
        target: Target embeddings of the same pairs, ``(n, d)``; any norm.
        k: Number of principal directions, ``1 <= k <= d``; with ``k = d`` the value is 1 wherever
            the data span the space.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width, ``k`` is out of
            range, the centroids coincide, or both clouds are constant.

    Warns:
        UnreliableEstimate: The noise of the centroids outweighs the gap.

    Meaning:
        How much of the gap lies in the directions along which the items themselves vary most.

    Beware:
        Where there is hardly a gap, its direction is noise, and so is this value.

    Range:
        In [0, 1]; sqrt(k / d) with nothing there; neither is better.

    Reference:
        Chowers et al. 2026, arXiv:2603.29080, who show that a gap vector orthogonal to the
        embeddings does not change retrieval.

    Examples:
        >>> import torch, probes
        >>> from torch.nn.functional import normalize
        >>> rng = torch.Generator().manual_seed(0)
        >>> x = normalize(torch.randn(50, 4, generator=rng), dim=1)
        >>> round(probes.gap_orthogonality(x, -x.abs(), k=4), 3)
        1.0
    """
    x, y = common_space(source, target)
    share = _share(x, y, torch.arange(len(x)), k)
    announce(share.notes)
    return share.value


def _share(x: Tensor, y: Tensor, codes: Tensor, k: int) -> SmoothEstimate:
    """The share, with the principal directions held fixed."""
    check_k(k, x.shape[1], of="the number of dimensions")
    eps = torch.finfo(x.dtype).eps
    x, y = x.double(), y.double()
    difference = x - y
    gap = difference.mean(dim=0)
    scale = max(float(side.square().sum(dim=1).mean()) for side in (x, y)) ** 0.5
    if gap.norm() <= eps * scale:
        raise ValueError(
            "the centroids must differ for the gap to have a direction; they are "
            f"{gap.norm():.3g} apart. There is no gap here: leave this probe out."
        )
    within = torch.cat([side - side.mean(dim=0) for side in (x, y)])
    inside = difference @ _principal(within, k, least=(eps * scale) ** 2)
    part = inside.mean(dim=0)
    value = float(part.norm() / gap.norm())
    influence = torch.zeros(len(x)).double()
    if part.any():
        along = difference @ gap / gap.square().sum()
        influence = value * (inside @ part / part.square().sum() - along)
    return SmoothEstimate(value, influence, _direction_notes(difference, codes))


def _principal(centred: Tensor, k: int, *, least: float) -> Tensor:
    """At most ``k`` leading principal directions of rows with zero mean, ``(d, k)`` float64."""
    covariance = centred.T @ centred / len(centred)
    values, vectors = torch.linalg.eigh(covariance)
    spread = values[-k:] > least
    if not spread.any():
        raise ValueError(
            "source or target must vary to have principal directions; both are constant. "
            "Check the encoders: they gave one vector for all items of a side."
        )
    leading: Tensor = vectors[:, -k:]
    return leading[:, spread]


def _direction_notes(difference: Tensor, codes: Tensor) -> tuple[str, ...]:
    mean = difference.mean(dim=0)
    noise = sums_of_groups(difference - mean, codes).square().sum() / len(codes) ** 2
    square = mean.square().sum()
    if noise <= square / 2:
        return ()
    return (
        f"Of the squared distance of the centroids, {square:.3g}, noise alone would give about "
        f"{noise:.3g}: the direction of the gap is mostly noise.",
    )


def _measure_gap_orthogonality(space: Space) -> Measured:
    d = space.source.shape[1]
    # Where all directions are principal, the value is 1 whatever the data.
    k = K if K < d else d // 2
    few = f"The space has {d} dimensions: the top {k} principal directions stand for {K}."
    share = _share(space.source, space.target, space.codes, k)
    return share.measured(Null(math.sqrt(k / d)), notes=(few,) if k < K else ())


GAP_ORTHOGONALITY = Probe(
    name="gap_orthogonality",
    label=f"Gap in top {K} principal directions",
    extreme=1.0,
    opposite=0.0,  # farther from chance than 1 is wherever d < 4 k
    function=gap_orthogonality,
    family="offset",
    better="neither",
    needs="common space",
    measure=_measure_gap_orthogonality,
    interval="bootstrap over pairs, linearised, principal directions held: wide for small gaps",
    null="gap in a random direction: sqrt(k/d)",
)
