import math

import pytest
import torch
import torch.nn.functional as F

from align.adapters.maps.linear import (
    AffineMap,
    BlendMap,
    IdentityMap,
    LinearMap,
    RelativeMap,
    WeightedMap,
    directions,
)


def linear(rng, d_in=6, dim=4, root=False):
    mean = 0.1 * torch.randn(d_in, generator=rng)
    return LinearMap(mean, torch.randn(d_in, dim, generator=rng), root=root)


def affine(rng, d_in=6, dim=4):
    part = linear(rng, d_in, dim)
    return AffineMap(part.mean, part.weight, torch.randn(dim, generator=rng))


def relative(rng, k=3, power=2.0):
    anchors = F.normalize(torch.randn(5, 6, generator=rng), dim=1)
    return RelativeMap(0.1 * torch.randn(6, generator=rng), anchors, k=k, power=power)


def weighted(rng, slot=0):
    return WeightedMap(linear(rng), torch.rand(4, generator=rng), slot=slot)


def blend(rng):
    return BlendMap([linear(rng), IdentityMap(6)], (0.25, 0.75))


KINDS = {
    "linear": linear,
    "root": lambda rng: linear(rng, root=True),
    "affine": affine,
    "identity": lambda rng: IdentityMap(6),
    "relative": relative,
    "weighted": weighted,
    "blend": blend,
}


@pytest.fixture(params=KINDS)
def some_map(request, rng):
    return KINDS[request.param](rng)


def test_every_map_gives_unit_rows_of_its_width(some_map, rng):
    z = some_map(torch.randn(9, some_map.d_in, generator=rng))
    assert z.shape == (9, some_map.dim)
    torch.testing.assert_close(z.norm(dim=1), torch.ones(9))


@pytest.mark.parametrize("scale", [1e-30, 1e-13, 3.0, 1e25])
def test_no_map_depends_on_the_length_of_a_row(some_map, rng, scale):
    x = torch.randn(9, some_map.d_in, generator=rng)
    torch.testing.assert_close(some_map(x * scale), some_map(x))


def test_a_map_takes_each_row_on_its_own(some_map, rng):
    x = torch.randn(9, some_map.d_in, generator=rng)
    torch.testing.assert_close(some_map(x)[[7, 2]], some_map(x[[7, 2]]))


def test_the_signed_square_root_keeps_signs():
    x = torch.tensor([[4.0, -9.0, 0.0]])
    expected = torch.tensor([[2.0, -3.0, 0.0]]) / math.sqrt(13)
    torch.testing.assert_close(directions(x, root=True), expected)


def test_rows_that_are_passed_are_left_as_they_are(some_map, rng):
    x = torch.randn(9, some_map.d_in, generator=rng)
    before = x.clone()
    some_map(x)
    assert x.equal(before)


@pytest.mark.parametrize("root", [False, True])
def test_a_gradient_passes_through_a_linear_map(rng, root):
    part = linear(rng, root=root).double()
    x = torch.randn(3, 6, generator=rng, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(part, x)


def test_a_linear_map_normalises_centres_and_projects():
    part = LinearMap(torch.tensor([0.6, 0.0]), torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    # (3, 4) has direction (0.6, 0.8); less the mean it is (0, 0.8), and projected (0, 1.6).
    torch.testing.assert_close(part(torch.tensor([[3.0, 4.0]])), torch.tensor([[0.0, 1.0]]))


def test_a_linear_map_keeps_its_weight_in_one_piece(rng):
    weight = torch.randn(4, 6, generator=rng).T
    part = LinearMap(torch.zeros(6), weight)
    assert part.weight.is_contiguous() and part.weight.equal(weight)


def test_a_relative_map_keeps_the_nearest_anchors_sharpened():
    part = RelativeMap(torch.zeros(2), torch.eye(2), k=1, power=2.0)
    z = part(torch.tensor([[3.0, 4.0], [1.0, -2.0], [-1.0, -2.0]]))
    assert z.tolist() == [[0, 1], [1, 0], [-1, 0]]
    part = RelativeMap(torch.zeros(2), torch.eye(2), k=2, power=2.0)
    expected = F.normalize(torch.tensor([[9.0, -16.0]]), dim=1)
    torch.testing.assert_close(part(torch.tensor([[3.0, -4.0]])), expected)


def test_a_relative_map_refuses_more_neighbours_than_anchors(rng):
    with pytest.raises(ValueError, match=r"k must lie in \[1, 5\], the number of anchors; got 6"):
        relative(rng, k=6)
    with pytest.raises(ValueError, match="power must be finite and above 0; got 0"):
        relative(rng, power=0)


def test_weighted_maps_score_by_the_weighted_product_of_the_inner_maps(rng):
    source, target = linear(rng), linear(rng)
    rho = torch.rand(4, generator=rng)
    x, y = torch.randn(5, 6, generator=rng), torch.randn(7, 6, generator=rng)
    scores = WeightedMap(source, rho, slot=0)(x) @ WeightedMap(target, rho, slot=1)(y).T
    torch.testing.assert_close(scores, (source(x) * rho) @ target(y).T)


def test_blended_maps_score_by_the_weighted_sum_of_cosines(rng):
    first, second = (linear(rng), linear(rng)), (linear(rng, dim=3), linear(rng, dim=3))
    x, y = torch.randn(5, 6, generator=rng), torch.randn(7, 6, generator=rng)
    source, target = (BlendMap(parts, (0.3, 0.7)) for parts in zip(first, second, strict=True))
    expected = 0.3 * first[0](x) @ first[1](y).T + 0.7 * second[0](x) @ second[1](y).T
    assert source.dim == 7
    torch.testing.assert_close(source(x) @ target(y).T, expected)


@pytest.mark.parametrize("weights", [(0.5, 0.6), (1.0,), (1.5, -0.5), (0.0, 1.0)], ids=str)
def test_a_blend_refuses_weights_that_are_no_shares(rng, weights):
    with pytest.raises(ValueError, match="one positive weight per map, summing to 1; got 2 maps"):
        BlendMap([linear(rng), linear(rng)], weights)


def test_a_blend_refuses_maps_of_different_inputs(rng):
    with pytest.raises(ValueError, match=r"must take one width; got \[6, 5\]"):
        BlendMap([linear(rng), linear(rng, d_in=5)], (0.5, 0.5))
