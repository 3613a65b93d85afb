"""Hubs and anti-hubs: planted ones, counts by hand, and how the summaries move with the pairs."""

import math
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from align.metrics.bootstrap import resamples
from probes.pathology.hubness import (
    ANTIHUBS_BACK,
    ANTIHUBS_FORTH,
    HUBNESS_BACK,
    HUBNESS_FORTH,
    ROBIN_HOOD,
    antihub_share,
    hub_share,
    hubness_skewness,
    k_occurrence,
    robin_hood_index,
)
from probes.space import K, SearchSides, Space
from tests.helpers.planted import rotation
from tests.probes.paired_clouds import spread_ratio

PROBES = [HUBNESS_FORTH, HUBNESS_BACK, ANTIHUBS_FORTH, ANTIHUBS_BACK, ROBIN_HOOD]
SUMMARIES = [hubness_skewness, antihub_share, hub_share, robin_hood_index]


def crowded(rng, n=120, d=24, *, groups=None, noise=3.0, gap=6.0):
    """Unit-norm pairs with an offset between the sides, which makes hubs."""
    shared = torch.randn(n, d, generator=rng)
    offset = gap * torch.arange(1.0, d + 1) ** -0.5
    source, target = (shared + noise * torch.randn(n, d, generator=rng) for _ in range(2))
    codes = torch.arange(n) if groups is None else torch.arange(n) % groups
    return Space(F.normalize(source + offset, dim=1), F.normalize(target, dim=1), codes, seed=1)


def unlike(rng, q=50, m=40, d=12):
    return torch.randn(q, d, generator=rng), torch.randn(m, d, generator=rng) + 0.3


def name_of(x):
    return getattr(x, "__name__", None) or x.name


def test_hubness_counts_one_planted_hub():
    gallery = F.normalize(torch.eye(5) * 0.1 + torch.tensor([1.0, 0, 0, 0, 0]), dim=1)
    queries = torch.tensor([[1.0, 0, 0, 0, 0]]).repeat(20, 1)
    assert k_occurrence(queries, gallery, k=1).tolist() == [20, 0, 0, 0, 0]
    # One item holds all counts: skewness of a (1/5, 4/5) two-point law is 1.5 exactly.
    assert hubness_skewness(queries, gallery, k=1) == pytest.approx(1.5)
    assert antihub_share(queries, gallery, k=1) == 0.8
    assert hub_share(queries, gallery, k=1) == 1.0
    assert robin_hood_index(queries, gallery, k=1) == pytest.approx(1 - 1 / 5)


def test_a_gallery_that_is_found_evenly_has_no_hubs():
    same = torch.eye(7)
    assert k_occurrence(same, same, k=1).tolist() == [1] * 7
    for summary in SUMMARIES:
        assert summary(same, same, k=1) == 0.0


def test_hubs_hold_the_places_of_items_found_twice_as_often_as_the_mean():
    gallery = torch.eye(4)
    queries = gallery[[0, 0, 0, 0, 1, 1, 1, 3]]
    # The mean is 2: item 0 with 4 places is a hub and item 1 with 3 is not.
    assert k_occurrence(queries, gallery, k=1).tolist() == [4, 3, 0, 1]
    assert hub_share(queries, gallery, k=1) == 0.5


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 30), st.integers(1, 8), st.integers(0, 2**31), st.data())
def test_counts_are_those_of_a_loop_and_fill_all_places(q, m, d, seed, data):
    rng = np.random.default_rng(seed)
    queries, gallery = rng.normal(size=(q, d)), rng.normal(size=(m, d))
    k = data.draw(st.integers(1, m))
    by_hand = np.zeros(m, dtype=int)
    for row in queries:
        for best in sorted(range(m), key=lambda j: (-(gallery[j] @ row), j))[:k]:
            by_hand[best] += 1
    counts = k_occurrence(queries, gallery, k=k)
    assert counts.tolist() == by_hand.tolist()
    assert int(counts.sum()) == q * k
    moved = np.abs(by_hand - q * k / m).sum() / (2 * q * k)
    assert robin_hood_index(queries, gallery, k=k) == pytest.approx(moved, abs=1e-12)
    assert antihub_share(queries, gallery, k=k) == pytest.approx(np.mean(by_hand == 0))


