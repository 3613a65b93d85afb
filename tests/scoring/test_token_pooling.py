"""Pooled tokens: planted clusters come back, counts hold, and scores move within their bound."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers.multi_vector_encoder.modules.token_pooling import (
    HierarchicalTokenPooling,
)

from align.data.multi_vector import FLOATS, MultiVector
from align.scoring import token_pooling
from align.scoring.kernels import reference
from align.scoring.token_pooling import pool_tokens

METHODS = ("ward", "kmeans")


def unit(*shape, rng, dtype=torch.float32):
    return F.normalize(torch.randn(*shape, generator=rng, dtype=dtype), dim=-1)


def planted(sizes, *, rng, d=16, noise=0.02):
    """Tokens near one orthogonal direction each, in mixed order, and the cluster of each token."""
    cluster = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    cluster = cluster[torch.randperm(len(cluster), generator=rng)]
    noisy = torch.eye(d)[cluster] + noise * torch.randn(len(cluster), d, generator=rng)
    return F.normalize(noisy, dim=1), cluster


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(5))
def test_planted_clusters_become_their_mean_directions_in_order_of_first_tokens(method, seed, rng):
    tokens, cluster = planted([1, 2, 3, 4, 5, 9], rng=rng)  # 24 tokens, 6 clusters
    pooled = pool_tokens(MultiVector.pack([tokens]), factor=4, method=method, seed=seed)
    order = list(dict.fromkeys(cluster.tolist()))
    means = torch.stack([tokens[cluster == each].mean(0) for each in order])
    torch.testing.assert_close(pooled[0], F.normalize(means, dim=1))


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=4),
    st.integers(2, 9),
    st.sampled_from(METHODS),
    st.integers(0, 1000),
    st.booleans(),
)
def test_each_item_keeps_its_tokens_divided_by_the_factor_rounded_up(
    lengths, factor, method, seed, repeated
):
    rng = torch.Generator().manual_seed(seed)
    # Few different tokens make ties, and fewer different tokens than clusters.
    items = [unit(2 if repeated else t, 4, rng=rng)[torch.arange(t) % 2 if repeated else ...]
             for t in lengths]  # fmt: skip
    pooled = pool_tokens(MultiVector.pack(items), factor=factor, method=method, seed=seed)
    assert pooled.lengths.tolist() == [-(-t // factor) for t in lengths]
    norms = torch.linalg.vector_norm(pooled.tokens, dim=1)
    torch.testing.assert_close(norms, torch.ones(len(norms)))


@pytest.mark.parametrize("method", METHODS)
def test_factor_one_changes_nothing(method, rng):
    documents = MultiVector.pack([unit(5, 8, rng=rng), unit(1, 8, rng=rng)])
    assert pool_tokens(documents, factor=1, method=method) is documents


@pytest.mark.parametrize("method", METHODS)
def test_a_factor_beyond_all_lengths_gives_the_mean_direction(method, rng):
    items = [unit(5, 8, rng=rng), unit(1, 8, rng=rng)]
    pooled = pool_tokens(MultiVector.pack(items), factor=100, method=method)
    assert pooled.lengths.tolist() == [1, 1]
    torch.testing.assert_close(pooled[0][0], F.normalize(items[0].mean(0), dim=0))
    torch.testing.assert_close(pooled[1], items[1])


@pytest.mark.parametrize("method", METHODS)
def test_each_item_is_pooled_on_its_own(method, rng):
    items = [unit(t, 8, rng=rng) for t in (7, 1, 12)]
    pooled = pool_tokens(MultiVector.pack(items), factor=3, method=method)
    # One token cannot be clustered in several ways, and Ward's method draws nothing.
    for row in (0, 1, 2) if method == "ward" else (0, 1):
        alone = pool_tokens(MultiVector.pack([items[row]]), factor=3, method=method)
        torch.testing.assert_close(pooled[row], alone[0])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("factor", [2, 3, 5])
def test_scores_change_by_no_more_than_tokens_move(method, factor, rng):
    documents = MultiVector.pack([unit(t, 16, rng=rng) for t in (20, 33, 1)])
    queries = MultiVector.pack([unit(6, 16, rng=rng) for _ in range(5)])
    pooled = pool_tokens(documents, factor=factor, method=method)
    before, after = (reference.maxsim(queries, each) for each in (documents, pooled))
    gaps = [torch.cdist(*pair) for pair in zip(documents, pooled, strict=True)]
    # A token's nearest direction is no farther than that of its cluster: a stricter bound.
    fall, rise = (torch.stack([gap.amin(side).max() for gap in gaps]) for side in (1, 0))
    assert bool((before - after <= 6 * fall + 1e-5).all())
    assert bool((after - before <= 6 * rise + 1e-5).all())
    assert not torch.allclose(before[:, :2], after[:, :2])
    torch.testing.assert_close(before[:, 2], after[:, 2])


@pytest.mark.parametrize("method", METHODS)
def test_repeated_tokens_cost_nothing_to_drop(method, rng):
    tokens = unit(6, 16, rng=rng)
    documents = MultiVector.pack([tokens.repeat(3, 1)])
    queries = MultiVector.pack([unit(4, 16, rng=rng)])
    pooled = pool_tokens(documents, factor=3, method=method)
    torch.testing.assert_close(pooled[0], tokens)
    torch.testing.assert_close(
        reference.maxsim(queries, pooled), reference.maxsim(queries, documents)
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("factor", [2, 4])
def test_clusters_keep_the_tokens_nearer_than_runs_of_neighbours_do(method, factor, rng):
    tokens = F.normalize(unit(12, 32, rng=rng).repeat(8, 1) + 0.1 * unit(96, 32, rng=rng), dim=1)
    kept = pool_tokens(MultiVector.pack([tokens]), factor=factor, method=method)[0]
    runs = F.normalize(tokens.reshape(-1, factor, 32).mean(1), dim=1)

    def loss(directions):
        return float((1 - (tokens @ directions.T).amax(1)).mean())

    assert loss(kept) < loss(runs) / 4


def test_wards_method_agrees_with_sentence_transformers_on_separate_clusters(rng):
    tokens, _ = planted([2, 3, 4, 5, 6], rng=rng)  # 20 tokens, 5 clusters
    theirs = HierarchicalTokenPooling(4, num_protected_tokens=0).pool([tokens])[0]
    ours = pool_tokens(MultiVector.pack([tokens]), factor=4)[0]
    assert theirs.shape == ours.shape
    nearest = (ours @ theirs.T).argmax(1)  # they leave the order to scipy
    assert sorted(nearest.tolist()) == list(range(5))
    torch.testing.assert_close(ours, theirs[nearest])


def test_the_merges_are_those_of_least_added_squared_distance(rng):
    tokens = unit(24, 3, rng=rng, dtype=torch.float64)
    pooled = pool_tokens(MultiVector.pack([tokens]), factor=6)[0]

    def added(one, other):
        """What merging adds to the squared distances from tokens to means (Ward 1963)."""
        gap = tokens[one].mean(0) - tokens[other].mean(0)
        return len(one) * len(other) / (len(one) + len(other)) * float(gap @ gap)

    clusters = [[token] for token in range(24)]
    while len(clusters) > 4:
        pairs = [(i, j) for i in range(len(clusters)) for j in range(i)]
        i, j = min(pairs, key=lambda pair: added(clusters[pair[0]], clusters[pair[1]]))
        clusters = [each for at, each in enumerate(clusters) if at not in (i, j)] + [
            clusters[i] + clusters[j]
        ]
    means = torch.stack([tokens[sorted(each)].mean(0) for each in sorted(clusters, key=min)])
    torch.testing.assert_close(pooled, F.normalize(means, dim=1), rtol=0, atol=1e-14)


def test_kmeans_ends_where_every_token_is_nearest_to_its_own_direction(rng):
    tokens = unit(40, 8, rng=rng)
    cluster = token_pooling._kmeans(tokens, 10, torch.Generator().manual_seed(3))
    assert cluster.bincount(minlength=10).min() >= 1
    means = torch.stack([tokens[cluster == each].mean(0) for each in range(10)])
    assert torch.equal((tokens @ F.normalize(means, dim=1).T).argmax(1), cluster)


def test_kmeans_depends_on_its_seed_and_on_nothing_else(rng):
    documents = MultiVector.pack([unit(60, 8, rng=rng)])
    state = torch.random.get_rng_state()
    first, again, other = (
        pool_tokens(documents, factor=6, method="kmeans", seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(first.tokens, again.tokens)
    assert not torch.equal(first.tokens, other.tokens)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("method", METHODS)
def test_of_tokens_that_cancel_the_first_stays(method):
    tokens = torch.tensor([[0.6, 0.8], [-0.6, -0.8]])
    pooled = pool_tokens(MultiVector.pack([tokens]), factor=2, method=method)
    torch.testing.assert_close(pooled[0], tokens[:1])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_the_dtype_stays_and_means_are_taken_wide(dtype, method, rng):
    tokens, _ = planted([2, 3, 3], rng=rng)
    documents = MultiVector.pack([tokens]).to(dtype=dtype)
    pooled = pool_tokens(documents, factor=3, method=method)
    assert pooled.tokens.dtype == dtype
    exact = pool_tokens(documents.to(dtype=torch.float64), factor=3, method=method)
    error = (pooled.tokens.double() - exact.tokens).abs().max()
    assert error <= torch.finfo(dtype).eps / 2 + 1e-7


def test_int8_items_are_pooled_as_what_they_stand_for_and_quantized_again(rng):
    tokens, _ = planted([2, 3, 3], rng=rng)
    int8 = MultiVector.pack([tokens, tokens[:5]]).quantized()
    pooled = pool_tokens(int8, factor=3)
    wide = pool_tokens(int8.to(dtype=torch.float32), factor=3)
    assert torch.equal(pooled.tokens, wide.quantized().tokens)
    assert torch.equal(pooled.scales, wide.quantized().scales)


@pytest.mark.parametrize("shift", [1e-7, 1e-6, 1e-5])
@pytest.mark.parametrize("seed", range(4))
def test_rounding_decides_nothing_among_tokens_equally_far_from_each_other(shift, seed, rng):
    """Turned axes are equally far apart on paper, as the axes themselves are in floats too."""
    exact = torch.eye(12, 16)
    turned = exact @ torch.linalg.qr(torch.randn(16, 16, generator=rng)).Q
    noisy = F.normalize(turned + shift / 4 * torch.randn(12, 16, generator=rng), dim=1)

    def clusters(tokens):
        generator = torch.Generator().manual_seed(seed)
        return token_pooling._ward(tokens, 4), token_pooling._kmeans(tokens, 4, generator)

    for expected, found in zip(clusters(exact), clusters(noisy), strict=True):
        assert torch.equal(expected, found)


@pytest.mark.parametrize("method", METHODS)
def test_no_items_stay_no_items(method):
    none = MultiVector(torch.zeros(0, 4), torch.zeros(1, dtype=torch.int64))
    for documents in (none, none.quantized()):
        pooled = pool_tokens(documents, factor=3, method=method)
        assert (len(pooled), pooled.dim, pooled.tokens.dtype) == (0, 4, documents.tokens.dtype)


def test_pooling_keeps_no_graph(rng):
    tokens = unit(6, 4, rng=rng).requires_grad_()
    assert not pool_tokens(MultiVector.pack([tokens]), factor=2).tokens.requires_grad


@pytest.mark.parametrize("factor", [0, -2])
def test_a_factor_below_one_is_refused(factor, rng):
    with pytest.raises(ValueError, match=rf"factor must be finite and at least 1; got {factor}"):
        pool_tokens(MultiVector.pack([unit(3, 4, rng=rng)]), factor=factor)


def test_another_method_is_refused(rng):
    with pytest.raises(ValueError, match='method must be "ward" or "kmeans"; got \'average\''):
        pool_tokens(MultiVector.pack([unit(3, 4, rng=rng)]), factor=2, method="average")


@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("bad", [0.0, 2.0, float("nan")])
def test_tokens_without_unit_norm_are_refused_by_item(bad, factor, rng):
    documents = MultiVector.pack([unit(t, 4, rng=rng) for t in (2, 1, 3)])
    documents.tokens[3] *= bad
    documents.tokens[4] *= bad
    with pytest.raises(ValueError, match=rf"2 of 6 have not.*norm {bad:.4g}, in items \[2\]"):
        pool_tokens(documents, factor=factor)
