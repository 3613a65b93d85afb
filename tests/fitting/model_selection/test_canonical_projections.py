import pytest
import torch

from align.adapters.recipes.formulas import rcca_maps
from align.data.embeddings import PairedEmbeddings
from align.fitting.model_selection.canonical_projections import CanonicalProjections
from align.fitting.model_selection.cross_validation import MAP_REFERENCE, CrossValidation
from tests.helpers.planted import shared_factors

POWERS = (0.25, 1.0, 2.0)


def validation(source, target):
    return CrossValidation(PairedEmbeddings.from_arrays(source, target), folds_wanted=3, seed=0)


@pytest.mark.parametrize("roots", [(False, False), (True, False), (True, True)], ids=str)
@pytest.mark.parametrize("widths", [(12, 7), (7, 12), (9, 9), (90, 5), (6, 90), (80, 90)], ids=str)
def test_projections_are_those_of_the_maps_of_rcca(widths, roots):
    cv = validation(*shared_factors(60, widths, shared=4, noise=0.5))
    fold = cv.folds[1]
    found = CanonicalProjections(cv, roots, fold)
    for ridge in ((3.0, 3.0), (0.03, 3.0), (3.0, 0.1)):
        for power, projected in zip(POWERS, found.at(ridge, POWERS), strict=True):
            maps = rcca_maps(cv.moments(roots, fold), ridge, power)
            for rows, (x, y) in zip(
                (fold.held_out, fold.reference[:MAP_REFERENCE]), projected, strict=True
            ):
                a, b = cv.project(maps, rows)
                # Directions come in either sign; cosines know nothing of it.
                for one, two in ((x @ y.T, a @ b.T), (x @ x.T, a @ a.T), (y @ y.T, b @ b.T)):
                    torch.testing.assert_close(one, two, atol=2e-4, rtol=0)


def test_directions_that_correlate_with_nothing_are_left_out(rng):
    x = torch.randn(60, 5, generator=rng)
    y = torch.cat([x[:, :2], torch.zeros(60, 4)], dim=1)  # four directions hold nothing
    found = CanonicalProjections(validation(x, y), (False, False), validation(x, y).folds[0])
    ((source, target), _), *_ = found.at((1.0, 1.0), (0.25,))
    assert bool(source.isfinite().all() and target.isfinite().all())
    assert int((target.abs().amax(dim=0) > 0).sum()) <= 2


def test_rows_of_the_wide_side_are_mapped_once_per_ridge_of_that_side(monkeypatch):
    cv = validation(*shared_factors(60, (7, 12), shared=4, noise=0.5))
    found = CanonicalProjections(cv, (False, False), cv.folds[0])
    eigenproblems, decompose = [], torch.linalg.eigh

    def counted(matrix):
        eigenproblems.append(tuple(matrix.shape))
        return decompose(matrix)

    monkeypatch.setattr(torch.linalg, "eigh", counted)
    for ridge in ((3.0, 3.0), (1.0, 3.0), (1.0, 1.0), (10.0, 1.0)):
        assert len(list(found.at(ridge, POWERS))) == len(POWERS)
    assert eigenproblems == [(7, 7)] * 4  # whatever the number of powers, and never the wide side
    assert len(found._by_wide_ridge) == 2
