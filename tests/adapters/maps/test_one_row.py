"""A row that comes alone goes through NumPy and comes out as in a batch, up to rounding."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from align.adapters.maps.linear import AffineMap, IdentityMap, LinearMap
from align.adapters.maps.one_row import map_one_row
from align.adapters.maps.parts import Parts

D_IN, DIM = 7, 5


def maps(rng):
    mean = 0.1 * torch.randn(D_IN, generator=rng)
    weight = torch.randn(D_IN, DIM, generator=rng)
    return {
        "linear": LinearMap(mean, weight),
        "root": LinearMap(mean, weight, root=True),
        "affine": AffineMap(mean, weight, torch.randn(DIM, generator=rng)),
    }


@pytest.mark.parametrize("kind", ["linear", "root", "affine"])
@settings(deadline=None)  # the first call loads libraries
@given(seed=st.integers(0, 2**32), exponent=st.integers(-12, 12))
def test_one_row_comes_out_as_in_a_batch(kind, seed, exponent):
    rng = torch.Generator().manual_seed(seed)
    side_map = maps(rng)[kind]
    x = 10.0**exponent * torch.randn(3, D_IN, generator=rng)
    alone = map_one_row(side_map, x[:1])
    assert alone.dtype == torch.float32 and alone.shape == (1, DIM)
    torch.testing.assert_close(alone, side_map(x)[:1], atol=1e-5, rtol=1e-5)


def test_columns_of_ones_are_added_to_it(rng):
    side_map, x = maps(rng)["affine"], torch.randn(1, D_IN, generator=rng)
    found = map_one_row(side_map, x, ones=2)
    assert found[:, :DIM].equal(map_one_row(side_map, x))
    assert found[:, DIM:].equal(torch.ones(1, 2))


def test_a_row_whose_image_is_zero_stays_zero():
    side_map = LinearMap(torch.zeros(2), torch.tensor([[1.0], [0.0]]))
    assert map_one_row(side_map, torch.tensor([[0.0, 3.0]])).equal(torch.zeros(1, 1))


def test_the_row_that_was_passed_is_left_as_it_is(rng):
    x = torch.randn(1, D_IN, generator=rng)
    before = x.clone()
    for side_map in maps(rng).values():
        map_one_row(side_map, x)
    assert x.equal(before)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda x: x * 0,
        lambda x: x.index_fill(1, torch.tensor([2]), torch.nan),
        lambda x: x.index_fill(1, torch.tensor([2]), -torch.inf),
        lambda x: x.double(),
        lambda x: x.half(),
        lambda x: x.repeat(2, 1),
        lambda x: x[0],
        lambda x: x[:, 1:],
        lambda x: x.to("meta"),
        lambda x: x.requires_grad_(),
    ],
    ids=[
        "zero", "NaN", "infinite", "double", "half", "two", "flat", "narrow",
        "meta", "gradient",
    ],
)  # fmt: skip
def test_what_is_no_plain_row_with_a_direction_is_left_to_the_map(rng, spoil):
    x = torch.randn(1, D_IN, generator=rng)
    for side_map in maps(rng).values():
        assert map_one_row(side_map, spoil(x.clone())) is None


@pytest.mark.parametrize("scale", [1e-20, 1e20])
@pytest.mark.parametrize("kind", ["linear", "affine"])
def test_a_row_whose_squares_leave_float32_is_left_to_the_map(rng, kind, scale):
    assert map_one_row(maps(rng)[kind], scale * torch.randn(1, D_IN, generator=rng)) is None


def test_maps_of_other_kinds_and_of_several_parts_are_left_to_torch(rng):
    x = torch.randn(1, D_IN, generator=rng)
    several = LinearMap(torch.zeros(D_IN), torch.eye(D_IN), parts=Parts.even((3, 4)))
    for side_map in (IdentityMap(D_IN), several, maps(rng)["linear"].double()):
        assert map_one_row(side_map, x) is None


def test_a_weight_that_is_changed_counts_at_once(rng):
    side_map, x = maps(rng)["linear"], torch.randn(1, D_IN, generator=rng)
    side_map.weight.neg_()
    torch.testing.assert_close(map_one_row(side_map, x), side_map(x))
    side_map.weight = torch.randn(D_IN, DIM, generator=rng)
    torch.testing.assert_close(map_one_row(side_map, x), side_map(x))
