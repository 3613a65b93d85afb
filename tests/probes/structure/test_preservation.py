"""Trustworthiness and continuity: scikit-learn's, loops with groups, planted damage, chance."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.manifold import trustworthiness as trustworthiness_of_sklearn

from probes.space import Space
from probes.structure.preservation import (
    CONTINUITY_SOURCE,
    CONTINUITY_TARGET,
    TRUSTWORTHINESS_SOURCE,
    TRUSTWORTHINESS_TARGET,
    continuity,
    trustworthiness,
)
from tests.helpers.planted import rotation
from tests.probes.paired_clouds import UNEVEN, crossing, names, noisy_pairs, space_of, strangers

PROBES = {
    TRUSTWORTHINESS_SOURCE: (trustworthiness, "source"),
    TRUSTWORTHINESS_TARGET: (trustworthiness, "target"),
    CONTINUITY_SOURCE: (continuity, "source"),
    CONTINUITY_TARGET: (continuity, "target"),
}
ALL = pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
TWO = pytest.mark.parametrize("quantity", [trustworthiness, continuity])


def by_hand(before, after, codes, k):
    def in_order(x, i):
        others = [j for j in range(len(x)) if codes[j] != codes[i]]
        return sorted(others, key=lambda j: (-float(x[i] @ x[j]), j))

    kept = []
    for i in range(len(before)):
        ranked, near = in_order(before, i), in_order(after, i)[:k]
        excess = [max(place - k, 0) for place in range(1, len(ranked) + 1)]
        worst = sum(sorted(excess)[-k:])
        kept.append(1 - sum(excess[ranked.index(j)] for j in near) / worst)
    return sum(kept) / len(kept)


@pytest.mark.parametrize("k", [1, 5, 19])
def test_it_agrees_with_scikit_learn(rng, k):
    before, after = (x.double() for x in noisy_pairs(rng, 40, 6))
    expected = trustworthiness_of_sklearn(before, after, n_neighbors=k, metric="cosine")
    # Its neighbours after the map are Euclidean: on unit vectors these are the same.
    assert trustworthiness(before, after, k=k) == pytest.approx(expected, abs=1e-9)
    assert continuity(after, before, k=k) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**20), k=st.integers(1, 16), exact=st.booleans())
def test_it_is_that_of_a_loop_with_groups_ties_and_any_k(seed, k, exact):
    rng = torch.Generator().manual_seed(seed)
    before, after = crossing(rng, 20) if exact else strangers(rng, 20)
    groups = names(UNEVEN)
    expected = by_hand(before, after, UNEVEN, k)
    assert trustworthiness(before, after, k=k, groups=groups) == pytest.approx(expected)
    expected = by_hand(after, before, UNEVEN, k)
    assert continuity(before, after, k=k, groups=groups) == pytest.approx(expected)


@TWO
def test_a_rotation_and_a_scale_lose_nothing(rng, quantity):
    before, other = noisy_pairs(rng, 40, 8)
    turn = rotation(8, rng)
    assert quantity(before, 3 * before @ turn) == 1
    expected = quantity(before, other)
    assert quantity(5 * before @ turn, 0.1 * other) == pytest.approx(expected, abs=1e-6)


def test_a_map_that_folds_brings_strangers_near_and_tears_nothing_apart():
    angle = torch.arange(1, 61) / 10
    before = torch.stack([angle.cos(), angle.sin()], 1)
    # Halving the circle keeps neighbours together but lays its two sides on each other.
    after = torch.stack([before[:, 0], before[:, 1].abs()], 1)
    assert trustworthiness(before, after, k=4) < 0.8
    assert continuity(before, after, k=4) > 0.9


def test_neighbours_that_were_farthest_give_zero():
    angle = torch.arange(8, dtype=torch.float64) * torch.pi / 4
    spread = torch.stack([angle.cos(), angle.sin()], 1)
    # Opposite points, i and i + 4, end up beside each other.
    angle = torch.arange(8) % 4 * 1.5 + torch.arange(8) // 4 * 0.1
    paired = torch.stack([angle.cos(), angle.sin()], 1).double()
    assert trustworthiness(spread, paired, k=1) == pytest.approx(0, abs=1e-12)
    assert continuity(paired, spread, k=1) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("codes", [torch.arange(20), UNEVEN], ids=["pairs", "groups"])
def test_chance_is_what_the_null_says(rng, codes):
    measured = []
    for _ in range(200):
        source, target = strangers(rng, 20, 6)
        raw = space_of(source, target, codes)
        measured.append(TRUSTWORTHINESS_SOURCE.measure(Space(target, source, codes, before=raw)))
    mean = sum(found.value for found in measured) / 200
    assert measured[0].null.value == pytest.approx(mean, abs=0.01)
    assert measured[0].null.p is None


def test_chance_tends_to_one_half(rng):
    null = TRUSTWORTHINESS_SOURCE.measure(space_of(*strangers(rng, 1000, 4))).null
    assert null.value == pytest.approx(0.5, abs=0.01)


@ALL
def test_before_anything_is_done_nothing_is_lost(rng, probe):
    assert probe.measure(space_of(*crossing(rng, 40))).value == 1


@ALL
@pytest.mark.parametrize("codes", [torch.arange(20), UNEVEN], ids=["pairs", "groups"])
def test_the_probe_gives_what_the_function_gives(rng, probe, codes):
    quantity, side = PROBES[probe]
    raw = space_of(*strangers(rng, 20, 9), codes)
    x, y = (F.normalize(z[:, :4], dim=1) for z in (raw.source, raw.target))
    found = probe.measure(Space(x, y, codes, before=raw))
    before, after = getattr(raw, side), {"source": x, "target": y}[side]
    expected = quantity(before, after, groups=names(codes))
    assert found.value == pytest.approx(expected)
    ones = torch.ones(1, 20, dtype=torch.float64)
    assert found.replicate(ones).item() == pytest.approx(found.value)


def test_a_large_space_is_measured_on_the_same_sample_before_and_after(rng):
    raw = space_of(*strangers(rng, 1050, 6))
    x, y = (F.normalize(z[:, :4], dim=1) for z in (raw.source, raw.target))
    found = CONTINUITY_TARGET.measure(Space(x, y, raw.codes, before=raw))
    assert len(found.rows) == 1000
    expected = continuity(raw.target[found.rows], y[found.rows])
    assert found.value == pytest.approx(expected, abs=1e-6)


@TWO
@pytest.mark.parametrize("k", [0, 17])
def test_a_neighbourhood_that_does_not_exist_is_refused(rng, quantity, k):
    with pytest.raises(ValueError, match=r"k must lie in \[1, 16\]"):
        quantity(*strangers(rng, 20), k=k, groups=names(UNEVEN))


@TWO
def test_other_items_after_than_before_are_refused(rng, quantity):
    before, after = strangers(rng, 20)
    with pytest.raises(ValueError, match=r"same items.*got \(20, 8\) and \(19, 8\)"):
        quantity(before, after[:19])


@TWO
def test_rows_without_a_direction_are_refused(rng, quantity):
    before, after = strangers(rng, 20)
    after[3] = 0
    with pytest.raises(ValueError, match="every row of after needs a direction"):
        quantity(before, after)


@TWO
def test_two_items_are_refused(rng, quantity):
    with pytest.raises(ValueError, match="at least 3 rows"):
        quantity(*strangers(rng, 2))
