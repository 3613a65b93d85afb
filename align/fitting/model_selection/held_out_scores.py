"""What held-out pairs score under the recipe that was chosen, to calibrate the adapter with."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from align.adapters.calibration.calibration import Calibration, calibrate
from align.adapters.corrections.reference_set import ReferenceSet
from align.data.sides import Side, other_side
from align.fitting.model_selection.cross_validation import CrossValidation, Projection
from align.fitting.model_selection.gallery_correction import GalleryChoice
from align.scoring.inner_products import inner_products


def calibrate_on_folds(
    cv: CrossValidation, folds: Sequence[Projection] | None, gallery: GalleryChoice
) -> Calibration:
    """The calibration of an adapter, from pairs that its maps were fitted without.

    ``folds`` are held-out pairs through the maps of their folds, or ``None`` where the adapter is
    the identity. The final maps have seen more pairs, and find a little more.
    """
    if folds is None:
        raw = [cv.identity(fold.held_out) for fold in cv.folds]
        both = [(inner_products(x, y), inner_products(y, x)) for x, y in raw]
    else:
        both = [_of_fold(fold, gallery) for fold in folds]
    of_sources, of_targets = zip(*both, strict=True)
    train = cv.data
    return calibrate(
        (train.source, train.target), train.group_key, (of_sources, of_targets), seed=cv.seed
    )


def _of_fold(fold: Projection, gallery: GalleryChoice) -> tuple[Tensor, Tensor]:
    """Scores of held-out sources with targets, and of targets with sources."""
    reference = gallery.reference_of(fold.reference)
    x, y = fold.held_out
    return _scores(x, y, reference, side="target"), _scores(y, x, reference, side="source")


def _scores(
    queries: Tensor, items: Tensor, reference: ReferenceSet | None, *, side: Side
) -> Tensor:
    """Of queries with a gallery of a side, as the index of an adapter gives them, ``(q, m)``."""
    if reference is None:
        return inner_products(queries, items)
    found = reference.gallery(items, side=side)
    d = queries.shape[1]
    queries = reference.expanded_queries(queries, side=other_side(side))
    scores = inner_products(queries, found[:, :d].contiguous())
    return scores if found.shape[1] == d else scores + found[:, d]
