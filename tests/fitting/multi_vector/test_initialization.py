"""Meta tokens before any training: reductions, clusters and canonical directions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA

from align.adapters.closed_form.rcca import rcca
from align.adapters.maps.linear import directions
from align.adapters.multi_vector.aspects import Heads, Resampler, Selector, TokenAspects
from align.data.embeddings import PairedEmbeddings
from align.data.multi_vector import MultiVector
from align.data.token_pairs import TokenPairs
from align.fitting.multi_vector import initialization as meta_start
from align.fitting.multi_vector.initialization import Reduced, Start, aspects, reduced
from tests.helpers.meta_heads import random_tokens
from tests.helpers.planted import chance, mean_reciprocal_rank, rotation, shared_factors, unit
from tests.helpers.planted_tokens import needles

ALL = torch.arange(40)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def steep_tokens(n, d, rng):
    """Tokens off centre, whose axes have spectra far enough apart to be told one by one."""
    tokens = random_tokens(n, d, rng)
    scales = 0.7 ** torch.arange(d)
    offset = torch.randn(d, generator=rng)
    return MultiVector((tokens.tokens * scales) @ rotation(d, rng) + offset, tokens.offsets)


def paired(rng, *, widths=(8, 6), n=40):
    """Pairs with token states of these widths; ``None`` for a side without."""
    pooled = PairedEmbeddings.from_arrays(*shared_factors(n, (6, 5), shared=3, noise=0.5))
    sides = [None if d is None else steep_tokens(n, d, rng) for d in widths]
    return TokenPairs(pooled, *sides)


def left_of(tokens):
    """What a reduction leaves of token states before it projects them, and their mean."""
    rows = unit(tokens.tokens)
    return unit(rows - rows.mean(dim=0)), rows.mean(dim=0)


def strongest_axes(rows, width):
    """Principal axes by scikit-learn, ``(d, width)``; mirrored rows have their mean at zero."""
    found = PCA(n_components=width).fit(torch.cat([rows, -rows]).numpy())
    return torch.from_numpy(found.components_).T.to(rows.dtype)


def assert_same_axes(found, expected):
    """Columns agree one by one, up to sign."""
    cosines = (found * expected).sum(dim=0).abs()
    torch.testing.assert_close(cosines, torch.ones_like(cosines), atol=1e-4, rtol=0)


def test_a_reduction_is_the_mean_direction_and_the_principal_axes_of_what_is_left(rng):
    data = paired(rng)
    cut = reduced(data, width=4, generator=seeded())
    for tokens, reduction, states in zip(
        (data.source, data.target), cut.reductions, cut.tokens, strict=True
    ):
        left, mean = left_of(tokens)
        torch.testing.assert_close(reduction.mean, mean)
        assert_same_axes(reduction.basis, strongest_axes(left, 4))
        torch.testing.assert_close(reduction.basis.T @ reduction.basis, torch.eye(4))
        torch.testing.assert_close(states.tokens, unit(left @ reduction.basis))
        assert states.offsets.equal(tokens.offsets)


def test_sides_of_one_token_width_share_their_axes_but_not_their_means(rng):
    data = paired(rng, widths=(8, 8))
    first, second = reduced(data, width=3, generator=seeded()).reductions
    assert first.basis.equal(second.basis)
    assert (first.mean - second.mean).norm() > 0.1
    both = torch.cat([left_of(data.source)[0], left_of(data.target)[0]])
    assert_same_axes(first.basis, strongest_axes(both, 3))


def test_a_width_beyond_that_of_the_states_keeps_all_axes(rng):
    cut = reduced(paired(rng), width=128, generator=seeded())
    assert [states.dim for states in cut.tokens] == [8, 6]


def test_a_reduction_looks_at_no_pairing(rng):
    data = paired(rng, widths=(8, 8))
    shuffled = TokenPairs(
        data.pooled, data.source, data.target.take(torch.randperm(40, generator=rng))
    )
    a, b = (reduced(each, width=3, generator=seeded()).reductions[1] for each in (data, shuffled))
    torch.testing.assert_close(a.mean, b.mean)
    assert_same_axes(a.basis, b.basis)


@pytest.mark.parametrize(
    ("widths", "ways"),
    [((8, 6), [(), (0,), (1,), (0, 1)]), ((None, 6), [(), (1,)]), ((None, None), [()])],
    ids=str,
)
def test_only_sides_with_token_states_can_show_them(widths, ways, rng):
    cut = reduced(paired(rng, widths=widths), width=3, generator=seeded())
    assert list(cut.selections()) == ways


@pytest.mark.parametrize("select", [(0,), (1,), (0, 1)], ids=str)
def test_a_selecting_side_shows_its_own_states_through_the_same_map(select, rng):
    cut = reduced(paired(rng), width=4, generator=seeded())
    plain = aspects(cut, ALL, Start("paired", 5.0, 0.5), [1, 2], seeded())
    found = aspects(cut, ALL, Start("paired", 5.0, 0.5, select), [1, 2], seeded())
    for side, (part, attending) in enumerate(zip(found, plain, strict=True)):
        assert isinstance(part.resampler, Selector if side in select else Resampler)
        assert part.count == 3 and part.resampler.weight.equal(attending.resampler.weight)


def test_a_side_without_token_states_is_left_alone(rng):
    data = paired(rng, widths=(None, 8))
    cut = reduced(data, width=3, generator=seeded())
    assert cut.reductions[0] is None and cut.tokens[0] is None and cut.taken(0, ALL) is None
    assert cut.tokens[1].dim == 3 and cut.pairs is data
    assert cut.taken(1, ALL[5:7]).tokens.equal(cut.tokens[1].take([5, 6]).tokens)
    assert cut.pooled(0).equal(data.pooled.source) and cut.pooled(1).equal(data.pooled.target)


@pytest.mark.parametrize(
    ("widths", "kinds"),
    [
        ((8, 8), ("shared", "paired")),
        ((8, 6), ("paired",)),
        ((8, None), ("paired",)),
        ((None, None), ("paired",)),
    ],
    ids=str,
)
def test_only_token_states_of_one_width_can_start_shared(widths, kinds, rng):
    assert reduced(paired(rng, widths=widths), width=3, generator=seeded()).kinds() == kinds


def test_many_token_states_are_sampled_by_whole_items(rng, monkeypatch):
    data = paired(rng, widths=(8, None))
    monkeypatch.setattr(meta_start, "SAMPLE", len(data.source.tokens) // 2)
    means = [reduced(data, width=3, generator=seeded(s)).reductions[0].mean for s in (0, 0, 1)]
    picked = torch.randperm(40, generator=seeded())[:20].sort().values
    assert means[0].equal(unit(data.source.take(picked).tokens).mean(dim=0))
    assert means[0].equal(means[1]) and not means[0].equal(means[2])


def clustered(rng, *, clusters=4, n=40, per_item=6, spread=0.05):
    """Token pairs whose reduced source states lie near known directions."""
    centres = rotation(5, rng)[:clusters]
    which = torch.randint(clusters, (n, per_item), generator=rng)
    states = F.normalize(
        centres[which] + spread * torch.randn(n, per_item, 5, generator=rng), dim=2
    )
    pooled = PairedEmbeddings.from_arrays(*shared_factors(n, (6, 5), shared=3, noise=0.5))
    tokens = MultiVector.from_equal(states)
    cut = reduced(TokenPairs(pooled, tokens, tokens), width=5, generator=seeded())
    return centres, Reduced(cut.pairs, cut.reductions, (tokens, tokens))


def test_planted_clusters_are_found(rng):
    centres, data = clustered(rng)
    part, _ = aspects(data, ALL, Start("shared", 1.0, 0.5), [12], seeded())
    queries = part.resampler.queries.detach()
    torch.testing.assert_close(queries.norm(dim=1), torch.ones(12))
    assert (centres @ queries.T).amax(dim=1).min() > 0.995


def test_clusters_are_a_fixed_point_of_spherical_k_means(rng):
    rows = unit(torch.randn(300, 4, generator=rng) + 2 * torch.eye(4).repeat(75, 1))
    centres = meta_start._spherical_k_means(rows, 4, seeded())
    nearest = (rows @ centres.T).argmax(dim=1)
    again = torch.stack([unit(rows[nearest == c].sum(dim=0)[None])[0] for c in range(4)])
    torch.testing.assert_close(centres, again)


def test_a_centre_that_attracts_nothing_stays_finite():
    rows = torch.eye(3)[[0, 0, 0, 1]]
    centres = meta_start._spherical_k_means(rows, 6, seeded())
    torch.testing.assert_close(centres.norm(dim=1), torch.ones(6))


def test_each_count_is_a_clustering_of_its_own(rng):
    _, data = clustered(rng)
    part, other = aspects(data, ALL, Start("shared", 10.0, 0.5), [1, 2, 4], seeded())
    queries = part.resampler.queries.detach()
    assert queries.shape == (7, 5) and part.count == other.count == 7
    rows = torch.cat([data.tokens[0].tokens, data.tokens[1].tokens])
    # One cluster is the mean direction of all states of both sides.
    torch.testing.assert_close(queries[0], 10 * unit(rows.sum(dim=0)[None])[0])
    torch.testing.assert_close(queries.norm(dim=1), torch.full((7,), 10.0))


def test_a_sharpness_of_zero_pools_evenly(rng):
    _, data = clustered(rng)
    part, _ = aspects(data, ALL, Start("shared", 0.0, 0.5), [2], seeded())
    with torch.no_grad():
        drawn = part.resampler(data.tokens[0])
    mean = unit(torch.stack([item.mean(dim=0) for item in data.tokens[0]]))
    torch.testing.assert_close(drawn, mean[:, None].expand(-1, 2, -1))


def test_a_shared_start_gives_equal_states_equal_aspects(rng):
    data = paired(rng, widths=(8, 8))
    same = TokenPairs(data.pooled, data.source, data.source)
    cut = reduced(same, width=4, generator=seeded())
    parts = aspects(cut, ALL, Start("shared", 5.0, 0.5), [3], seeded())
    assert parts[0].resampler.weight.equal(torch.eye(4)) and parts[0].dim == 4
    drawn = [
        part.resampler(tokens).detach() for part, tokens in zip(parts, cut.tokens, strict=True)
    ]
    assert drawn[0].equal(drawn[1])


def summary(data, side):
    if data.tokens[side] is None:
        pooled = directions(data.pooled(side))
        return unit(pooled - pooled.mean(dim=0))
    return torch.stack([item.mean(dim=0) for item in data.tokens[side]])


@pytest.mark.parametrize("widths", [(8, 8), (8, 6), (None, 6), (8, None)], ids=str)
def test_a_paired_start_maps_by_regularised_cca_of_the_mean_states(widths, rng):
    cut = reduced(paired(rng, widths=widths), width=4, generator=seeded())
    parts = aspects(cut, ALL, Start("paired", 5.0, 0.5), [1, 2], seeded())
    plain = rcca(summary(cut, 0), summary(cut, 1), ridge=(1.0, 1.0), power=0.5)
    expected = plain.source_map.weight, plain.target_map.weight
    weights = []
    for part, d, wanted in zip(parts, widths, expected, strict=True):
        assert isinstance(part, Heads if d is None else TokenAspects)
        assert part.count == 3 and part.dim == wanted.shape[1]
        # Of three heads one sees a direction whole and two at half weight.
        weight = part.weight.sum(dim=0) / 2 if d is None else part.resampler.weight
        weights.append(weight.detach())
        # Directions are known up to a sign that both sides share.
        torch.testing.assert_close(weights[-1].abs(), wanted.abs(), atol=1e-4, rtol=1e-3)
    close = {"atol": 1e-4, "rtol": 1e-3}
    torch.testing.assert_close(weights[0] @ weights[1].T, expected[0] @ expected[1].T, **close)


def test_linear_heads_retrieve_before_any_training(rng):
    data = paired(rng, widths=(None, None))
    cut = reduced(data, width=4, generator=seeded())
    forth, back = aspects(cut, ALL, Start("paired", 5.0, 0.5), [1], seeded())
    with torch.no_grad():
        found = mean_reciprocal_rank(forth(cut.pooled(0))[:, 0], back(cut.pooled(1))[:, 0])
    assert found > 3 * chance(40)


def test_linear_heads_centre_on_the_rows_they_start_from(rng):
    cut = reduced(paired(rng, widths=(None, 6)), width=4, generator=seeded())
    part, _ = aspects(cut, ALL[:25], Start("paired", 5.0, 0.5), [2], seeded())
    assert part.mean.equal(directions(cut.pooled(0)[:25]).mean(dim=0))


@pytest.mark.parametrize("kind", ["shared", "paired"])
def test_a_start_looks_only_at_its_rows(kind, rng):
    cut = reduced(paired(rng, widths=(8, 8)), width=4, generator=seeded())
    rows = ALL[::2]
    others = []
    for tokens in cut.tokens:
        keep = torch.isin(torch.arange(40).repeat_interleave(tokens.lengths), rows)
        changed = unit(torch.randn(tokens.tokens.shape, generator=rng))
        others.append(
            MultiVector(torch.where(keep[:, None], tokens.tokens, changed), tokens.offsets)
        )
    assert not others[0].tokens.equal(cut.tokens[0].tokens)
    elsewhere = Reduced(cut.pairs, cut.reductions, tuple(others))
    a, b = (
        aspects(each, rows, Start(kind, 5.0, 0.5), [1, 3], seeded()) for each in (cut, elsewhere)
    )
    for left, right in zip(a, b, strict=True):
        assert left.resampler.queries.equal(right.resampler.queries)
        assert left.resampler.weight.equal(right.resampler.weight)


@pytest.mark.parametrize("kind", ["shared", "paired"])
def test_a_start_depends_on_its_generator_alone(kind, rng):
    cut = reduced(paired(rng, widths=(8, 8)), width=4, generator=seeded())
    first, again, other = (
        aspects(cut, ALL, Start(kind, 5.0, 0.5), [1, 3], seeded(seed)) for seed in (1, 1, 2)
    )
    for a, b, c in zip(first, again, other, strict=True):
        assert a.resampler.queries.equal(b.resampler.queries)
        assert a.resampler.weight.equal(b.resampler.weight)
        assert not a.resampler.queries.equal(c.resampler.queries)


def telling(part, tokens, own_even):
    """How far partners stand out, one meta token at a time."""
    found = []
    for aspect in part.resampler(tokens).detach().unbind(dim=1):
        near = aspect @ own_even.T
        found.append(((near.diagonal().mean() - near.mean()) / near.std()).item())
    return found


@pytest.mark.parametrize("kind", ["shared", "paired"])
def test_within_a_budget_the_meta_tokens_that_tell_pairs_apart_come_first(kind, monkeypatch):
    pairs = needles(200)
    cut = reduced(pairs, width=9, generator=seeded())
    rows, counts, start = torch.arange(200), [1, 3, 5], Start(kind, 5.0, 0.5)
    parts = aspects(cut, rows, start, counts, seeded())
    monkeypatch.setattr(meta_start, "_order_by_discrimination", lambda *_: None)
    unordered = aspects(cut, rows, start, counts, seeded())
    even = [
        unit(summary(cut, side) @ part.resampler.weight.detach()) for side, part in enumerate(parts)
    ]
    for side, part in enumerate(parts):
        values = telling(part, cut.tokens[side], even[1 - side])
        for first, last in ((0, 1), (1, 4), (4, 9)):
            assert values[first:last] == sorted(values[first:last], reverse=True)
            block, before = (
                {tuple(row) for row in each.resampler.queries[first:last].tolist()}
                for each in (part, unordered[side])
            )
            assert block == before
        assert not part.resampler.queries.equal(unordered[side].resampler.queries)


@pytest.mark.parametrize(("width", "count"), [(12, 4), (12, 5), (7, 7), (100, 63), (3, 1)])
def test_bands_share_out_the_canonical_directions_strongest_first(width, count, rng):
    weight = 1 + torch.rand(5, width, generator=rng)
    bands = meta_start._bands(weight, count)
    assert bands.shape == (count, 5, width)
    share = bands / weight
    favoured = (share == 1).all(dim=1)
    assert (favoured | (share == 0.5).all(dim=1)).all()
    assert favoured.sum(dim=0).tolist() == [1] * width  # each direction by one head
    sizes = favoured.sum(dim=1)
    assert sizes.min() >= 1 and sizes.max() - sizes.min() <= 1
    assert (favoured.int().argmax(dim=0).diff() >= 0).all()


@pytest.mark.parametrize(("width", "count"), [(2, 5), (3, 4), (1, 3), (5, 16)])
def test_with_more_heads_than_directions_some_favour_none(width, count):
    favoured = (meta_start._bands(torch.ones(2, width), count) == 1).all(dim=1)
    assert favoured.sum(dim=0).tolist() == [1] * width
    assert favoured.sum(dim=1).max() == 1
