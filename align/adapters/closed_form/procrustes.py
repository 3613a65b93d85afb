"""Orthogonal Procrustes: the best rigid map from one space into the other."""

from __future__ import annotations

from torch import Tensor

from align.adapters.adapter import Adapter
from align.adapters.closed_form.as_adapter import as_adapter
from align.adapters.recipes.formulas import procrustes_maps
from align.adapters.recipes.moments import paired_moments


def procrustes(source: Tensor, target: Tensor) -> Adapter:
    """Rotate the source onto the target; widths may differ.

    Objective: ``min ||X R - Y||_F`` over ``R`` with orthonormal rows or columns, on centred
    unit-norm rows. Solution: ``U S V.T = svd(X.T Y)``, ``R = U V.T``.

    Args:
        source: Source embeddings of ``n`` pairs, ``(n, d_source)``.
        target: Target embeddings of the same pairs, ``(n, d_target)``.

    Raises:
        ValueError: The sides are not row-matched finite matrices without zero rows.

    Reference:
        Schoenemann 1966, doi:10.1007/BF02289451.
    """
    maps = procrustes_maps(paired_moments(source, target))
    return as_adapter("procrustes", maps, source, target)
