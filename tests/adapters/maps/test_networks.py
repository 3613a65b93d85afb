import json

import pytest
import torch

import align
from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.maps.linear import IdentityMap, LinearMap, directions, mean_directions
from align.adapters.maps.networks import LinearHead, ProjectionMap
from align.adapters.trainable import linear_heads, projection_network
from tests.helpers.planted import unit


def test_a_projection_map_follows_its_formula(rng):
    mean, b1, b2 = (torch.randn(n, generator=rng) for n in (5, 7, 3))
    w1, w2 = torch.randn(5, 7, generator=rng), torch.randn(7, 3, generator=rng)
    side = ProjectionMap(mean, w1, b1, w2, b2)
    x = torch.randn(9, 5, generator=rng)
    hidden = ((unit(x) - mean) @ w1 + b1).clamp_min(0)
    torch.testing.assert_close(side.project(x), hidden @ w2 + b2)
    torch.testing.assert_close(side(x), unit(hidden @ w2 + b2))
    torch.testing.assert_close(side(3 * x), side(x))
    assert (side.d_in, side.hidden, side.dim) == (5, 7, 3)


def test_a_linear_head_is_a_linear_map_that_learns(rng):
    mean, weight = torch.randn(5, generator=rng), torch.randn(5, 3, generator=rng)
    x = torch.randn(9, 5, generator=rng)
    head = LinearHead(mean, weight)
    assert head(x).equal(LinearMap(mean, weight)(x))
    torch.testing.assert_close(unit(head.project(x)), head(x))
    assert [name for name, _ in head.named_parameters()] == ["weight"]


def test_a_random_network_starts_with_outputs_of_about_unit_norm(rng):
    start = projection_network(200, 300, hidden=256, dim=100, generator=rng)
    for side, d in ((start.source_map, 200), (start.target_map, 300)):
        lengths = side.project(torch.randn(500, d, generator=rng)).norm(dim=1)
        assert 0.8 < lengths.mean() < 1.2
    assert start.dim == 100
    assert projection_network(200, 300, hidden=4, generator=rng).dim == 200


def test_random_heads_are_orthonormal(rng):
    start = linear_heads(8, 5, generator=rng)
    for head in (start.source_map.weight, start.target_map.weight):
        short = head.T @ head if head.shape[0] >= head.shape[1] else head @ head.T
        torch.testing.assert_close(short, torch.eye(5))


@pytest.mark.parametrize(
    "factory",
    [lambda **k: projection_network(8, 5, hidden=4, **k), lambda **k: linear_heads(8, 5, **k)],
)
def test_the_source_side_alone_goes_into_the_target_space(factory, rng):
    start = factory(side="source", generator=rng)
    assert isinstance(start.target_map, IdentityMap) and start.dim == 5
    y = torch.randn(4, 5, generator=rng)
    assert start.target(y).equal(directions(y))


@pytest.mark.parametrize(
    "factory",
    [lambda **k: projection_network(8, 5, hidden=4, **k), lambda **k: linear_heads(8, 5, **k)],
)
def test_the_same_generator_draws_the_same_weights(factory):
    one, two, other = (
        factory(generator=torch.Generator().manual_seed(seed)).state_dict() for seed in (1, 1, 2)
    )
    assert all(one[name].equal(two[name]) for name in one)
    assert not all(one[name].equal(other[name]) for name in one)


def test_means_are_subtracted(pairs, rng):
    means = mean_directions(pairs[0]), mean_directions(pairs[1])
    start = projection_network(8, 6, hidden=4, generator=rng, means=means)
    torch.testing.assert_close(start.source_map.mean, unit(pairs[0]).mean(dim=0))
    assert start.target_map.mean.equal(means[1])


@pytest.mark.parametrize("factory", [projection_network, linear_heads])
def test_settings_that_do_not_fit_are_refused(factory, rng):
    hidden = {"hidden": 4} if factory is projection_network else {}

    def make(**settings):
        return factory(8, 5, **{"generator": rng, **hidden, **settings})

    with pytest.raises(ValueError, match=r'side must be "both" or "source"; got \'target\''):
        make(side="target")
    with pytest.raises(ValueError, match=r"the target's, of width 5; got dim=4. Leave dim out"):
        make(side="source", dim=4)
    with pytest.raises(ValueError, match="dim must be finite and at least 1; got -1"):
        make(dim=-1)
    with pytest.raises(ValueError, match="dim must be finite and at least 1; got 0"):
        make(dim=0)
    with pytest.raises(ValueError, match=r"of shapes \(8,\) and \(5,\); got \(8,\) and \(8,\)"):
        make(means=(torch.zeros(8), torch.zeros(8)))
    with pytest.raises(ValueError, match="d_source must be finite and at least 1; got 0"):
        factory(0, 5, generator=rng, **hidden)
    if hidden:
        with pytest.raises(ValueError, match="hidden must be finite and at least 1; got 0"):
            make(hidden=0)


@pytest.mark.parametrize(
    "factory",
    [lambda **k: projection_network(8, 6, hidden=4, **k), lambda **k: linear_heads(8, 6, **k)],
)
@pytest.mark.parametrize("side", ["both", "source"])
def test_a_loaded_network_gives_the_same_bits(factory, side, pairs, tmp_path, rng):
    start = factory(side=side, generator=rng)
    for weight in start.parameters():
        weight.data += torch.randn(weight.shape, generator=rng)
    start.save(tmp_path / "adapter")
    again = align.load(tmp_path / "adapter")
    assert again.source(pairs[0]).equal(start.source(pairs[0]))
    assert again.target(pairs[1]).equal(start.target(pairs[1]))
    assert again.card == start.card
    assert all(weight.requires_grad for weight in again.parameters())


def test_a_projection_of_unknown_width_is_refused(tmp_path, rng):
    projection_network(8, 6, hidden=4, generator=rng).save(tmp_path / "adapter")
    file = tmp_path / "adapter" / "config.json"
    config = json.loads(file.read_text())
    config["source_map"]["hidden"] = 0
    file.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"source_map.hidden must be a whole number in"):
        align.load(tmp_path / "adapter")


def test_a_network_may_stand_on_one_side(tmp_path, rng):
    maps = projection_network(8, 6, hidden=4, generator=rng)
    adapter = Adapter(maps.source_map, IdentityMap(6), Card("mixed", 2, 8, 6))
    adapter.save(tmp_path / "adapter")
    assert align.load(tmp_path / "adapter").dim == 6
