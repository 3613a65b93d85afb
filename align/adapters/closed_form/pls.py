"""PLS-SVD: singular vectors of the cross-covariance; no inverse, so very robust at few pairs."""

from __future__ import annotations

from torch import Tensor

from align._checks import check_at_least
from align.adapters.adapter import Adapter
from align.adapters.closed_form.as_adapter import as_adapter
from align.adapters.recipes.formulas import pls_maps
from align.adapters.recipes.moments import paired_moments


def pls(source: Tensor, target: Tensor, *, power: float = 0.5, dim: int | None = None) -> Adapter:
    """Partial least squares by one SVD, directions weighted by a power of their covariance.

    Objective: orthonormal ``A``, ``B`` that maximise ``tr(A.T C_xy B)``. Solution:
    ``U S V.T = svd(C_xy)``, ``A = U (S / s_1)^p``, ``B = V (S / s_1)^p``.

    Args:
        source: Source embeddings of ``n`` pairs, ``(n, d_source)``.
        target: Target embeddings of the same pairs, ``(n, d_target)``.
        power: ``p``, >= 0. With 0 and all directions this scores as ``procrustes`` does.
        dim: Directions to keep, or ``None`` for all.

    Raises:
        ValueError: The sides are not row-matched finite matrices without zero rows, or
            ``power`` or ``dim`` is out of range.

    Reference:
        Wegelin 2000, "A survey of Partial Least Squares methods", section 5 (PLS-SVD).
    """
    check_at_least("power", power, 0)
    moments = paired_moments(source, target)
    moments.check_dim(dim)
    maps = pls_maps(moments, power, dim=dim)
    return as_adapter(f"pls(power={power})", maps, source, target)
