"""Recall, reciprocal and median rank: as ``align`` has them, against random partners."""

import math

import pytest
import torch
import torch.nn.functional as F

from align.data.embeddings import PairedEmbeddings
from align.metrics import ranks as ranking
from align.metrics.chance import RandomOrder
from align.metrics.evaluation import evaluate
from align.scoring.inner_products import mutual_products
from probes.pairing.chance import _first_ranks
from probes.pairing.retrieval import (
    MEAN_RECIPROCAL_RANK,
    MEDIAN_RANK,
    RECALL_AT_1,
    RECALL_AT_5,
    RECALL_AT_10,
    mean_reciprocal_rank,
    median_rank,
    recall,
    recall_at_k,
    recall_curve,
)
from probes.space import SearchSides, Space
from tests.helpers.planted import rotation
from tests.probes.paired_clouds import (
    UNEVEN,
    crossing,
    names,
    noisy_pairs,
    space_of,
    strangers,
    weights_of,
)

PROBES = (RECALL_AT_1, RECALL_AT_5, RECALL_AT_10, MEAN_RECIPROCAL_RANK, MEDIAN_RANK)
FUNCTIONS = {
    "recall_at_1": lambda x, y, groups=None: recall_at_k(x, y, groups=groups),
    "recall_at_5": lambda x, y, groups=None: recall_at_k(x, y, k=5, groups=groups),
    "recall_at_10": lambda x, y, groups=None: recall_at_k(x, y, k=10, groups=groups),
    "mean_reciprocal_rank": mean_reciprocal_rank,
    "median_rank": median_rank,
}
CODES = {"single": None, "groups": torch.arange(60) // 3 % 17, "uneven": UNEVEN}


class Same:
    """Leaves both sides where they are."""

    def queries(self, x, /, *, side):
        return x.vectors

    gallery = queries


@pytest.fixture(params=CODES, ids=str)
def space(request, rng):
    codes = CODES[request.param]
    return space_of(*noisy_pairs(rng, 60 if codes is None else len(codes), noise=0.8), codes)


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_a_probe_gives_what_its_function_and_evaluate_give(probe, space):
    groups = names(space.codes)
    found = probe.measure(space)
    assert found.value == pytest.approx(
        FUNCTIONS[probe.name](space.source, space.target, groups=groups), rel=1e-12
    )
    paired = PairedEmbeddings.from_arrays(space.source, space.target, groups=groups)
    expected = evaluate(paired, Same()).mean[probe.name].value
    assert found.value == pytest.approx(expected, rel=1e-12)
    assert 0 < found.value != found.null.value


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_an_interval_is_that_of_evaluate(probe, space):
    """Spread of the replicates; evaluate draws the queries of both directions together as well."""
    groups = names(space.codes)
    paired = PairedEmbeddings.from_arrays(space.source, space.target, groups=groups)
    theirs = evaluate(paired, Same()).mean[probe.name]
    found = probe.measure(space)
    draws = found.replicate(weights_of(space.codes, 1000))
    low, high = draws.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    width = theirs.high - theirs.low
    assert low == pytest.approx(theirs.low, abs=0.15 * width + 1e-12)
    assert high == pytest.approx(theirs.high, abs=0.15 * width + 1e-12)
    ones = torch.ones(1, space.n, dtype=torch.float64)
    assert found.replicate(ones).item() == pytest.approx(found.value, rel=1e-12)


def test_a_curve_holds_recall_at_every_cut_off(space):
    groups = names(space.codes)
    curve = recall_curve(space.source, space.target, groups=groups)
    by_one = [
        recall_at_k(space.source, space.target, k=k, groups=groups) for k in range(1, space.n + 1)
    ]
    assert curve.tolist() == pytest.approx(by_one)
    assert curve.dtype == torch.float64
    assert curve[-1] == 1


def test_perfect_and_reversed_pairs_come_first_and_last(rng):
    points = torch.eye(12)
    assert recall_at_k(points, points) == mean_reciprocal_rank(points, points) == 1
    assert median_rank(points, points) == 1
    assert recall_curve(points, points).tolist() == [1.0] * 12
    assert recall_at_k(-points, points, k=11) == 0
    assert median_rank(-points, points) == 12
    assert mean_reciprocal_rank(-points, points) == pytest.approx(1 / 12)


def test_each_direction_counts_half():
    """Every source finds its target; every target but the first finds the first source."""
    source = torch.eye(4)
    source[0] = torch.tensor([10.0, 9, 9, 9])
    target = torch.eye(4)
    assert recall_at_k(source, target) == (1 + 1 / 4) / 2
    assert mean_reciprocal_rank(source, target) == (1 + (1 + 3 / 2) / 4) / 2
    assert median_rank(source, target) == (1 + 2) / 2
    assert recall_curve(source, target).tolist() == [5 / 8, 1, 1, 1]


def test_chance_for_tight_groups_is_that_of_groups_paired_at_random(rng):
    """Copies come together or not at all: a random order would give each of them a chance."""
    codes = torch.arange(60) // 3
    source, target = (
        F.normalize(side[codes] + 1e-3 * torch.randn(60, 8, generator=rng), dim=1)
        for side in torch.randn(2, 20, 8, generator=rng)
    )
    space = space_of(source, target, codes)
    by_hand = []
    for _ in range(300):
        paired = torch.randperm(20, generator=rng)
        forth = ranking.rank_positives(source, target, codes, paired[codes])
        back = ranking.rank_positives(target, source, paired[codes], codes)
        by_hand.append((ranking.recall_at_k(forth, 10) + ranking.recall_at_k(back, 10)) / 2)
    expected = sum(by_hand) / len(by_hand)
    # Ten places hold four groups of twenty at most; a random order finds one of three in 43 %.
    assert 0.16 < expected < 0.21
    assert RECALL_AT_10.measure(space).null.value == pytest.approx(expected, abs=0.015)
    assert RandomOrder.of(torch.full((60,), 3), 60).recall_at_k(10) == pytest.approx(0.43, abs=0.01)


def test_ranks_of_the_true_partners_are_those_of_the_ranking(rng):
    for codes in (torch.arange(20), torch.arange(20) // 2, UNEVEN):
        source, target = crossing(rng, 20)
        own = torch.arange(20)[None]
        for search, turned in (
            (SearchSides(source, target), False),
            (SearchSides(target, source), True),
        ):
            scores = mutual_products(*search)
            found = _first_ranks(scores, codes, own, turned=turned)[0]
            assert found.tolist() == ranking.rank_positives(*search, codes, codes).first.tolist()


@pytest.mark.parametrize("n", [24, 25])
def test_without_groups_nulls_are_the_known_ones(n, rng):
    space = space_of(*noisy_pairs(rng, n))
    assert MEDIAN_RANK.measure(space).null.value == (n + 1) / 2
    assert RECALL_AT_10.measure(space).null.value == pytest.approx(10 / n)
    harmonic = sum(1 / rank for rank in range(1, n + 1))
    assert MEAN_RECIPROCAL_RANK.measure(space).null.value == pytest.approx(harmonic / n)


@pytest.mark.parametrize("codes", [None, torch.arange(60) // 3], ids=["single", "threes"])
def test_on_noise_values_come_to_their_nulls_and_p_is_not_too_small(codes, rng):
    measured = []
    for seed in range(120):
        space = space_of(*strangers(rng, 60), codes, seed)
        measured.append([probe.measure(space) for probe in PROBES])
    for of_probe in zip(*measured, strict=True):
        values = torch.tensor([found.value for found in of_probe])
        error = values.std() / len(values) ** 0.5
        # The median of a sample is not unbiased for the median: half a rank of slack.
        slack = 0.5 if of_probe[0].null.value > 1 else 0.0
        assert abs(values.mean() - of_probe[0].null.value) < 4 * error + slack
        p = torch.tensor([found.null.p for found in of_probe])
        assert 0 < (p <= 0.05).float().mean() <= 0.11
        # Recall@1 takes few values, so that its p are larger; all others fill the interval.
        assert 0.22 < (p <= 0.4).float().mean() < 0.55


def test_p_is_small_where_pairs_are_found(rng):
    space = space_of(*noisy_pairs(rng, 100, noise=0.5))
    assert all(probe.measure(space).null.p < 0.01 for probe in PROBES)


def test_p_is_that_of_a_binomial_without_groups(rng):
    source, target = strangers(rng, 200)
    target[:4] = source[:4]
    space = space_of(source, target)
    found = RECALL_AT_1.measure(space)
    seen = math.ceil(found.value * 200)
    exact = sum(math.comb(200, r) * 199 ** (200 - r) for r in range(seen, 201)) / 200**200
    assert 0.001 < exact < 0.5
    assert found.null.p == pytest.approx(exact, abs=4 * (exact / 400) ** 0.5)


def test_one_large_group_that_finds_itself_is_one_piece_of_evidence():
    """Its 20 queries are right together: p must not count them one by one."""
    axes = torch.eye(21)
    source = torch.cat([axes[:1].repeat(20, 1), axes[1:]])
    target = torch.cat([axes[:1].repeat(20, 1), axes[1:].roll(1, 0)])
    found = RECALL_AT_1.measure(space_of(source, target, torch.arange(40).sub(19).clamp(min=0)))
    assert found.value == 0.5
    # Of 21 groups, the large one is paired with itself once in 21 times.
    assert 0.02 < found.null.p < 0.1


def test_a_corrected_search_is_measured_as_it_is_searched(rng):
    plain = space_of(*noisy_pairs(rng, 40, noise=0.5))
    spoiled = SearchSides(plain.source, plain.target.roll(1, 0))
    corrected = Space(
        plain.source, plain.target, plain.codes, corrected=(spoiled, plain.searches[1])
    )
    forth = ranking.rank_positives(*spoiled, plain.codes, plain.codes)
    back = ranking.rank_positives(*plain.searches[1], plain.codes, plain.codes)
    assert RECALL_AT_5.measure(corrected).value == pytest.approx(
        (ranking.recall_at_k(forth, 5) + ranking.recall_at_k(back, 5)) / 2
    )
    assert RECALL_AT_5.measure(corrected).value < RECALL_AT_5.measure(plain).value - 0.2


def test_pairs_may_come_in_any_order_and_any_rotation(rng):
    source, target = noisy_pairs(rng, 40)
    turn = rotation(8, rng)
    order = torch.randperm(40, generator=rng)
    for name, function in FUNCTIONS.items():
        value = function(source, target)
        assert function(source[order], target[order]) == pytest.approx(value), name
        assert function(source @ turn, target @ turn) == pytest.approx(value), name
        assert function(source.numpy(), 3 * target.numpy()) == pytest.approx(value), name


@pytest.mark.parametrize("k", [0, 7])
def test_a_cut_off_beyond_the_gallery_is_refused(k):
    with pytest.raises(ValueError, match=rf"k must lie in \[1, 6\], the gallery size; got {k}"):
        recall_at_k(torch.eye(6), torch.eye(6), k=k)


@pytest.mark.parametrize("function", [*FUNCTIONS.values(), recall_curve])
def test_sides_of_two_widths_or_one_group_are_refused(function):
    with pytest.raises(ValueError, match="got widths 6 and 5"):
        function(torch.eye(6), torch.eye(6)[:, :5])
    with pytest.raises(ValueError, match=r"row-matched matrices.*\(6, 6\) and \(5, 6\)"):
        function(torch.eye(6), torch.eye(6)[:5])
    with pytest.raises(ValueError, match="at least two groups"):
        function(torch.eye(6), torch.eye(6), groups=["a"] * 6)


def test_recall_is_the_share_of_all_partners_in_both_directions(space):
    groups = names(space.codes)
    forth, back = space.ranks
    for k in (1, 5, space.n):
        found = recall(space.source, space.target, k=k, groups=groups)
        assert found == pytest.approx((ranking.recall(forth, k) + ranking.recall(back, k)) / 2)
        assert found <= recall_at_k(space.source, space.target, k=k, groups=groups)
    assert found == 1
    with pytest.raises(ValueError, match="k must lie in"):
        recall(space.source, space.target, k=space.n + 1)