def test_summaries_agree_with_scipy_and_with_moving_places_by_hand(rng):
    queries, gallery = unlike(rng)
    counts = k_occurrence(queries, gallery, k=5).numpy()
    assert hubness_skewness(queries, gallery, k=5) == pytest.approx(stats.skew(counts))
    moved = sum(max(0.0, count - counts.mean()) for count in counts) / counts.sum()
    assert robin_hood_index(queries, gallery, k=5) == pytest.approx(moved)
    assert antihub_share(queries, gallery, k=5) == pytest.approx(np.mean(counts == 0))


@pytest.mark.parametrize("summary", SUMMARIES, ids=name_of)
def test_rotating_scaling_and_shuffling_change_nothing(summary, rng):
    queries, gallery = (side.double() for side in unlike(rng))
    value = summary(queries, gallery)
    turn = rotation(12, rng, torch.float64)
    assert summary(queries @ turn * 3, gallery @ turn * 2) == pytest.approx(value)
    order = torch.randperm(40, generator=rng)
    assert summary(queries.flip(0), gallery[order]) == pytest.approx(value)
    assert summary(queries.numpy(), gallery.float()) == pytest.approx(value)


@pytest.mark.parametrize("summary", SUMMARIES, ids=name_of)
def test_what_cannot_be_searched_is_refused(summary, rng):
    queries, gallery = unlike(rng)
    with pytest.raises(ValueError, match=r"k must lie in \[1, 40\].*got 41"):
        summary(queries, gallery, k=41)
    with pytest.raises(ValueError, match="floating-point matrices"):
        summary(queries, gallery[:, :5])
    gallery[3, 0] = torch.nan
    with pytest.raises(ValueError, match="gallery must be finite; 1 of 40 rows"):
        summary(queries, gallery)


def test_probes_give_the_values_of_the_functions(rng):
    space = crowded(rng)
    forth, back = (space.source, space.target), (space.target, space.source)
    assert HUBNESS_FORTH.measure(space).value == hubness_skewness(*forth, k=K)
    assert HUBNESS_BACK.measure(space).value == hubness_skewness(*back, k=K)
    assert ANTIHUBS_FORTH.measure(space).value == antihub_share(*forth, k=K)
    assert ANTIHUBS_BACK.measure(space).value == antihub_share(*back, k=K)
    both = (robin_hood_index(*forth, k=K) + robin_hood_index(*back, k=K)) / 2
    assert ROBIN_HOOD.measure(space).value == pytest.approx(both)
    assert HUBNESS_FORTH.measure(space).value > 1 > HUBNESS_FORTH.measure(space).null.value


def test_a_corrected_search_is_measured_as_it_searches(rng):
    plain = crowded(rng)
    corrected = (SearchSides(plain.target, plain.source), SearchSides(plain.source, plain.target))
    swapped = Space(plain.source, plain.target, plain.codes, corrected=corrected)
    for one, other in ((HUBNESS_FORTH, HUBNESS_BACK), (ANTIHUBS_FORTH, ANTIHUBS_BACK)):
        assert one.measure(swapped).value == other.measure(plain).value


@pytest.mark.parametrize("n", [20, 37, 1000])
def test_nulls_are_moments_of_a_binomial_count(n, rng):
    space = crowded(rng, n=n)
    law = stats.binom(n, K / n)
    counts = np.arange(n + 1)
    spread = (law.pmf(counts) * abs(counts - K)).sum()
    assert HUBNESS_FORTH.measure(space).null.value == pytest.approx(law.stats("s"), abs=1e-9)
    assert ANTIHUBS_BACK.measure(space).null.value == pytest.approx(law.pmf(0))
    assert ROBIN_HOOD.measure(space).null.value == pytest.approx(spread / (2 * K))


def test_a_random_order_comes_out_at_the_nulls(rng):
    n = 400
    seen = []
    for _ in range(20):
        picked = torch.rand(n, n, generator=rng).topk(K, dim=1).indices
        counts = torch.bincount(picked.flatten(), minlength=n).numpy()
        seen.append((stats.skew(counts), abs(counts - K).sum() / (2 * counts.sum())))
    nulls = [probe.measure(crowded(rng, n=n)).null.value for probe in (HUBNESS_FORTH, ROBIN_HOOD)]
    means, errors = np.mean(seen, axis=0), np.std(seen, axis=0) / math.sqrt(len(seen))
    assert (abs(means - nulls) < 4 * errors).all()


