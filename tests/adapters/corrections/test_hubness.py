import math

import pytest
import torch
import torch.nn.functional as F

from align.adapters.corrections import hubness
from align.adapters.corrections.hubness import CSLS, NNN, BalancedSoftmax, InvertedSoftmax, biases


@pytest.fixture
def scores(rng):
    """Similarities of 12 gallery items to 7 queries and to a reference set of 20 queries."""
    both = 2 * torch.rand(27, 12, generator=rng, dtype=torch.float64) - 1
    return both[:7], both[7:]


def test_nnn_is_alpha_times_the_mean_of_the_k_nearest():
    similarities = torch.tensor([[0.1, 0.9, 0.5], [0.3, 0.3, -0.6]])
    assert NNN(2, 0.5)(similarities).tolist() == pytest.approx([0.35, 0.15])


def test_nnn_takes_the_whole_reference_if_it_is_small():
    assert NNN(99, 1.0)(torch.tensor([[0.2, 0.4]])).tolist() == pytest.approx([0.3])


def test_folded_csls_ranks_as_the_full_formula_for_each_query(scores):
    queries, reference = scores
    # CSLS(q, g) = 2 s - r(q) - r(g), r(g) the mean similarity of g to its k nearest queries.
    r_gallery = reference.topk(5, dim=0).values.mean(dim=0)
    r_queries = queries.topk(5, dim=1).values.mean(dim=1, keepdim=True)
    full = 2 * queries - r_queries - r_gallery
    folded = queries - CSLS(5)(reference.T)
    assert folded.argsort(dim=1).equal(full.argsort(dim=1))
    assert not queries.argsort(dim=1).equal(full.argsort(dim=1))


def test_folded_inverted_softmax_ranks_as_the_softmax_over_queries(scores):
    queries, reference = scores
    full = torch.exp(9 * queries) / torch.exp(9 * reference).sum(dim=0)
    folded = queries - InvertedSoftmax(9.0)(reference.T)
    assert folded.argsort(dim=1).equal(full.argsort(dim=1))
    # The bias is a mean, so it does not grow with the reference.
    twice = InvertedSoftmax(9.0)(torch.cat([reference, reference]).T)
    torch.testing.assert_close(twice, InvertedSoftmax(9.0)(reference.T))


def test_a_reference_of_equal_similarities_gives_that_similarity_as_bias():
    flat = torch.full((2, 6), 0.25)
    assert InvertedSoftmax(7.0)(flat).tolist() == pytest.approx([0.25, 0.25])
    assert NNN(3, 1.0)(flat).tolist() == [0.25, 0.25]
    assert CSLS(3)(flat).tolist() == [0.125, 0.125]


def test_a_planted_hub_gets_the_largest_bias(rng):
    reference = 0.1 * torch.randn(10, 30, generator=rng)
    reference[4] += 0.5
    for correction in (NNN(5, 0.75), CSLS(5), InvertedSoftmax(10.0)):
        assert correction(reference).argmax() == 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NNN(0, 1.0), "k must be finite and at least 1; got 0"),
        (lambda: NNN(1, -0.5), "alpha must be finite and at least 0; got -0.5"),
        (lambda: CSLS(0), "k must be finite and at least 1; got 0"),
        (lambda: InvertedSoftmax(0.0), "sharpness must be finite and above 0; got 0"),
        (lambda: InvertedSoftmax(math.inf), "sharpness must be finite and above 0; got inf"),
        (lambda: InvertedSoftmax(math.nan), "sharpness must be finite and above 0; got nan"),
    ],
)
def test_settings_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("columns", [3, 40])
def test_biases_that_share_a_search_are_those_of_each_correction(columns, rng):
    similarities = torch.rand(7, columns, generator=rng) * 2 - 1
    corrections = (CSLS(10), NNN(16, 0.5), InvertedSoftmax(20.0), NNN(32, 0.75))
    for few in (corrections, corrections[2:3], corrections[:1]):
        found = biases(similarities, few)
        assert all(a.equal(b(similarities)) for a, b in zip(found, few, strict=True))


def test_a_sharp_inverted_softmax_does_not_overflow():
    found = InvertedSoftmax(1e4)(torch.tensor([[0.5, 1.0], [-1.0, -1.0]]))
    torch.testing.assert_close(found, torch.tensor([1 - math.log(2) / 1e4, -1.0]))


def scaled_by_loop(kernel, rounds):
    """Weights of queries under which they and the items weigh the same, one at a time."""
    queries, items = [1.0] * len(kernel), [1.0] * len(kernel[0])
    for _ in range(rounds):
        for j in range(len(items)):
            items[j] = 1 / sum(q * row[j] for q, row in zip(queries, kernel, strict=True))
        for i, row in enumerate(kernel):
            queries[i] = 1 / sum(u * each for u, each in zip(items, row, strict=True))
    return torch.tensor(queries, dtype=torch.float64) / (sum(queries) / len(queries))


def test_handicaps_are_those_of_sinkhorn_scaling_in_a_plain_loop(rng):
    queries, items = (unit(torch.randn(9, 4, generator=rng, dtype=torch.float64)) for _ in "ab")
    expected = scaled_by_loop(torch.exp(6 * queries @ items.T).tolist(), hubness.ROUNDS)
    found = BalancedSoftmax(6.0).handicaps(queries, items)
    torch.testing.assert_close(torch.exp(-6 * found), expected)


def test_a_query_that_is_near_to_everything_is_handicapped_most(rng):
    items = unit(0.3 * torch.randn(30, 8, generator=rng) + torch.eye(8)[0])
    queries = unit(torch.randn(30, 8, generator=rng))
    queries[7] = torch.eye(8)[0]
    found = BalancedSoftmax(10.0).handicaps(queries, items)
    assert found.argmax() == 7 and found.isfinite().all()


def test_equal_handicaps_leave_an_inverted_softmax():
    """Queries on a ring of items are alike, so that none is nearer than its share."""
    angles = torch.arange(12, dtype=torch.float64) * torch.pi / 6
    ring = torch.stack([angles.cos(), angles.sin()], dim=1)
    balanced = BalancedSoftmax(7.0)
    found = balanced.handicaps(ring, ring)
    torch.testing.assert_close(found, torch.zeros(12, dtype=torch.float64))
    assert balanced(ring @ ring.T).equal(InvertedSoftmax(7.0)(ring @ ring.T))


def test_only_some_of_many_items_are_shared(monkeypatch, rng):
    queries, items = (unit(torch.randn(20, 4, generator=rng)) for _ in "ab")
    monkeypatch.setattr(hubness, "SHARERS", 8)
    expected = BalancedSoftmax(5.0).handicaps(queries, items[::3])
    assert BalancedSoftmax(5.0).handicaps(queries, items).equal(expected)


def test_handicaps_are_finite_however_sharp(rng):
    queries, items = (unit(torch.randn(50, 3, generator=rng)) for _ in "ab")
    assert BalancedSoftmax(1e6).handicaps(queries, items).isfinite().all()


def unit(x):
    return F.normalize(x, dim=1)
