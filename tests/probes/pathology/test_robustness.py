"""Best answers under noise and compression: planted flips, codes by hand, exact cases."""

import warnings
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.inputs import UnreliableEstimate
from probes.pathology import robustness
from probes.pathology.robustness import (
    INT8_AGREEMENT,
    NOISE_AGREEMENT,
    PQ_AGREEMENT,
    int8_agreement,
    noise_agreement,
    pq_agreement,
    top_1_agreement,
)
from probes.space import SearchSides, Space
from tests.probes.paired_clouds import spread_ratio

PROBES = [
    (NOISE_AGREEMENT, noise_agreement),
    (INT8_AGREEMENT, int8_agreement),
    (PQ_AGREEMENT, pq_agreement),
]
few = pytest.mark.filterwarnings("ignore::probes.inputs.UnreliableEstimate")


def views(rng, n=80, d=16, *, groups=None, noise=1.0):
    """Unit-norm pairs with a shared part, close enough to each other to be confused."""
    shared = torch.randn(n, d, generator=rng)
    sides = (shared + noise * torch.randn(n, d, generator=rng) for _ in range(2))
    codes = torch.arange(n) if groups is None else torch.arange(n) % groups
    return Space(*(F.normalize(side, dim=1) for side in sides), codes, seed=7)


def few_rows_allowed():
    return warnings.catch_warnings(action="ignore", category=UnreliableEstimate)


def best(queries, gallery):
    return (np.asarray(queries) @ np.asarray(gallery).T).argmax(axis=1)


def test_agreement_is_the_share_of_best_rows_that_stay():
    queries, gallery = torch.eye(4), torch.eye(4)
    assert top_1_agreement(queries, gallery, queries, gallery) == 1.0
    assert top_1_agreement(queries, gallery, queries, gallery[[0, 1, 3, 2]]) == 0.5
    assert top_1_agreement(queries, gallery, queries[[1, 0, 3, 2]], gallery) == 0.0
    wider = torch.cat([queries, torch.zeros(4, 3)], dim=1)
    assert top_1_agreement(queries, gallery, wider, wider.double()) == 1.0


def test_of_rows_that_tie_the_first_is_the_best():
    same = torch.ones(3, 2)
    queries = torch.eye(2)
    moved = torch.tensor([[1.0, 1], [1, 1], [2, 2]])
    assert top_1_agreement(queries, same, queries, same) == 1.0
    assert top_1_agreement(queries, same, queries, moved) == 0.0


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 9), st.integers(0, 2**31))
def test_agreement_is_that_of_argmax_and_lies_in_its_range(q, m, d, seed):
    rng = np.random.default_rng(seed)
    queries, gallery = rng.normal(size=(q, d)), rng.normal(size=(m, d))
    others = rng.normal(size=(q, d)), rng.normal(size=(m, d))
    expected = np.mean(best(queries, gallery) == best(*others))
    assert top_1_agreement(queries, gallery, *others) == pytest.approx(expected)
    assert noise_agreement(queries, gallery, sigma=1e-9) == 1
    step = np.abs(gallery).max(axis=1, keepdims=True) / 127
    stays = best(queries, gallery) == best(queries, np.round(gallery / step) * step)
    assert int8_agreement(queries, gallery) == pytest.approx(np.mean(stays))
    with few_rows_allowed():
        # All rows become their mean and tie, and the first one wins.
        alike = pq_agreement(queries, gallery, codes=1, width=3)
    assert alike == pytest.approx(np.mean(best(queries, gallery) == 0))


def test_unrelated_orders_agree_by_chance(rng):
    sides = torch.randn(4, 3000, 12, generator=rng)
    assert top_1_agreement(sides[0], sides[1][:50], sides[2], sides[3][:50]) == pytest.approx(
        1 / 50, abs=0.012
    )


def test_little_noise_changes_nothing_and_much_leaves_chance(rng):
    space = views(rng, n=200)
    sides = space.source, space.target
    assert noise_agreement(*sides, sigma=1e-5) == 1.0
    shares = [noise_agreement(*sides, sigma=sigma) for sigma in (0.05, 0.2, 0.8, 30)]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] < 0.06
    assert noise_agreement(*sides, seed=1) == noise_agreement(*sides, seed=1)
    assert len({noise_agreement(*sides, sigma=0.5, seed=seed) for seed in range(4)}) > 1


