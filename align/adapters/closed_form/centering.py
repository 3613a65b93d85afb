"""Centring: take each side's mean away and leave the rest alone."""

from __future__ import annotations

import torch
from torch import Tensor

from align.adapters.adapter import Adapter
from align.adapters.closed_form.as_adapter import as_adapter
from align.adapters.maps.linear import LinearMap
from align.adapters.recipes.moments import check_pairs, prepare


def centering(source: Tensor, target: Tensor) -> Adapter:
    """Close the centroid gap of two encoders that already share a space.

    ``x' = norm(norm(x) - mean)`` on each side with its own mean.

    Args:
        source: Source embeddings of ``n`` pairs, ``(n, d)``.
        target: Target embeddings, ``(n, d)`` of the same width.

    Raises:
        ValueError: The widths differ, or the sides are not finite row-matched matrices.

    Reference:
        An et al. 2025 (I0T, ACL; the post-hoc variant); Li et al. 2025, arXiv:2507.19054 (GR-CLIP).
    """
    check_pairs(source, target)
    if source.shape[1] != target.shape[1]:
        raise ValueError(
            "centring compares the two spaces as they are, so their widths must agree; "
            f"got {source.shape[1]} and {target.shape[1]}. Use rcca or procrustes."
        )
    eye = torch.eye(source.shape[1], device=source.device)
    maps = [LinearMap(prepare(x.float())[0], eye) for x in (source, target)]
    return as_adapter("centering", maps, source, target)
