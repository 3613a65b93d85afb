"""InfoNCE in a batch, with groups."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from align.fitting.losses.contrastive import info_nce
from tests.helpers.planted import unit_sides

GROUPS = torch.tensor([4, 7, 4, 9, 7, 4])


drawn = partial(unit_sides, n=6, d=5)


def by_hand(source, target, temperature, groups, positives):
    """One direction, by loops over plain numbers."""
    n = len(source)
    total = 0.0
    for u in range(n):
        e = [math.exp(float(source[u] @ target[v]) / temperature) for v in range(n)]
        group = [v for v in range(n) if groups[v] == groups[u]]
        negatives = sum(e[v] for v in range(n) if v not in group)
        if positives == "own":
            total -= math.log(e[u] / (e[u] + negatives))
        elif positives == "sum":
            right = sum(e[v] for v in group)
            total -= math.log(right / (right + negatives))
        else:
            everything = sum(e)
            total -= sum(math.log(e[v] / everything) for v in group) / len(group)
    return total / n


def test_it_is_the_mean_cross_entropy_of_both_directions(rng):
    source, target = drawn(rng)
    logits = source @ target.T / 0.07
    rows = torch.arange(6)
    forward, backward = F.cross_entropy(logits, rows), F.cross_entropy(logits.T, rows)
    torch.testing.assert_close(info_nce(source, target, temperature=0.07), (forward + backward) / 2)
    one_way = info_nce(source, target, temperature=0.07, symmetric=False)
    torch.testing.assert_close(one_way, forward)
    assert one_way.dtype == torch.float64 and one_way.ndim == 0


@pytest.mark.parametrize("positives", ["own", "sum", "mean"])
def test_groups_are_those_of_plain_loops(positives, rng):
    source, target = drawn(rng)
    options = {"temperature": 0.3, "groups": GROUPS, "positives": positives}
    forward = by_hand(source, target, 0.3, GROUPS, positives)
    backward = by_hand(target, source, 0.3, GROUPS, positives)
    found = info_nce(source, target, symmetric=False, **options)
    assert found.item() == pytest.approx(forward, rel=1e-12)
    both = info_nce(source, target, **options)
    assert both.item() == pytest.approx((forward + backward) / 2, rel=1e-12)


@pytest.mark.parametrize("positives", ["own", "sum", "mean"])
def test_groups_of_one_change_no_bit(positives, rng):
    source, target = drawn(rng)
    plain = info_nce(source, target, temperature=0.1)
    groups = torch.tensor([5, 3, 9, 0, 8, 1])
    found = info_nce(source, target, temperature=0.1, groups=groups, positives=positives)
    if positives == "own":
        assert found.equal(plain)
    torch.testing.assert_close(found, plain)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(1, 8),
    positives=st.sampled_from(["own", "sum", "mean"]),
)
def test_neither_the_order_of_pairs_nor_the_names_of_sides_matter(seed, n, positives):
    rng = torch.Generator().manual_seed(seed)
    source, target = drawn(rng, n=n)
    groups = torch.randint(3, (n,), generator=rng)
    order = torch.randperm(n, generator=rng)
    options = {"temperature": 0.2, "positives": positives}
    found = info_nce(source, target, groups=groups, **options)
    swapped = info_nce(target, source, groups=groups, **options)
    shuffled = info_nce(source[order], target[order], groups=groups[order] + 5, **options)
    torch.testing.assert_close(swapped, found)
    torch.testing.assert_close(shuffled, found)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_coinciding_embeddings_lose_the_logarithm_of_the_batch(n):
    same = F.normalize(torch.ones(n, 3), dim=1)
    assert info_nce(same, same, temperature=0.07).item() == pytest.approx(math.log(n), abs=1e-6)


def test_a_batch_of_one_group_has_nothing_to_lose_but_by_the_mean(rng):
    source, target = drawn(rng)
    groups = torch.zeros(6, dtype=torch.int64)
    for positives in ("own", "sum"):
        loss = info_nce(source, target, temperature=0.1, groups=groups, positives=positives)
        assert loss.item() == pytest.approx(0, abs=1e-12)
    same = F.normalize(torch.ones(6, 3), dim=1)
    loss = info_nce(same, same, temperature=0.1, groups=groups, positives="mean")
    assert loss.item() == pytest.approx(math.log(6))


@pytest.mark.parametrize("positives", ["own", "sum", "mean"])
def test_gradients_are_those_of_finite_differences(positives, rng):
    source, target = drawn(rng, n=4)
    temperature = torch.tensor(0.3, dtype=torch.float64)
    inputs = [each.clone().requires_grad_() for each in (source, target, temperature)]

    def loss(source, target, temperature):
        return info_nce(
            source, target, temperature=temperature, groups=GROUPS[:4], positives=positives
        )

    assert torch.autograd.gradcheck(loss, inputs)


@pytest.mark.parametrize("positives", ["own", "sum", "mean"])
@pytest.mark.parametrize("sharpness", [0.3, 1e-4])
def test_a_learned_temperature_stays_finite_beside_masked_pairs(positives, sharpness, rng):
    source, target = (side.float().requires_grad_() for side in drawn(rng))
    temperature = torch.tensor(sharpness, requires_grad=True)
    loss = info_nce(source, target, temperature=temperature, groups=GROUPS, positives=positives)
    loss.backward()
    for each in (loss, temperature.grad, source.grad, target.grad):
        assert each.isfinite().all()
    assert temperature.grad != 0


def test_sides_of_different_lengths_or_widths_are_refused():
    with pytest.raises(ValueError, match=r"row-matched matrices.*\(3, 4\) and \(2, 4\)"):
        info_nce(torch.ones(3, 4), torch.ones(2, 4), temperature=1.0)
    with pytest.raises(ValueError, match=r"share one space.*\(3, 4\) and \(3, 5\)"):
        info_nce(torch.ones(3, 4), torch.ones(3, 5), temperature=1.0)
    with pytest.raises(ValueError, match=r"share one space.*\(0, 4\) and \(0, 4\)"):
        info_nce(torch.ones(0, 4), torch.ones(0, 4), temperature=1.0)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan, torch.tensor(0.0)], ids=str)
def test_temperatures_that_are_not_positive_are_refused(temperature, rng):
    with pytest.raises(ValueError, match="temperature must be finite and above 0"):
        info_nce(*drawn(rng), temperature=temperature)


def test_a_temperature_per_row_is_refused(rng):
    with pytest.raises(ValueError, match=r"temperature must be a single number.*\(6,\)"):
        info_nce(*drawn(rng), temperature=torch.ones(6))


@pytest.mark.parametrize("groups", [torch.zeros(5, dtype=torch.int64), torch.zeros(6)], ids=str)
def test_groups_that_do_not_fit_are_refused(groups, rng):
    with pytest.raises(ValueError, match=r"groups must be one int64 code per row, \(6,\)"):
        info_nce(*drawn(rng), temperature=0.1, groups=groups)


def test_unknown_positives_are_refused(rng):
    with pytest.raises(ValueError, match='positives must be "own", "sum" or "mean"; got \'all\''):
        info_nce(*drawn(rng), temperature=0.1, positives="all")
