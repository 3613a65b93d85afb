"""Regularised canonical correlation analysis with power weights, and plain CCA as its corner."""

from __future__ import annotations

from torch import Tensor

from align._checks import check_at_least
from align.adapters.adapter import Adapter
from align.adapters.closed_form.as_adapter import as_adapter
from align.adapters.recipes.formulas import rcca_maps
from align.adapters.recipes.moments import paired_moments


def rcca(
    source: Tensor,
    target: Tensor,
    *,
    ridge: tuple[float, float] = (1.0, 1.0),
    power: float = 1.0,
    dim: int | None = None,
) -> Adapter:
    """Regularised CCA whose canonical directions are weighted by a power of their correlation.

    Objective: ``max tr(A.T C_xy B)`` subject to ``A.T (C_x + k_x m_x I) A = I`` and
    ``B.T (C_y + k_y m_y I) B = I``, where ``m`` is the mean eigenvalue of each covariance.
    Solution: with ``U S V.T = svd(C_x^-1/2 C_xy C_y^-1/2)`` of the ridged covariances,
    ``A = C_x^-1/2 U S^p`` and ``B = C_y^-1/2 V S^p``; the score is ``cos(x A, y B)``.

    Args:
        source: Source embeddings of ``n`` pairs, ``(n, d_source)``.
        target: Target embeddings of the same pairs, ``(n, d_target)``.
        ridge: ``(k_x, k_y)``, each in units of that side's mean eigenvalue, >= 0.
        power: ``p``, >= 0; weights before the cosine, so a soft choice of rank.
        dim: Canonical directions to keep, or ``None`` for all.

    Raises:
        ValueError: The sides are not row-matched finite matrices without zero rows, or
            a ridge, ``power`` or ``dim`` is out of range.

    Reference:
        Vinod 1976, doi:10.1016/0304-4076(76)90010-5 (ridge); Gong et al. 2014, arXiv:1212.4522,
        section 3.3 (power weights, p = 4 there on correlations, here on both sides alike).
    """
    check_at_least("ridge", min(ridge), 0)
    check_at_least("power", power, 0)
    moments = paired_moments(source, target)
    moments.check_dim(dim)
    maps = rcca_maps(moments, ridge, power, dim=dim)
    return as_adapter(f"rcca(ridge={ridge}, power={power})", maps, source, target)


def cca(source: Tensor, target: Tensor, *, ridge: float = 1e-4, dim: int | None = None) -> Adapter:
    """Plain canonical correlation analysis: next to no ridge, no weights. A baseline.

    It overfits once ``n`` is below about ``5 (d_source + d_target)``. ``ridge`` is just enough to
    invert the covariances, in units of their mean eigenvalue; the other arguments and what is
    raised are those of ``rcca``.

    Reference:
        Hotelling 1936, doi:10.1093/biomet/28.3-4.321.
    """
    return rcca(source, target, ridge=(ridge, ridge), power=0.0, dim=dim)
