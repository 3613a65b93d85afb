"""Each setting of training does what it says."""

import copy
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.maps.linear import IdentityMap
from align.adapters.trainable import linear_heads, projection_network, residual
from align.data.embeddings import PairedEmbeddings
from align.fitting.training.config import TrainConfig
from align.fitting.training.objectives import contrastive
from align.fitting.training.train import train
from tests.fitting.training.trained import QUICK, closed, mlp, same, settings, weights_of


def test_the_same_seed_gives_the_same_bits_and_leaves_the_global_stream(pairs):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = train(mlp(pairs), pairs, config=settings())
    assert torch.get_rng_state().equal(before)
    torch.manual_seed(2)
    two = train(mlp(pairs), pairs, config=settings())
    other = train(mlp(pairs), pairs, config=settings(seed=1))
    assert same(one, two)
    assert not same(one, other)


@pytest.mark.parametrize("seed", [0, 5])
def test_what_is_drawn_while_training_comes_from_the_seed(pairs, seed):
    drawn = []

    def drawing(batch):
        drawn.append(torch.rand(()))
        return contrastive(batch)

    train(residual(closed(pairs)), pairs, loss=drawing, config=replace(QUICK, seed=seed))
    stream = torch.Generator().manual_seed(seed)
    assert drawn == [torch.rand((), generator=stream) for _ in range(5)]


def test_dropout_is_on_while_training_and_off_in_what_comes_back(pairs):
    start, seen = mlp(pairs), []

    def look(batch):
        seen.append(batch.source_projected.detach())
        return contrastive(batch)

    for weight in start.parameters():
        weight.data += torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    found = train(start, pairs, loss=look, config=replace(QUICK, learning_rate=1e-30))
    # The same rows in another order, but for what dropout leaves out.
    norms = [each.norm(dim=1).sort().values for each in seen[:2]]
    assert (norms[0] - norms[1]).abs().max() > 0.1
    assert not any(module.training for module in found.modules())


def test_a_few_rows_at_a_time_train_to_the_same_weights(pairs):
    start = residual(closed(pairs))
    config = TrainConfig(steps=5, batch_size=30, learning_rate=1e-2, anchor=0.5)
    whole, pieces = (
        weights_of(train(start, pairs, config=replace(config, chunk=chunk))) for chunk in (None, 7)
    )
    for name, weight in whole.items():
        torch.testing.assert_close(pieces[name], weight, atol=1e-4, rtol=1e-3)


def test_the_average_follows_its_formula(pairs):
    start = residual(closed(pairs))
    flat = TrainConfig(learning_rate=1e-2, warmup=0.0, cosine=False)
    w0 = weights_of(start)
    w1, w2 = (weights_of(train(start, pairs, config=replace(flat, steps=s))) for s in (1, 2))
    averaged = weights_of(train(start, pairs, config=replace(flat, steps=2, ema=0.75)))
    for name in w0:
        after_one = 0.75 * w0[name] + 0.25 * w1[name]
        expected = 0.75 * after_one + 0.25 * w2[name]
        torch.testing.assert_close(averaged[name], expected, atol=1e-6, rtol=1e-5)


def test_weight_decay_shrinks_matrices_but_neither_biases_nor_the_temperature(pairs, rng):
    start = projection_network(8, 6, hidden=5, generator=rng)
    start.source_map.first_bias.data += 1

    def nothing(batch):
        return 0 * batch.source_projected.sum() + 0 * batch.temperature

    log = []
    config = TrainConfig(
        steps=2, learning_rate=0.1, weight_decay=0.5, warmup=0.0, cosine=False, temperature=0.1
    )
    found = train(start, pairs, loss=nothing, config=config, log=[log.append])
    torch.testing.assert_close(found.source_map.first, start.source_map.first * 0.95**2)
    assert found.source_map.first_bias.equal(start.source_map.first_bias)
    assert log[-1]["temperature"] == pytest.approx(0.1)