@pytest.mark.parametrize("probe", PROBES, ids=name_of)
@pytest.mark.parametrize("groups", [None, 40])
def test_all_pairs_once_give_the_value_back_and_draws_lie_around_it(probe, groups, rng):
    space = crowded(rng, groups=groups)
    measured = probe.measure(space)
    once = measured.replicate(torch.ones(1, space.n, dtype=torch.float64))
    assert once.item() == pytest.approx(measured.value)
    draws = torch.cat([measured.replicate(w) for w in resamples(space.codes, 500, rng)])
    assert draws.isfinite().all()
    assert abs(draws.mean().item() - measured.value) < 4 * draws.std().item() / math.sqrt(500)


def weighted(hits, codes, weights, summary):
    """A summary of counts when pairs weigh differently, an item's own queries apart."""
    found = torch.zeros(len(codes), len(codes), dtype=torch.float64).scatter_(1, hits, 1.0)
    asking = torch.where(codes[:, None] == codes, torch.ones_like(found), weights[:, None])
    counts = (asking * found).sum(dim=0)
    mean = (weights * counts).sum() / weights.sum()
    moments = [(weights * (counts - mean) ** p).sum() / weights.sum() for p in (2, 3)]
    if summary == "skewness":
        return (moments[1] / moments[0] ** 1.5).item()
    return ((weights * (counts - mean).abs()).sum() / weights.sum() / (2 * mean)).item()


@pytest.mark.parametrize("groups", [None, 40])
@pytest.mark.parametrize(
    ("probe", "summary"),
    [(HUBNESS_FORTH, "skewness"), (ROBIN_HOOD, "robin")],
    ids=["skewness", "robin"],
)
def test_the_influence_of_a_group_is_the_derivative_of_the_weighted_summary(
    probe, summary, groups, rng
):
    space = crowded(rng, n=80, groups=groups)
    # Only in one direction, so that one table of hits decides.
    search = space.searches[0]
    space = Space(*search, space.codes, corrected=(search, search))
    hits, step = space.retrieved[0], 1e-6
    slopes = []
    for inside in groups_of(space):
        low, high = (
            weighted(hits, space.codes, 1 + sign * step * inside, summary) for sign in (-1, 1)
        )
        slopes.append((high - low) / (2 * step))
    # Draws weigh as much in sum as all pairs once, so only differences between slopes matter.
    expected = torch.tensor(slopes) - torch.tensor(slopes).mean()
    torch.testing.assert_close(influences(probe.measure(space), space), expected)


def groups_of(space):
    return [(space.codes == code).double() for code in range(int(space.codes.max()) + 1)]


def influences(measured, space):
    """What a report gives for draws of one group alone, as its part of the derivative."""
    alone = measured.replicate(torch.stack(groups_of(space))) - measured.value
    return (alone * torch.bincount(space.codes) / space.n).float()


@pytest.mark.parametrize("groups", [None, 40])
def test_the_influence_of_a_group_on_antihubs_is_what_goes_without_it(groups, rng):
    space = crowded(rng, groups=groups)
    measured = ANTIHUBS_FORTH.measure(space)
    hits = space.retrieved[0]
    assert measured.value > 0.02
    missed = torch.bincount(hits.flatten(), minlength=space.n) == 0
    changes = []
    for inside in groups_of(space):
        others = torch.bincount(hits[inside == 0].flatten(), minlength=space.n) == 0
        lost = ((others & ~missed) * (1 - inside)).sum()
        changes.append((((missed.double() - measured.value) * inside).sum() - lost) / space.n)
    expected = (torch.stack(changes) - torch.stack(changes).mean()).float()
    torch.testing.assert_close(influences(measured, space), expected)


@pytest.mark.parametrize("probe", [HUBNESS_FORTH, ANTIHUBS_FORTH, ROBIN_HOOD], ids=name_of)
def test_draws_spread_as_fresh_pairs_do(probe):
    # The Robin Hood index errs on the wide side: an item's neighbours make room for it.
    assert 0.7 < spread_ratio(probe, partial(crowded, n=250), repeats=40) < 2.0


def test_equal_counts_have_no_skewness_and_no_spread():
    turns = torch.arange(40) / 40 * 2 * math.pi
    # Off the grid by a little, so that no two neighbours tie.
    queries = torch.stack([(turns + 0.01).cos(), (turns + 0.01).sin()], dim=1)
    gallery = torch.stack([turns.cos(), turns.sin()], dim=1)
    measured = HUBNESS_FORTH.measure(Space(queries, gallery, torch.arange(40)))
    assert measured.value == 0.0
    weights = torch.eye(40, dtype=torch.float64)
    assert measured.replicate(weights).tolist() == [0.0] * 40
