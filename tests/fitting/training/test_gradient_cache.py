from contextlib import nullcontext

import pytest
import torch

from align.adapters.maps.linear import IdentityMap, LinearMap
from align.adapters.trainable import projection_network, residual
from align.fitting.losses.contrastive import info_nce
from align.fitting.training.gradient_cache import backward, projected


def gradients(adapter, inputs, chunk, *, seed=None):
    """The loss and the gradient of each weight."""
    temperature = torch.tensor(0.1, requires_grad=True)

    def loss(source, target):
        unit = [torch.nn.functional.normalize(side, dim=1) for side in (source, target)]
        # The mean over the batch: a loss that is no sum over rows.
        return info_nce(*unit, temperature=temperature) + source.mean(dim=0).norm()

    adapter.zero_grad()
    maps = adapter.source_map, adapter.target_map
    with torch.random.fork_rng():
        if seed is not None:
            torch.manual_seed(seed)
        value = backward(maps, inputs, loss, chunk=chunk, precision=nullcontext)
        drawn = torch.rand(())
    found = {name: weight.grad for name, weight in adapter.named_parameters()}
    return value, {**found, "temperature": temperature.grad}, drawn


@pytest.fixture
def inputs(rng):
    return torch.randn(23, 9, generator=rng), torch.randn(23, 7, generator=rng)


@pytest.mark.parametrize("chunk", [1, 4, 23, 100])
def test_gradients_are_the_same_a_few_rows_at_a_time(inputs, chunk, rng):
    adapter = projection_network(9, 7, hidden=6, dim=5, generator=rng)
    value, whole, _ = gradients(adapter, inputs, None)
    again, pieces, _ = gradients(adapter, inputs, chunk)
    torch.testing.assert_close(again, value)
    assert whole.keys() == pieces.keys()
    for name, gradient in whole.items():
        torch.testing.assert_close(pieces[name], gradient, atol=1e-5, rtol=1e-4)


def test_a_side_without_weights_is_mapped_all_the_same(inputs, rng):
    adapter = projection_network(9, 7, hidden=6, side="source", generator=rng)
    _, whole, _ = gradients(adapter, inputs, None)
    _, pieces, _ = gradients(adapter, inputs, 5)
    for name, gradient in whole.items():
        torch.testing.assert_close(pieces[name], gradient, atol=1e-5, rtol=1e-4)


def test_dropout_falls_alike_in_both_passes(inputs, rng):
    start = projection_network(9, 7, hidden=6, dim=5, generator=rng)
    adapter = residual(start, kind="mlp", size=6, dropout=0.5, generator=rng)
    for weight in adapter.parameters():
        weight.data += torch.randn(weight.shape, generator=rng)
    adapter.train()
    delta = adapter.source_map.delta
    seen = []
    delta.register_forward_hook(lambda module, inputs, output: seen.append(output.detach()))
    gradients(adapter, inputs, 8, seed=0)
    assert len(seen) == 6  # three pieces, twice
    for first, second in zip(seen[:3], seen[3:], strict=True):
        assert first.equal(second)


def test_the_random_stream_goes_on_as_if_rows_were_mapped_once(inputs, rng):
    start = projection_network(9, 7, hidden=6, dim=5, generator=rng)
    adapter = residual(start, kind="mlp", size=6, dropout=0.5, generator=rng).train()
    once = gradients(adapter, inputs, 23, seed=0)[2]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for side_map, x in zip((adapter.source_map, adapter.target_map), inputs, strict=True):
            projected(side_map, x)
        assert torch.rand(()) == once


def test_what_a_loss_draws_is_not_drawn_again(inputs, rng):
    start = projection_network(9, 7, hidden=6, dim=5, generator=rng)
    adapter = residual(start, kind="mlp", size=6, dropout=0.5, generator=rng).train()
    maps = adapter.source_map, adapter.target_map
    drawn = []

    def loss(source, target):
        drawn.append(torch.rand(()))
        return (source * target).sum()

    with torch.random.fork_rng():
        for _ in range(2):
            backward(maps, inputs, loss, chunk=8, precision=nullcontext)
            drawn.append(torch.rand(()))
    assert len({value.item() for value in drawn}) == 4


def test_a_loss_that_ignores_a_side_leaves_it_without_a_gradient(inputs, rng):
    adapter = projection_network(9, 7, hidden=6, dim=5, generator=rng)
    maps = adapter.source_map, adapter.target_map
    backward(maps, inputs, lambda source, target: source.sum(), chunk=5, precision=nullcontext)
    assert adapter.source_map.second.grad.abs().sum() > 0
    assert adapter.target_map.second.grad.abs().sum() == 0


def test_maps_without_a_last_step_to_leave_out_give_unit_norm(inputs, rng):
    for side_map in (IdentityMap(9), LinearMap(torch.zeros(9), torch.randn(9, 4, generator=rng))):
        assert projected(side_map, inputs[0]).equal(side_map(inputs[0]))
    side_map = projection_network(9, 7, hidden=6, generator=rng).source_map
    assert projected(side_map, inputs[0]).equal(side_map.project(inputs[0]))
