import json

import pytest
import torch

import align
from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.closed_form.asif import asif
from align.adapters.closed_form.csa import csa
from align.adapters.closed_form.procrustes import procrustes
from align.adapters.closed_form.rcca import rcca
from align.adapters.corrections.hubness import NNN
from align.adapters.corrections.reference_set import ReferenceSet
from align.adapters.maps.linear import IdentityMap, LinearMap
from align.adapters.maps.parts import Parts
from align.adapters.maps.residual import (
    LinearDelta,
    LowRankDelta,
    MLPDelta,
    ResidualMap,
    at_length_of,
)
from align.adapters.trainable import residual
from tests.adapters.blended import blend
from tests.helpers.planted import unit

CLOSED = {
    "identity": lambda x, y: Adapter(IdentityMap(6), IdentityMap(6), Card("identity", 80, 6, 6)),
    "linear": procrustes,
    "blend": blend,
    "weighted": csa,
    "relative": lambda x, y: asif(x, y, k=7, power=3.0),
}
KINDS = {
    "linear": {},
    "low_rank": {"size": 2},
    "mlp": {"size": 5, "dropout": 0.5},
}


def on(adapter, kind, **settings):
    drawn = {} if kind == "linear" else {"generator": torch.Generator().manual_seed(0)}
    return residual(adapter, kind=kind, **{**KINDS[kind], **drawn, **settings})


def moved(adapter, rng):
    """The adapter with every weight moved away from the start."""
    for weight in adapter.parameters():
        weight.data += 0.3 * torch.randn(weight.shape, generator=rng)
    return adapter