def test_the_rate_follows_its_schedule(pairs):
    config = TrainConfig(steps=6, learning_rate=0.1, weight_decay=0.5, warmup=0.4)
    start = linear_heads(8, 6, generator=torch.Generator().manual_seed(0))
    log = []
    found = train(
        start,
        pairs,
        loss=lambda batch: 0 * batch.source_projected.sum(),
        config=config,
        log=[log.append],
    )
    rates = [0.1 * config.rate_at(step, 6) for step in range(6)]
    assert [record["learning_rate"] for record in log] == pytest.approx(rates)
    shrunk = math.prod(1 - 0.5 * rate for rate in rates)
    torch.testing.assert_close(found.source_map.weight, start.source_map.weight * shrunk)


def test_the_temperature_is_learned_within_its_bounds(pairs):
    def hotter(batch):
        return -batch.temperature + 0 * batch.source_projected.sum()

    for learned, last in ((True, 0.06), (False, 0.05)):
        log = []
        config = TrainConfig(
            steps=20,
            temperature=0.05,
            temperature_bounds=(0.04, 0.06),
            temperature_rate=0.1,
            learn_temperature=learned,
            cosine=False,
        )
        train(residual(closed(pairs)), pairs, loss=hotter, config=config, log=[log.append])
        assert log[0]["temperature"] == pytest.approx(0.05)
        assert log[-1]["temperature"] == pytest.approx(last)


def test_an_anchor_holds_outputs_near_their_start(pairs):
    adapter = closed(pairs)
    found = {}
    for anchor in (0.0, 10.0, 1000.0):
        config = TrainConfig(steps=40, learning_rate=1e-2, anchor=anchor)
        moved = train(adapter, pairs, config=config).source(pairs.source)
        found[anchor] = (moved - adapter.source(pairs.source)).norm(dim=1).mean().item()
    assert found[1000.0] < 0.1 * found[10.0] and found[10.0] < 0.8 * found[0.0]


def test_the_anchor_is_the_mean_squared_distance_of_both_sides(pairs):
    log = []

    class Turning(nn.Module):
        """Outputs that turn by an angle, the only weight."""

        d_in = dim = 2

        def __init__(self):
            super().__init__()
            self.angle = nn.Parameter(torch.zeros(()))

        def forward(self, x):
            turn = self.angle.cos(), self.angle.sin()
            rotation = torch.stack([turn[0], turn[1], -turn[1], turn[0]]).reshape(2, 2)
            return F.normalize(x, dim=1) @ rotation

    x = torch.randn(10, 2, generator=torch.Generator().manual_seed(0))
    plane = PairedEmbeddings.from_arrays(x, x)
    adapter = Adapter(Turning(), IdentityMap(2), Card("turning", 10, 2, 2))

    def turn(batch):
        return -batch.source_projected[:, 0].sum()

    config = TrainConfig(
        steps=2, learning_rate=0.3, warmup=0.0, cosine=False, weight_decay=0.0, anchor=4.0
    )
    losses = []

    def recorded(batch):
        losses.append(turn(batch).item())
        return turn(batch)

    train(adapter, plane, loss=recorded, config=config, log=[log.append])
    assert log[0]["loss"] == pytest.approx(losses[0], abs=1e-5)
    # Adam's first step is the learning rate: the source has turned by 0.3, the target by nothing.
    distance = 2 - 2 * math.cos(0.3)
    assert log[1]["loss"] == pytest.approx(losses[1] + 4.0 * distance / 2, abs=1e-4)


def test_the_anchor_does_not_drop_inputs(pairs):
    start, expected, log = mlp(pairs), [], []
    for weight in start.parameters():
        weight.data += torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    fixed = copy.deepcopy(start)

    def nothing(batch):
        before = fixed.source(batch.source_input), fixed.target(batch.target_input)
        apart = [
            (z - w).square().sum(dim=1).mean()
            for z, w in zip((batch.source, batch.target), before, strict=True)
        ]
        expected.append(sum(apart).item() / 2)
        return 0 * batch.source_projected.sum()

    config = replace(QUICK, anchor=1.0)
    train(start.train(), pairs, loss=nothing, config=config, log=[log.append])
    assert min(expected) > 0.1
    assert [record["loss"] for record in log] == pytest.approx(expected, rel=1e-4)