def test_noise_has_the_length_asked_for_relative_to_each_vector(rng):
    x = torch.randn(400, 50, generator=rng) * torch.arange(1, 401)[:, None]
    noisy = robustness._with_noise(SearchSides(x, 2 * x), 0.3, 0)
    for before, after in zip((x, 2 * x), noisy, strict=True):
        lengths = (after - before).norm(dim=1) / before.norm(dim=1)
        assert lengths.square().mean().sqrt().item() == pytest.approx(0.3, rel=0.02)
        assert lengths.min() > 0.15
    assert not torch.equal(2 * noisy.queries, noisy.gallery)


@few
@pytest.mark.parametrize("measure", [noise_agreement, int8_agreement, pq_agreement])
def test_the_scale_of_the_vectors_plays_no_part(measure, rng):
    space = views(rng)
    value = measure(space.source.double(), space.target.double())
    assert measure(space.source.double() * 8, space.target.double() * 1e-3) == value
    assert measure(space.source.double().numpy(), space.target.double().numpy()) == value


def test_int8_rounds_to_127_steps_of_the_largest_magnitude():
    gallery = torch.tensor([[127.0, 0.4, -3.6], [-0.127, 0.0635 + 1e-4, 0.0]])
    stored = robustness._in_int8(SearchSides(torch.ones(1, 3), gallery)).gallery
    expected = torch.tensor([[127.0, 0, -4], [-0.127, 0.064, 0.0]])
    torch.testing.assert_close(stored, expected)
    # 0.4 is lost: the second query cannot tell the two rows apart any more, and the first can.
    gallery = torch.tensor([[127.0, 0.0], [126.0, 0.4], [0.0, -1.0]])
    queries = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert int8_agreement(queries, gallery) == 0.5


@few
def test_product_quantisation_is_exact_with_a_centroid_for_every_row(rng):
    space = views(rng, n=60)
    assert pq_agreement(space.source, space.target, codes=60) == 1.0
    assert pq_agreement(space.source, space.target, codes=2) < 0.9


def test_planted_centroids_are_found_in_every_run(rng):
    # Each run of 2 columns (the last has 1) takes one of 3 values: 3 centroids lose nothing.
    table = 10 * torch.randn(3, 3, 2, generator=rng)
    picked = torch.randint(3, (400, 3), generator=rng)
    runs = [table[run][picked[:, run]] for run in range(3)]
    gallery = torch.cat(runs, dim=1)[:, :5]
    exact = []
    for seed in range(12):
        decoded = robustness._in_codes(SearchSides(gallery, gallery), 2, 3, seed).gallery
        assert decoded.shape == gallery.shape
        exact += [torch.allclose(decoded[:, a:b], gallery[:, a:b]) for a, b in ((0, 2), (4, 5))]
    # From rows that start in one cluster, k-means may stay there.
    assert sum(exact) > 3


def test_each_row_is_replaced_by_the_nearest_centroid_of_its_run(rng):
    gallery = torch.randn(90, 7, generator=rng, dtype=torch.float64)
    decoded = robustness._in_codes(SearchSides(gallery, gallery), 3, 5, 0).gallery
    for a, b in ((0, 3), (3, 6), (6, 7)):
        centroids = decoded[:, a:b].unique(dim=0)
        assert len(centroids) <= 5
        apart = torch.cdist(gallery[:, a:b], centroids)
        kept = (decoded[:, a:b, None] - gallery[:, a:b, None]).norm(dim=1).flatten()
        torch.testing.assert_close(kept, apart.min(dim=1).values)
        # k-means puts centroids nearer than the rows it starts from.
        start = torch.randperm(90, generator=torch.Generator().manual_seed(0))[:5]
        first = torch.cdist(gallery[:, a:b], gallery[start, a:b]).min(dim=1).values
        assert kept.square().sum() < 0.9 * first.square().sum()


def test_chunks_of_runs_change_nothing(rng, monkeypatch):
    gallery = torch.randn(70, 10, generator=rng)
    whole = robustness._in_codes(SearchSides(gallery, gallery), 3, 4, 0).gallery
    monkeypatch.setattr(robustness, "_ENTRIES", 300)
    torch.testing.assert_close(
        robustness._in_codes(SearchSides(gallery, gallery), 3, 4, 0).gallery, whole
    )


