"""The maps of the linear closed forms from second moments; ``closed_form`` says what each is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from align.adapters.maps.linear import BlendMap, LinearMap, SideMap
from align.adapters.recipes.moments import Paired

Direction = Literal["forward", "backward", "both"]

NEGLIGIBLE = 1e-6  # share of the largest singular value that float32 cannot tell from none


def canonical(moments: Paired, ridge: tuple[float, float]) -> tuple[Tensor, Tensor, Tensor]:
    """Canonical directions and correlations for one pair of ridges, strongest first.

    Returns:
        ``A`` ``(d_source, r)``, correlations ``(r,)`` and ``B`` ``(d_target, r)``, with
        ``A.T (C_x + k_x m_x I) A = I`` and likewise for ``B``.
    """
    a, b = moments.source.scaled(ridge[0]), moments.target.scaled(ridge[1])
    u, s, vt = torch.linalg.svd(a[:, None] * moments.cross * b, full_matrices=False)
    return (
        moments.source.vectors @ (a[:, None] * u),
        s,
        moments.target.vectors @ (b[:, None] * vt.T),
    )


def rcca_maps(
    moments: Paired, ridge: tuple[float, float], power: float, *, dim: int | None = None
) -> tuple[LinearMap, LinearMap]:
    """The two maps of ``rcca`` from moments already taken."""
    a, s, b = canonical(moments, ridge)
    weight = power_weights(s, power)
    return moments.maps((a * weight)[:, :dim], (b * weight)[:, :dim])


def power_weights(correlations: Tensor, power: float) -> Tensor:
    """Weight of each canonical direction, ``(r,)`` in [0, 1]."""
    return correlations.clamp_max(1) ** power


def forward_weight(moments: Paired, ridge: float) -> Tensor:
    """``(C_x + k m I)^-1 C_xy``, ``(d_source, d_target)``."""
    a = moments.source.scaled(ridge).square()
    return moments.source.vectors @ (a[:, None] * moments.cross) @ moments.target.vectors.T


def backward_weight(moments: Paired, ridge: float) -> Tensor:
    """``(C_y + k m I)^-1 C_yx``, ``(d_target, d_source)``."""
    b = moments.target.scaled(ridge).square()
    return moments.target.vectors @ (b[:, None] * moments.cross.T) @ moments.source.vectors.T


def ridge_maps(moments: Paired, ridge: float, direction: Direction) -> tuple[SideMap, SideMap]:
    """The two maps of ``ridge`` from moments already taken."""
    eye_x, eye_y = moments.eyes()
    forward = moments.maps(forward_weight(moments, ridge), eye_y)
    if direction == "forward":
        return forward
    backward = moments.maps(eye_x, backward_weight(moments, ridge))
    if direction == "backward":
        return backward
    source, target = zip(forward, backward, strict=True)
    return BlendMap(source, (0.5, 0.5)), BlendMap(target, (0.5, 0.5))


def pls_maps(
    moments: Paired, power: float, *, dim: int | None = None
) -> tuple[LinearMap, LinearMap]:
    """The two maps of ``pls`` from moments already taken."""
    u, s, vt = moments.singular
    weight = (s / s[0]) ** power
    a, b = moments.source.vectors @ (u * weight), moments.target.vectors @ (vt.T * weight)
    return moments.maps(a[:, :dim], b[:, :dim])


def procrustes_maps(moments: Paired) -> tuple[LinearMap, LinearMap]:
    """The two maps of ``procrustes`` from moments already taken."""
    u, _, vt = moments.singular
    rotation = moments.source.vectors @ u @ vt @ moments.target.vectors.T
    return moments.maps(rotation, moments.eyes()[1])


def averaged_maps(
    moments: Paired, forms: Sequence[tuple[float, Tensor, Tensor]], *, identity: float = 0.0
) -> tuple[LinearMap, LinearMap]:
    """Maps under which the inner product of two prepared rows is a weighted mean of bilinear forms.

    Each of ``forms`` is a weight and what two maps multiply rows by, ``A`` ``(d_source, r)`` and
    ``B`` ``(d_target, r)`` in the span of the pairs; it stands for ``A @ B.T`` over its typical
    size, ``sqrt(tr(A.T C_x A) tr(B.T C_y B))``. ``identity`` is the weight of the cosine of
    centred rows, for sides of one width. With ``U S V.T`` the singular value decomposition of the
    mean ``M``, the maps are ``U S^1/2`` and ``V S^1/2``: no wider than one of the forms, or than
    the rows if they have a share.
    """
    x, y = moments.source, moments.target
    u, v = x.vectors, y.vectors
    inside = moments.cross.new_zeros(moments.cross.shape)  # M = u @ inside @ v.T, but for identity
    for weight, a, b in forms:
        left, right = u.T @ a.to(u.dtype), v.T @ b.to(v.dtype)
        size = _energy(left, x.values) * _energy(right, y.values)
        inside += (weight / size) * (left @ right.T)
    if not identity:
        a, b = _halves(inside)
        return moments.maps(u @ a, v @ b)
    share = identity / (x.values.sum() * y.values.sum()).sqrt()
    spanned = u.shape[1] + v.shape[1]
    # Outside of what the pairs span there is nothing but the identity, which needs no solving.
    basis = torch.eye(len(u), dtype=u.dtype, device=u.device)
    if spanned < len(u):
        basis = torch.linalg.qr(torch.cat([u, v], dim=1), mode="complete").Q
    within, beyond = basis[:, :spanned], basis[:, spanned:]
    whole = (within.T @ u) @ inside @ (v.T @ within)
    whole.diagonal().add_(share)
    a, b = (torch.cat([within @ half, share.sqrt() * beyond], dim=1) for half in _halves(whole))
    return moments.maps(a, b)


def _energy(coordinates: Tensor, values: Tensor) -> Tensor:
    """Root of the mean squared length of mapped rows, from their map in the eigenbasis."""
    return (values @ coordinates.square()).sum().sqrt()


def _halves(m: Tensor) -> tuple[Tensor, Tensor]:
    """``U S^1/2`` and ``V S^1/2`` of a matrix, from an eigenproblem of its narrower side."""
    if m.shape[0] > m.shape[1]:
        b, a = _halves(m.T)
        return a, b
    wide = m.double()  # its square has half of the digits
    squares, u = torch.linalg.eigh(wide @ wide.T)
    values = squares.clamp_min(0).sqrt()
    found = values > NEGLIGIBLE * values[-1]
    values, u = values[found].sqrt(), u[:, found]
    return (u * values).to(m.dtype), (wide.T @ (u / values)).to(m.dtype)
