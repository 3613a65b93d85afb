"""Ridge regression of one side on the other, one way or both ways."""

from __future__ import annotations

from typing import get_args

from torch import Tensor

from align._checks import check_at_least, check_one_of
from align.adapters.adapter import Adapter
from align.adapters.closed_form.as_adapter import as_adapter
from align.adapters.recipes.formulas import Direction, ridge_maps
from align.adapters.recipes.moments import paired_moments


def ridge(
    source: Tensor, target: Tensor, *, ridge: float = 3.0, direction: Direction = "both"
) -> Adapter:
    """Predict one side from the other by ridge regression and compare in the predicted space.

    Objective: ``min ||X W - Y||^2 / n + k m ||W||^2`` on centred unit-norm rows, where ``m`` is the
    mean eigenvalue of ``C_x``. Solution: ``W = (C_x + k m I)^-1 C_xy``, through the ``n`` rows (the
    dual form) where ``n < d``. ``both`` adds the cosines of the two directions in equal parts.

    Args:
        source: Source embeddings of ``n`` pairs, ``(n, d_source)``.
        target: Target embeddings of the same pairs, ``(n, d_target)``.
        ridge: ``k``, in units of the mean eigenvalue of the side that predicts, >= 0.
        direction: Predict the target (``forward``), the source (``backward``), or ``both``.

    Raises:
        ValueError: The sides are not row-matched finite matrices without zero rows, or
            ``ridge`` or ``direction`` is out of range.

    Reference:
        Hoerl and Kennard 1970, doi:10.1080/00401706.1970.10488634; dual form, Saunders et al. 1998.
    """
    check_at_least("ridge", ridge, 0)
    advice = 'Use "both" unless one side must stay as it is.'
    check_one_of("direction", direction, get_args(Direction), advice)
    maps = ridge_maps(paired_moments(source, target), ridge, direction)
    return as_adapter(f"ridge({direction}, ridge={ridge})", maps, source, target)