@pytest.fixture
def square(make_pairs):
    """80 pairs of width 6 on both sides."""
    return make_pairs(d_source=6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", CLOSED)
def test_before_training_nothing_changes_to_the_last_bit(method, kind, square):
    closed = CLOSED[method](*square)
    start = on(closed, kind)
    assert start.source(square[0]).equal(closed.source(square[0]))
    assert start.target(square[1]).equal(closed.target(square[1]))
    assert list(start.parameters()) and not list(closed.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_of_the_start_opens_the_shift(kind, square):
    start = on(procrustes(*square), kind)
    start.source_map(square[0])[:, 0].sum().backward()
    assert any(
        weight.grad is not None and weight.grad.abs().max() > 0
        for weight in start.source_map.delta.parameters()
    )


def test_a_moved_map_follows_its_formula(square, rng):
    inner = procrustes(*square).source_map
    mean, weight = torch.randn(6, generator=rng), torch.randn(6, 6, generator=rng)
    side = ResidualMap(inner, LinearDelta(weight), mean)
    x = square[0]
    shifted = inner(x) + unit(unit(x) - mean) @ weight
    torch.testing.assert_close(side.project(x), shifted)
    torch.testing.assert_close(side(x), unit(shifted))
    torch.testing.assert_close(side(5 * x), side(x))


def test_the_shifts_follow_their_formulas(rng):
    x = torch.randn(4, 5, generator=rng)
    w, u = torch.randn(5, 3, generator=rng), torch.randn(3, 2, generator=rng)
    b = torch.randn(3, generator=rng)
    torch.testing.assert_close(LinearDelta(w)(x), x @ w)
    torch.testing.assert_close(LowRankDelta(w, u)(x), x @ w @ u)
    gelu = torch.nn.functional.gelu(x @ w + b)
    torch.testing.assert_close(MLPDelta(w, b, u, dropout=0.9)(x), gelu @ u)


def test_inputs_are_dropped_only_while_training(rng):
    x, w = torch.ones(1, 2000), torch.ones(2000, 1)
    delta = MLPDelta(w, torch.zeros(1), torch.ones(1, 1), dropout=0.25)
    assert delta(x).item() == pytest.approx(2000)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        kept = delta.train()(x).item()
    assert kept != 2000 and kept == pytest.approx(2000, rel=0.1)


def test_equal_rows_keep_their_bits_and_others_take_the_length(rng):
    kept = unit(torch.randn(50, 7, generator=rng))
    assert at_length_of(kept, kept.clone()).equal(kept)
    torch.testing.assert_close(at_length_of(2 * kept, 3 * kept), 2 * kept)
    assert at_length_of(kept, torch.zeros(50, 7)).equal(torch.zeros(50, 7))


def test_the_target_side_may_be_left_as_it_is(square):
    closed = procrustes(*square)
    start = residual(closed, sides="source")
    assert start.target_map is closed.target_map
    assert isinstance(start.source_map, ResidualMap)


def test_the_shift_is_centred_on_what_the_map_subtracts(square):
    linear, mixed = procrustes(*square), blend(*square)
    mean = linear.source_map.mean
    assert residual(linear).source_map.mean.equal(mean)
    assert residual(mixed).source_map.mean.equal(rcca(*square).source_map.mean)
    assert residual(csa(*square)).source_map.mean.equal(csa(*square).source_map.inner.mean)
    assert residual(residual(linear)).source_map.mean.equal(mean)
    rooted = Adapter(
        LinearMap(mean, torch.eye(6), root=True), IdentityMap(6), Card("rooted", 80, 6, 6)
    )
    assert residual(rooted).source_map.mean.equal(mean)
    assert residual(rooted).source_map.root and not residual(rooted).target_map.root
    assert residual(rooted).target_map.mean.equal(torch.zeros(6))
    made_of = Parts((2, 4), (0.25, 0.75))
    several = Adapter(
        LinearMap(mean, torch.eye(6), parts=made_of), IdentityMap(6), Card("parts", 80, 6, 6)
    )
    assert residual(several).source_map.parts == made_of
    given = residual(rooted, means=(torch.ones(6), 2 * torch.ones(6)))
    assert given.source_map.mean.equal(torch.ones(6))
    assert given.target_map.mean.equal(2 * torch.ones(6))
    assert not given.source_map.root
    half = residual(linear, means=(None, torch.ones(6)))
    assert half.source_map.mean.equal(mean) and half.target_map.mean.equal(torch.ones(6))


def test_the_card_names_the_shift_and_keeps_the_facts(square):
    closed = procrustes(*square)
    assert residual(closed).card.method == "procrustes + linear residual"
    card = on(closed, "low_rank").card
    assert card.method == "procrustes + low_rank(2) residual"
    assert (card.n_pairs, card.d_source) == (80, 6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", CLOSED)
def test_a_loaded_residual_gives_the_same_bits(method, kind, square, tmp_path, rng):
    adapter = moved(on(CLOSED[method](*square), kind), rng)
    sides = adapter.source(square[0]), adapter.target(square[1])
    adapter.reference = ReferenceSet(*sides, expansion=None, hubness=NNN(5, 0.5))
    adapter.save(tmp_path / "adapter")
    again = align.load(tmp_path / "adapter")
    assert again.source(square[0]).equal(sides[0])
    assert again.target(square[1]).equal(sides[1])
    assert again.gallery(square[1]).equal(adapter.gallery(square[1]))
    assert again.card == adapter.card
    delta = again.source_map.delta
    assert getattr(delta, "dropout", None) == getattr(adapter.source_map.delta, "dropout", None)
    assert delta.training is adapter.source_map.delta.training


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(kind="spline"), "delta.kind must be linear, low_rank or mlp; got 'sp"),
        (lambda d: d.update(dropout=1.0), r"delta.dropout must be a number in \[0, 1\); got 1.0"),
        (lambda d: d.pop("hidden"), r"source_map.delta must .* missing: \['hidden'\]"),
    ],
)
def test_a_changed_description_is_refused(change, message, square, tmp_path):
    on(procrustes(*square), "mlp").save(tmp_path / "adapter")
    file = tmp_path / "adapter" / "config.json"
    config = json.loads(file.read_text())
    change(config["source_map"]["delta"])
    file.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message):
        align.load(tmp_path / "adapter")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "spline"}, 'kind must be "linear", "low_rank" or "mlp"; got \'spline\''),
        ({"sides": "target"}, 'sides must be "both" or "source"; got \'target\''),
        ({"size": 3}, "a linear one has no size; got kind='linear', size=3"),
        ({"kind": "mlp", "size": 3}, "needs a size and a generator.* generator=None. Pass size=64"),
        ({"kind": "mlp"}, "needs a size and a generator.*size=None"),
        ({"dropout": 0.1}, r"dropout must lie in \[0, 1\).*got 0.1 with kind='linear'"),
    ],
)
def test_settings_that_make_no_shift_are_refused(settings, message, square):
    with pytest.raises(ValueError, match=message):
        residual(procrustes(*square), **settings)


def test_sizes_and_shares_out_of_range_are_refused(square):
    with pytest.raises(ValueError, match="size must be finite and at least 1; got 0"):
        on(procrustes(*square), "mlp", size=0)
    with pytest.raises(ValueError, match=r"dropout must lie in \[0, 1\).*got 1.0"):
        on(procrustes(*square), "mlp", dropout=1.0)
