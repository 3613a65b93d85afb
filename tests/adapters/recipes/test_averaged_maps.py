"""Averages of closed forms: what their inner products are, and what they cost in width."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from align.adapters.recipes.formulas import averaged_maps, rcca_maps
from align.adapters.recipes.moments import paired_moments
from align.adapters.recipes.recipe import (
    RCCA,
    Average,
    Centering,
    Procrustes,
    RawCosine,
    Ridge,
)
from tests.helpers.planted import shared_factors


def size(weight, rows):
    """Root mean squared length of mapped rows."""
    return (rows @ weight).square().sum(dim=1).mean().sqrt()


def prepared(moments, x, side):
    rows = x / x.norm(dim=1, keepdim=True) - moments.means[side]
    return rows / rows.norm(dim=1, keepdim=True)


@settings(max_examples=30, deadline=None)
@given(share=st.floats(0.05, 0.95), n=st.integers(6, 40), seed=st.integers(0, 99))
def test_inner_products_are_the_mean_of_two_bilinear_forms_each_over_its_size(share, n, seed):
    x, y = shared_factors(n, (12, 9), shared=4, noise=0.5, seed=seed)
    moments = paired_moments(x, y)
    rows = prepared(moments, x, 0), prepared(moments, y, 1)
    source, target = Average(Procrustes(), RCCA((1.0, 0.3), 1.0), share)(moments)
    expected = torch.zeros(n, n)
    for weight, recipe in ((1 - share, Procrustes()), (share, RCCA((1.0, 0.3), 1.0))):
        a, b = (side.weight for side in recipe(moments))
        scale = size(a, rows[0]) * size(b, rows[1])
        expected += weight / scale * (rows[0] @ a) @ (rows[1] @ b).T
    found = (rows[0] @ source.weight) @ (rows[1] @ target.weight).T
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=2e-3)
    assert source.dim == target.dim <= min(n, 9)


@pytest.mark.parametrize("n", [5, 60])
def test_the_centred_cosine_has_its_share_also_outside_of_what_the_pairs_span(n):
    """5 pairs span 8 of 16 dimensions; rows that are new lie in all of them."""
    x, y = shared_factors(n, (16, 16), shared=4, noise=0.5)
    moments = paired_moments(x, y)
    source, target = Average(Centering(), RCCA((1.0, 1.0), 1.0), 0.25)(moments)
    assert source.dim == target.dim == 16
    a, b = (side.weight for side in rcca_maps(moments, (1.0, 1.0), 1.0))
    rows = prepared(moments, x, 0), prepared(moments, y, 1)
    form = 0.25 / (size(a, rows[0]) * size(b, rows[1])) * a @ b.T + 0.75 * torch.eye(16)
    torch.testing.assert_close(source.weight @ target.weight.T, form, atol=1e-4, rtol=1e-3)


def test_both_sides_carry_the_same_share_of_the_singular_values():
    moments = paired_moments(*shared_factors(60, (12, 12), shared=6, noise=0.5))
    a, b = rcca_maps(moments, (1.0, 1.0), 1.0)
    source, target = averaged_maps(moments, [(0.5, a.weight, b.weight)], identity=0.5)
    left, right = source.weight.T @ source.weight, target.weight.T @ target.weight
    torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(left, torch.diag(left.diagonal()), atol=1e-5, rtol=0)


def test_an_average_is_named_after_what_it_is_made_of():
    average = Average(Centering(), RCCA((0.3, 10.0), 0.5), 0.25)
    assert str(average) == "0.75 centering + 0.25 rcca(ridge=(0.3, 10), power=0.5)"


@pytest.mark.parametrize("other", [RawCosine(), Ridge(1.0, "both")])
def test_only_recipes_of_one_linear_map_a_side_are_averaged(other):
    with pytest.raises(ValueError, match=r"one linear map a side: .*; got .*\. Average those"):
        Average(Centering(), other, 0.5)