def test_a_centroid_that_loses_all_its_rows_stays_and_can_win_some_back():
    # Both centroids start on the common row, so one is empty until the other has moved.
    gallery = torch.tensor([[101.0]] * 700 + [[100.2]] * 5)
    decoded = robustness._in_codes(SearchSides(gallery, gallery), 1, 2, 0).gallery
    torch.testing.assert_close(decoded, gallery)
    assert pq_agreement(torch.eye(2), torch.tensor([[1.0, 2.0]]).repeat(700, 1)) == 1.0


def test_few_rows_for_a_codebook_are_announced(rng):
    space = views(rng, n=77)
    with pytest.warns(UnreliableEstimate, match="2 centroids fitted to 77 rows.*at least 78"):
        pq_agreement(space.source, space.target, codes=2)
    pq_agreement(space.source, space.target, codes=1)
    assert PQ_AGREEMENT.measure(space).notes[0].startswith("codebooks of 16 centroids fitted to 77")
    assert PQ_AGREEMENT.measure(views(rng, n=624)).notes == ()


def test_what_cannot_be_searched_or_coded_is_refused(rng):
    space = views(rng)
    sides = space.source, space.target
    for measure in (noise_agreement, int8_agreement, pq_agreement):
        with pytest.raises(ValueError, match="floating-point matrices"), few_rows_allowed():
            measure(space.source, space.target[:, :5])
        with pytest.raises(ValueError, match="queries must be finite"), few_rows_allowed():
            measure(space.source * torch.nan, space.target)
    with pytest.raises(ValueError, match="sigma must be finite and above 0; got 0"):
        noise_agreement(*sides, sigma=0)
    with pytest.raises(ValueError, match="every row of gallery needs a direction; 1 of 80"):
        int8_agreement(space.source, space.target * (torch.arange(80) != 3)[:, None])
    with pytest.raises(ValueError, match=r"codes must lie in \[1, 80\]"):
        pq_agreement(*sides, codes=81)
    with pytest.raises(ValueError, match="width must be finite and at least 1; got 0"):
        pq_agreement(*sides, width=0)
    with pytest.raises(ValueError, match=r"row-matched.*\(80, 16\) and \(79, 16\)"):
        top_1_agreement(*sides, space.source[1:], space.target)
    with pytest.raises(ValueError, match=r"row-matched.*\(80, 16\) and \(79, 16\)"):
        top_1_agreement(*sides, space.source, space.target[1:])


@few
@pytest.mark.parametrize(("probe", "measure"), PROBES, ids=lambda p: getattr(p, "name", ""))
def test_probes_average_the_functions_over_both_searches(probe, measure, rng):
    space = views(rng, noise=2.0)
    seed = {} if measure is int8_agreement else {"seed": space.seed}
    forth = measure(space.source, space.target, **seed)
    back = measure(space.target, space.source, **seed)
    found = probe.measure(space)
    assert found.value == pytest.approx((forth + back) / 2)
    assert found.null.value == 1 / 80
    assert found.rows is None
    once = torch.ones(1, 80, dtype=torch.float64)
    assert found.replicate(once).item() == pytest.approx(found.value)


@pytest.mark.parametrize(("probe", "measure"), PROBES, ids=lambda p: getattr(p, "name", ""))
def test_large_spaces_are_sampled_and_corrected_searches_kept(probe, measure, rng, monkeypatch):
    monkeypatch.setattr(robustness, "SAMPLE", 50)
    plain = views(rng, groups=40, noise=2.0)
    bias = torch.rand(80, 1, generator=rng)
    corrected = tuple(
        SearchSides(torch.cat([q, torch.ones(80, 1)], 1), torch.cat([g, -bias], 1))
        for q, g in plain.searches
    )
    space = Space(plain.source, plain.target, plain.codes, seed=7, corrected=corrected)
    found = probe.measure(space)
    assert len(found.rows) == 50
    seed = {} if measure is int8_agreement else {"seed": 7}
    with few_rows_allowed():
        shares = [measure(s.queries[found.rows], s.gallery[found.rows], **seed) for s in corrected]
    assert found.value == pytest.approx(sum(shares) / 2)
    assert found.null.value == 1 / 50


def test_draws_spread_as_fresh_pairs_do():
    assert 0.7 < spread_ratio(NOISE_AGREEMENT, partial(views, n=150, noise=2.0)) < 1.4
