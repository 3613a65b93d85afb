"""The network on a pair and the bilinear form: pairs by definition, blocks, starts and refusals."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.similarity import learned as learned_similarity
from probes.similarity.learned import START_TEMPERATURE, LowRankBilinear, PairMLP


def network(rng, d=6, hidden=5):
    return PairMLP(d, hidden=hidden, generator=rng)


def both(rng, d):
    """One of each kind for sides of width ``d``."""
    return (
        network(rng, d),
        LowRankBilinear.random(d, d, rank=min(d, 13), generator=rng),
        LowRankBilinear.inner_product(torch.randn(20, d, generator=rng), rank=min(d, 13)),
    )


@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 90), st.integers(1, 12))
@settings(max_examples=25, deadline=None)
def test_scores_and_all_pairs_are_those_of_every_pair_by_itself(seed, q, m, d):
    rng = torch.Generator().manual_seed(seed)
    x, y = torch.randn(q, d, generator=rng), torch.randn(m, d, generator=rng)
    for similarity in both(rng, d):
        one_by_one = similarity(x.repeat_interleave(m, dim=0), y.repeat(q, 1)).view(q, m)
        scale = 1e-5 * (1 + one_by_one.abs().max().item())
        assert torch.allclose(similarity.all_pairs(x, y), one_by_one, atol=scale)
        assert torch.allclose(similarity.scores(x, y), one_by_one, atol=scale)


def test_a_network_is_one_hidden_layer_on_both_rows_their_distance_and_their_product(rng):
    similarity = network(rng)
    x, y = torch.randn(2, 6, generator=rng) * 6**0.5
    features = torch.cat([x, y, (x - y).abs(), x * y])
    inside = (similarity.first.weight @ features + similarity.first.bias).clamp_min(0)
    wanted = (similarity.second.weight @ inside).squeeze()
    # The factor sqrt(d) is taken out again: the network applies it itself.
    found = similarity(x[None] / 6**0.5, y[None] / 6**0.5)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_a_form_is_the_product_of_both_projections(rng):
    source, target = torch.randn(5, 3, generator=rng), torch.randn(7, 3, generator=rng)
    similarity = LowRankBilinear(source, target)
    x, y = torch.randn(4, 5, generator=rng), torch.randn(6, 7, generator=rng)
    assert torch.allclose(similarity.scores(x, y), x @ source @ target.T @ y.T, atol=1e-4)


def test_blocks_do_not_change_values(rng, monkeypatch):
    similarity = network(rng, d=20)
    x, y = torch.randn(30, 20, generator=rng), torch.randn(300, 20, generator=rng)
    whole = similarity.scores(x, y)
    monkeypatch.setattr(learned_similarity, "_ENTRIES", 1)
    assert torch.allclose(similarity.scores(x, y), whole, rtol=1e-5, atol=2e-5)
    monkeypatch.setattr(learned_similarity, "_ROWS", 1)
    assert torch.allclose(similarity.scores(x, y), whole, rtol=1e-5, atol=2e-5)


def test_a_network_holds_a_bounded_block_of_differences(rng, monkeypatch):
    seen = []
    pairs = PairMLP._pairs
    monkeypatch.setattr(learned_similarity, "_ENTRIES", 4 * 64 * 20)
    monkeypatch.setattr(
        PairMLP, "_pairs", lambda self, x, y, *rest: seen.append((x, y)) or pairs(self, x, y, *rest)
    )
    network(rng, d=20).scores(
        torch.randn(30, 20, generator=rng), torch.randn(300, 20, generator=rng)
    )
    assert max(len(x) * y.numel() for x, y in seen) == 4 * 64 * 20


@pytest.mark.parametrize("q", [3, 5, 37])
def test_equal_rows_score_equally_to_the_last_bit_on_either_side(q, rng):
    for d, m in ((3, 5), (40, 3), (40, 33), (40, 65), (384, 127)):
        for similarity in both(rng, d):
            x, y = torch.randn(q, d, generator=rng), torch.randn(m, d, generator=rng)
            x[-1] = x[q // 2] = x[0]
            y[-1] = y[m // 2] = y[0]
            scores = similarity.scores(x, y)
            assert torch.equal(scores[:, -1], scores[:, 0])
            assert torch.equal(scores[:, m // 2], scores[:, 0])
            assert torch.equal(scores[-1], scores[0]) and torch.equal(scores[q // 2], scores[0])


def test_batches_carry_gradients_and_scores_do_not(rng):
    x = torch.randn(4, 6, generator=rng)
    for similarity in both(rng, 6):
        assert not similarity.scores(x, x).requires_grad
        similarity.all_pairs(x, x).square().sum().backward()
        assert all(parameter.grad.abs().sum() > 0 for parameter in similarity.parameters())


def test_gradients_of_a_network_are_those_of_its_pairs_one_by_one(rng):
    x, y = torch.randn(4, 6, generator=rng), torch.randn(5, 6, generator=rng)
    similarity = network(rng)
    one_by_one = similarity(x.repeat_interleave(5, dim=0), y.repeat(4, 1))
    wanted = torch.autograd.grad(one_by_one.square().sum(), list(similarity.parameters()))
    found = torch.autograd.grad(
        similarity.all_pairs(x, y).square().sum(), list(similarity.parameters())
    )
    for ours, theirs in zip(found, wanted, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_start_of_full_rank_is_the_inner_product(rng):
    rows = torch.randn(30, 8, generator=rng)
    similarity = LowRankBilinear.inner_product(rows, rank=8)
    wanted = rows @ rows.T / START_TEMPERATURE
    assert torch.allclose(similarity.scores(rows, rows), wanted, rtol=1e-4, atol=1e-3)


def test_a_start_of_low_rank_keeps_the_leading_directions(rng):
    plane = torch.randn(30, 2, generator=rng) @ torch.randn(2, 8, generator=rng)
    rows = plane + 1e-3 * torch.randn(30, 8, generator=rng)
    similarity = LowRankBilinear.inner_product(rows, rank=2)
    wanted = plane @ plane.T / START_TEMPERATURE
    assert torch.allclose(similarity.scores(rows, rows), wanted, atol=0.01 * wanted.abs().max())


def test_a_random_start_spreads_scores_as_stated(rng):
    x = torch.nn.functional.normalize(torch.randn(300, 50, generator=rng))
    y = torch.nn.functional.normalize(torch.randn(300, 40, generator=rng))
    scores = LowRankBilinear.random(50, 40, rank=25, generator=rng).scores(x, y)
    assert scores.std().item() == pytest.approx(25**-0.5 / START_TEMPERATURE, rel=0.15)


def test_starts_come_from_the_generator_alone(rng):
    state = torch.get_rng_state()
    first, again = (network(torch.Generator().manual_seed(1)) for _ in range(2))
    other = network(torch.Generator().manual_seed(2))
    assert torch.equal(first.first.weight, again.first.weight)
    assert not torch.equal(first.first.weight, other.first.weight)
    assert torch.equal(torch.get_rng_state(), state)


def test_rows_of_another_width_and_rows_that_are_not_finite_are_refused(rng):
    x = torch.randn(4, 6, generator=rng)
    for similarity in both(rng, 6):
        for call in (similarity, similarity.all_pairs, similarity.scores):
            with pytest.raises(
                ValueError, match=r"gallery must have 6 columns; got shape \(4, 5\)"
            ):
                call(x, x[:, :5])
            with pytest.raises(ValueError, match="queries must be finite"):
                call(x * float("nan"), x)
        with pytest.raises(ValueError, match=r"row-matched.*\(4, 6\) and \(3, 6\)"):
            similarity(x, x[:3])


def test_impossible_sizes_are_refused(rng):
    with pytest.raises(ValueError, match="hidden must be finite and at least 1"):
        PairMLP(3, hidden=0, generator=rng)
    with pytest.raises(ValueError, match="d must be finite and at least 1"):
        PairMLP(0, hidden=1, generator=rng)
    with pytest.raises(ValueError, match=r"rank must lie in \[1, 3\], the smaller width; got 4"):
        LowRankBilinear.random(5, 3, rank=4, generator=rng)
    with pytest.raises(ValueError, match=r"rank must lie in \[1, 5\], the width; got 0"):
        LowRankBilinear.inner_product(torch.ones(4, 5), rank=0)
    with pytest.raises(ValueError, match="rows must be finite"):
        LowRankBilinear.inner_product(torch.full((4, 5), float("inf")), rank=1)
    with pytest.raises(ValueError, match="target_factor must have 2 columns"):
        LowRankBilinear(torch.ones(4, 2), torch.ones(4, 3))
    with pytest.raises(ValueError, match="source_factor must be a floating-point matrix"):
        LowRankBilinear(torch.ones(4), torch.ones(4, 3))
