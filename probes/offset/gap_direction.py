"""Direction of the gap: whether it points where the data vary, or away from all of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from align._checks import check_k
from probes.estimates import Measured, Null, linearised
from probes.inputs import Matrix, announce, common_space
from probes.space import K, Probe, Space


def gap_orthogonality(source: Matrix, target: Matrix, *, k: int = K) -> float:
    """Share of the gap's length that lies in the top ``k`` principal directions of the data.

    ``||V_k' g|| / ||g||`` with ``g`` the difference of the centroids and ``V_k`` the leading
    eigenvectors of the covariance pooled within the two modalities. In [0, 1]; neither direction
    is better. 0 means that the gap is orthogonal to where the data vary, so that a translation
    leaves retrieval as it was; a random direction gives about ``sqrt(k/d)``. Directions without
    variance are never principal: fewer than ``k`` are used where the clouds span fewer.

    The gap is the plain difference, noise included: where that noise outweighs the gap, a warning
    says so. Costs O(n d^2 + d^3).

    Args:
        source: Source embeddings, ``(n, d)``; any norm.
        target: Target embeddings of the same pairs, ``(n, d)``; any norm.
        k: Number of principal directions, ``1 <= k <= d``; with ``k = d`` the value is 1 wherever
            the data span the space.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width, ``k`` is out of
            range, the centroids coincide, or both clouds are constant.

    Reference:
        Chowers et al. 2026, arXiv:2603.29080, who show that a gap vector orthogonal to the
        embeddings does not change retrieval.
    """
    x, y = common_space(source, target)
    found = _Subspace.of(x, y, torch.arange(len(x)), k)
    announce(found.notes)
    return found.value


@dataclass(frozen=True, slots=True, eq=False)
class _Subspace:
    """The gap of each pair, in the whole space and in the principal subspace.

    Attributes:
        inside: Contribution of each pair to the gap inside the subspace, ``(n, k)`` float64.
        everywhere: ``source - target``, ``(n, d)`` float64.
        notes: Why the direction of the gap is not to be trusted, if it is not.
    """

    inside: Tensor
    everywhere: Tensor
    notes: tuple[str, ...]

    @classmethod
    def of(cls, x: Tensor, y: Tensor, codes: Tensor, k: int) -> _Subspace:
        check_k(k, x.shape[1], of="the number of dimensions")
        difference = x.double() - y.double()
        gap = difference.mean(dim=0)
        scale = max(float(side.double().square().sum(dim=1).mean()) for side in (x, y)) ** 0.5
        if gap.norm() <= torch.finfo(x.dtype).eps * scale:
            raise ValueError(
                "the centroids must differ for the gap to have a direction; they are "
                f"{gap.norm():.3g} apart. There is no gap here: leave this probe out."
            )
        within = torch.cat([side.double() - side.double().mean(dim=0) for side in (x, y)])
        basis = _principal(within, k, least=(torch.finfo(x.dtype).eps * scale) ** 2)
        return cls(difference @ basis, difference, _direction_notes(difference, codes))

    @property
    def value(self) -> float:
        part, gap = self.inside.mean(dim=0), self.everywhere.mean(dim=0)
        return float(part.norm() / gap.norm())

    @property
    def influence(self) -> Tensor:
        """First-order effect of each pair on the value, the subspace held fixed, ``(n,)``."""
        part, gap = self.inside.mean(dim=0), self.everywhere.mean(dim=0)
        along = self.everywhere @ gap / gap.square().sum()
        if not part.any():
            return torch.zeros_like(along)
        return self.value * (self.inside @ part / part.square().sum() - along)


def _principal(centred: Tensor, k: int, *, least: float) -> Tensor:
    """At most ``k`` leading principal directions of rows with zero mean, ``(d, k)`` float64."""
    from scipy.linalg import eigh

    d = centred.shape[1]
    covariance = centred.T @ centred / len(centred)
    values, vectors = eigh(covariance.numpy(), subset_by_index=[d - k, d - 1])
    spread = torch.from_numpy(values) > least
    if not spread.any():
        raise ValueError(
            "source or target must vary to have principal directions; both are constant. "
            "Check the encoders: they gave one vector for all items of a side."
        )
    return torch.from_numpy(vectors)[:, spread]


def _direction_notes(difference: Tensor, codes: Tensor) -> tuple[str, ...]:
    mean = difference.mean(dim=0)
    of_groups = torch.zeros(int(codes.max()) + 1, len(mean), dtype=mean.dtype)
    noise = of_groups.index_add_(0, codes, difference - mean).square().sum() / len(codes) ** 2
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
    found = _Subspace.of(space.source, space.target, space.codes, k)
    fewer = f"The space has {d} dimensions: the top {k} principal directions stand for {K}."
    return Measured(
        found.value,
        replicate=linearised(found.value, found.influence),
        null=Null(math.sqrt(k / d)),
        notes=found.notes + ((fewer,) if k < K else ()),
    )


GAP_ORTHOGONALITY = Probe(
    name="gap_orthogonality",
    label=f"Gap in top {K} principal directions",
    family="offset",
    better="neither",
    needs="common space",
    measure=_measure_gap_orthogonality,
    interval="bootstrap over pairs, linearised, principal directions held: wide for small gaps",
    null="gap in a random direction: sqrt(k/d)",
)
