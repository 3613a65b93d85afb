"""The maps of the linear closed forms from second moments; ``closed_form`` says what each is."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from align.adapters.maps.linear import BlendMap, LinearMap, SideMap
from align.adapters.recipes.moments import Paired

Direction = Literal["forward", "backward", "both"]


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
