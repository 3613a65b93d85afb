"""Training-free baselines: describe each item by its similarities to the training pairs."""

from __future__ import annotations

from torch import Tensor

from align._checks import check_k
from align.adapters.adapter import Adapter
from align.adapters.closed_form.as_adapter import as_adapter
from align.adapters.maps.linear import RelativeMap
from align.adapters.recipes.moments import check_pairs, prepare


def asif(source: Tensor, target: Tensor, *, k: int = 800, power: float = 8.0) -> Adapter:
    """Sparse, sharpened relative representations with the training pairs as anchors.

    Args:
        source: Source embeddings of ``n`` pairs, ``(n, d_source)``; they become anchors.
        target: Target embeddings of the same pairs, ``(n, d_target)``.
        k: Anchors that count per item, ``1 <= k <= n``.
        power: Exponent of their similarities, > 0.

    Raises:
        ValueError: ``k`` or ``power`` is out of range, or the sides are not row-matched finite
            matrices without zero rows.

    Reference:
        Norelli et al. 2023, arXiv:2210.01738, section 3.
    """
    check_pairs(source, target)
    check_k(k, len(source), of="the number of pairs")
    maps = [RelativeMap(*prepare(x.float()), k=k, power=power) for x in (source, target)]
    return as_adapter(f"asif(k={k}, power={power})", maps, source, target)


def relative(source: Tensor, target: Tensor) -> Adapter:
    """Plain relative representations: the cosine to every training pair.

    The arguments and what is raised are those of ``asif``.

    Reference:
        Moschella et al. 2023, arXiv:2209.15430, eq. 2.
    """
    return asif(source, target, k=len(source), power=1.0)
