"""Canonical similarity analysis: plain CCA, with correlations as weights after normalising."""

from __future__ import annotations

from torch import Tensor

from align._checks import check_at_least
from align.adapters.adapter import Adapter
from align.adapters.closed_form.as_adapter import as_adapter
from align.adapters.maps.linear import WeightedMap
from align.adapters.recipes.formulas import canonical
from align.adapters.recipes.moments import paired_moments


def csa(source: Tensor, target: Tensor, *, ridge: float = 1e-4, dim: int | None = None) -> Adapter:
    """CSA as published, a baseline: ``s(x, y) = sum_i rho_i z_i w_i / (|z| |w|)``.

    ``z`` and ``w`` are canonical variates and ``rho`` their training correlations, clipped to
    [0, 1]. Rewritten so that both sides have unit norm and a plain inner product gives ``s``.

    Args:
        source: Source embeddings of ``n`` pairs, ``(n, d_source)``.
        target: Target embeddings of the same pairs, ``(n, d_target)``.
        ridge: Just enough to invert the covariances, in units of their mean eigenvalue.
        dim: Canonical directions to keep, or ``None`` for all.

    Raises:
        ValueError: The sides are not row-matched finite matrices without zero rows, or
            ``ridge`` or ``dim`` is out of range.

    Reference:
        Li et al. 2025, arXiv:2410.07610, eq. 6.
    """
    check_at_least("ridge", ridge, 0)
    moments = paired_moments(source, target)
    moments.check_dim(dim)
    a, s, b = canonical(moments, (ridge, ridge))
    rho = s[:dim].clamp(0, 1).float()
    inner = moments.maps(a[:, :dim], b[:, :dim])
    maps = [WeightedMap(each, rho, slot=slot) for slot, each in enumerate(inner)]
    return as_adapter(f"csa(ridge={ridge})", maps, source, target)
