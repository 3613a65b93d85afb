import pytest
import torch

from align.adapters.corrections.hubness import CSLS, NNN, BalancedSoftmax, InvertedSoftmax
from align.adapters.corrections.reference_set import Expansion, ReferenceSet
from align.adapters.maps.linear import BlendMap, IdentityMap, LinearMap
from align.adapters.recipes.moments import paired_moments
from align.data.embeddings import PairedEmbeddings
from align.fitting.model_selection.cross_validation import (
    GALLERY,
    CrossValidation,
    Unpaired,
    is_identity,
)
from align.fitting.model_selection.outcome import (
    SCREENING,
    Outcome,
    Similarities,
    score,
    score_expanded,
    score_expanded_queries,
    screen,
)
from align.metrics.ranks import ranks
from tests.helpers.planted import shared_factors, unit


def validation(source, target, *, groups=None, folds=3, seed=0, unpaired=None):
    data = PairedEmbeddings.from_arrays(source, target, groups=groups)
    return CrossValidation(data, folds_wanted=folds, seed=seed, unpaired=unpaired or Unpaired())


@pytest.fixture
def pairs():
    return shared_factors(60, (6, 5), shared=3, noise=0.5)


GROUPS = [f"photo {row // 3}" for row in range(60)]


def test_no_group_is_both_trained_on_and_held_out(pairs):
    cv = validation(*pairs, groups=GROUPS)
    for fold in cv.folds:
        train = {GROUPS[row] for row in fold.train.tolist()}
        assert train.isdisjoint(GROUPS[row] for row in fold.held_out.tolist())


def test_a_group_trains_as_a_whole_or_not_at_all(pairs):
    for fold in validation(*pairs, groups=GROUPS).folds:
        train = [GROUPS[row] for row in fold.train.tolist()]
        assert all(train.count(group) == 3 for group in set(train))


def in_domains(pairs, domains, *, folds=3, seed=0):
    data = PairedEmbeddings.from_arrays(*pairs, groups=GROUPS, domains=domains)
    return CrossValidation(data, folds_wanted=folds, seed=seed, unpaired=Unpaired())


def test_no_domain_is_both_trained_on_and_held_out(pairs):
    albums = [f"album {row // 6}" for row in range(60)]
    for fold in in_domains(pairs, albums).folds:
        train, held_out = (
            {albums[row] for row in rows.tolist()} for rows in (fold.train, fold.held_out)
        )
        assert train.isdisjoint(held_out) and train | held_out == set(albums)
        assert len(fold.train) == 6 * len(train)
    # Groups alone would let an album be seen from both sides.
    assert any(
        {row // 6 for row in fold.train.tolist()} & {row // 6 for row in fold.held_out.tolist()}
        for fold in validation(*pairs, groups=GROUPS).folds
    )


def test_domains_do_not_make_their_pairs_matches_of_each_other(pairs):
    cv = in_domains(pairs, [f"album {row // 6}" for row in range(60)])
    assert cv.n_groups == 20
    for first in range(0, len(cv.folds), cv.k):
        held_out = [row for fold in cv.folds[first : first + cv.k] for row in fold.held_out]
        assert sorted(int(row) // 3 for row in held_out) == list(range(20))


def test_domains_that_are_the_groups_fold_as_groups_do(pairs):
    named, plain = in_domains(pairs, GROUPS), validation(*pairs, groups=GROUPS)
    for a, b in zip(named.folds, plain.folds, strict=True):
        assert (
            a.train.equal(b.train)
            and a.held_out.equal(b.held_out)
            and a.reference.equal(b.reference)
        )


def test_fewer_domains_than_folds_are_refused(pairs):
    with pytest.raises(ValueError, match=r"folds must lie in \[2, 2\]"):
        in_domains(pairs, [f"album {row // 30}" for row in range(60)])


def test_each_round_of_folds_holds_out_one_row_of_every_group(pairs):
    cv = validation(*pairs, groups=GROUPS)
    assert cv.n_groups == 20 and len(cv.folds) == cv.k * cv.repeats == 15
    for first in range(0, len(cv.folds), cv.k):
        round_of_folds = cv.folds[first : first + cv.k]
        held_out = [GROUPS[row] for fold in round_of_folds for row in fold.held_out.tolist()]
        assert sorted(held_out) == sorted(set(GROUPS))


def test_which_row_of_a_group_is_held_out_varies(pairs):
    folds = validation(*pairs, groups=GROUPS).folds
    assert {row % 3 for fold in folds for row in fold.held_out.tolist()} == {0, 1, 2}


def test_the_reference_of_a_fold_is_drawn_from_its_training_rows(pairs):
    for fold in validation(*pairs, groups=GROUPS).folds:
        assert sorted(fold.reference.tolist()) == fold.train.tolist()


def test_galleries_and_reference_sets_are_capped(rng):
    cv = validation(*torch.randn(2, 2100, 2, generator=rng), folds=2)
    assert [len(fold.held_out) for fold in cv.folds] == [GALLERY, GALLERY] == [1000, 1000]
    assert [len(fold.reference) for fold in cv.folds] == [1050, 1050]  # below REFERENCE
    assert [len(fold.train) for fold in cv.folds] == [1050, 1050]


def test_small_data_is_folded_again_and_large_data_once(rng):
    x = torch.randn(1500, 2, generator=rng)
    few, more, many = (validation(x[:n], x[:n], folds=4) for n in (60, 400, 1500))
    assert 1 == many.repeats < more.repeats < few.repeats
    assert [len(cv.folds) for cv in (few, more, many)] == [
        4 * cv.repeats for cv in (few, more, many)
    ]
    parts = [frozenset(fold.held_out.tolist()) for fold in few.folds]
    assert len(set(parts)) == len(parts)


def test_maps_of_large_data_are_screened_on_the_first_folds_that_suffice(rng):
    x = torch.randn(5000, 2, generator=rng)
    few, many = validation(x[:60], x[:60], folds=5), validation(x, x, folds=5)
    assert few.screening_folds == few.folds
    assert len(many.folds) == 5 and many.screening_folds == many.folds[:2]  # 1,000 queries each


def test_folds_depend_on_the_seed_alone(pairs):
    first, again, other = (validation(*pairs, seed=seed) for seed in (1, 1, 2))
    for a, b in zip(first.folds, again.folds, strict=True):
        assert (
            a.train.equal(b.train)
            and a.held_out.equal(b.held_out)
            and a.reference.equal(b.reference)
        )
    assert not first.folds[0].train.equal(other.folds[0].train)


def test_fewer_groups_than_folds_are_refused(pairs):
    groups = [str(row % 3) for row in range(60)]
    with pytest.raises(ValueError, match=r"folds must lie in \[2, 3\].*got 5. Use fewer folds"):
        validation(*pairs, groups=groups, folds=5)


def direct(cv, roots, train):
    """Covariances and cross-covariance of one fold, computed from its rows one by one."""
    sides = []
    for raw, extra, root in zip(
        cv.raw, (cv.unpaired.source, cv.unpaired.target), roots, strict=True
    ):
        rows = raw if extra is None else torch.cat([raw, extra])
        z = unit(rows)
        z = unit(z.sign() * z.abs().sqrt() if root else z)
        z = unit(z - z.mean(dim=0)).double()
        paired, rest = z[: len(raw)][train], z[len(raw) :]
        every = torch.cat([paired, rest])
        sides.append((paired, every.T @ every / len(every)))
    (x, covariance_x), (y, covariance_y) = sides
    return covariance_x, covariance_y, x.T @ y / len(train)


def rebuilt(spectrum):
    return spectrum.vectors * spectrum.values @ spectrum.vectors.T


@pytest.mark.parametrize("unpaired", [False, True], ids=["pairs only", "with unpaired"])
@pytest.mark.parametrize("widths", [(6, 5), (90, 5), (6, 90)], ids=str)
def test_moments_of_a_fold_are_those_of_its_rows(widths, unpaired, rng):
    extra = Unpaired(
        torch.randn(20, widths[0], generator=rng), torch.randn(9, widths[1], generator=rng)
    )
    pairs = shared_factors(60, widths, shared=3, noise=0.5)
    cv = validation(*pairs, unpaired=extra if unpaired else None)
    thin = tuple(cv.prepared(side, False).is_thin() for side in (0, 1))
    assert thin == (widths[0] == 90, widths[1] == 90)
    fold = cv.folds[1]
    # Asked for in turn, so that later ones reuse the spectra of earlier ones.
    for roots in ((False, False), (True, False), (False, True), (True, True)):
        found = cv.moments(roots, fold)
        covariance_x, covariance_y, cross = direct(cv, roots, fold.train)
        close = {"atol": 1e-6, "rtol": 1e-5, "check_dtype": False}  # folds keep float32
        torch.testing.assert_close(rebuilt(found.source), covariance_x, **close)
        torch.testing.assert_close(rebuilt(found.target), covariance_y, **close)
        whole = found.source.vectors @ found.cross @ found.target.vectors.T
        torch.testing.assert_close(whole, cross, **close)
        assert found.source.mean.item() == pytest.approx(covariance_x.trace().item() / widths[0])
        assert found.target.mean.item() == pytest.approx(covariance_y.trace().item() / widths[1])
        assert found.n == len(fold.train) and found.roots == roots
        assert cv.moments(roots, fold) is found


def test_moments_of_all_rows_are_those_of_the_plain_closed_forms(pairs):
    cv = validation(*pairs)
    found, plain = cv.moments((True, False)), paired_moments(*pairs, roots=(True, False))
    torch.testing.assert_close(rebuilt(found.source), rebuilt(plain.source))
    torch.testing.assert_close(rebuilt(found.target), rebuilt(plain.target))
    assert found.means[0].equal(plain.means[0]) and found.n == plain.n == 60


def test_a_held_out_pair_cannot_touch_the_moments_of_its_fold(pairs):
    source, target = pairs
    before = validation(source, target)
    first, second = before.folds[0].held_out[:2].tolist()
    swapped = target.clone()
    # A swap breaks both pairs and leaves the mean, the one thing that is taken over all rows.
    swapped[[first, second]] = target[[second, first]]
    after = validation(source, swapped)
    roots, whole = (False, False), []
    for cv in (before, after):
        found = [cv.moments(roots, fold) for fold in cv.folds[:2]]
        whole.append([m.source.vectors @ m.cross @ m.target.vectors.T for m in found])
    assert first in before.folds[1].train and second in before.folds[1].train
    torch.testing.assert_close(whole[0][0], whole[1][0], atol=1e-7, rtol=0)
    assert (whole[0][1] - whole[1][1]).abs().max() > 1e-3


def test_unpaired_items_count_and_none_are_false(rng):
    x = torch.randn(4, 3, generator=rng)
    assert Unpaired(x, None).counts == (4, 0) and Unpaired(None, x[:1]).counts == (0, 1)
    assert Unpaired(None, x) and not Unpaired()


def test_projections_are_what_the_maps_give(pairs, rng):
    cv, rows = validation(*pairs), torch.tensor([7, 3, 50])
    x, y = cv.raw_rows(rows)
    for root in (False, True):
        source = LinearMap(cv.prepared(0, root).mean, torch.randn(6, 4, generator=rng), root=root)
        for target in (IdentityMap(5), BlendMap([IdentityMap(5)] * 2, [0.5, 0.5])):
            found = cv.project((source, target), rows)
            torch.testing.assert_close(found[0], source(x))
            torch.testing.assert_close(found[1], target(y))
    raw = cv.identity(rows)
    torch.testing.assert_close(raw[0], unit(x))
    torch.testing.assert_close(raw[1], unit(y))


def test_the_score_of_a_hand_made_gallery():
    x = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    y = torch.tensor([[1.0, 0.0], [0.6, 0.8], [-1.0, 0.0]])
    outcome = score((x, y), None)
    # The last source scores 0, 0.8, 0: its partner ties with one and loses to another, rank 3.
    # The last target scores -1, -0.8, 0: its partner is first. All others come first both ways.
    assert outcome.reciprocal_ranks.tolist() == pytest.approx([1.0, 1.0, (1 / 3 + 1) / 2])
    assert outcome.hits_at_10.tolist() == [1.0, 1.0, 1.0]
    assert outcome.reciprocal_ranks.dtype == torch.float64


def test_ties_count_against_the_map():
    flat = torch.ones(20, 2) / 2**0.5
    outcome = score((flat, flat), None)
    assert outcome.mrr == pytest.approx(1 / 20) and outcome.hits_at_10.sum() == 0


@pytest.mark.parametrize("correction", [NNN(4, 0.75), CSLS(3), InvertedSoftmax(9.0)], ids=str)
def test_a_corrected_score_is_the_rank_after_the_bias_of_the_reference(correction, rng):
    x, y, source, target = (unit(torch.randn(n, 4, generator=rng)) for n in (15, 15, 25, 25))
    forward = x @ y.T - correction(y @ source.T)
    backward = y @ x.T - correction(x @ target.T)
    expected = torch.stack(
        [(s >= s.diagonal()[:, None]).sum(dim=1).double().reciprocal() for s in (forward, backward)]
    ).mean(dim=0)
    reference = ReferenceSet(source, target, expansion=None, hubness=correction)
    found = score((x, y), reference)
    torch.testing.assert_close(found.reciprocal_ranks, expected)
    assert not found.reciprocal_ranks.equal(score((x, y), None).reciprocal_ranks)


def test_corrections_scored_together_score_as_one_by_one(rng):
    x, y, source, target = (unit(torch.randn(n, 4, generator=rng)) for n in (30, 30, 25, 25))
    corrections = [NNN(4, 0.75), CSLS(3), InvertedSoftmax(9.0), SCREENING]
    found = Similarities.of((x, y), (source, target)).outcomes(corrections)
    for correction, outcome in zip(corrections, found, strict=True):
        alone = score((x, y), ReferenceSet(source, target, expansion=None, hubness=correction))
        assert outcome.reciprocal_ranks.equal(alone.reciprocal_ranks)
        assert outcome.hits_at_10.equal(alone.hits_at_10)
    screened = screen((x, y), (source, target))
    assert screened.reciprocal_ranks.equal(found[-1].reciprocal_ranks)


def test_a_gain_is_the_mean_paired_difference_with_its_own_error():
    better, worse = (
        Outcome(torch.tensor(ranks, dtype=torch.float64), torch.zeros(4))
        for ranks in ([1.0, 0.5, 1.0, 0.5], [0.5, 0.25, 0.5, 0.25])
    )
    gain, error = better.gain_over(worse)
    assert gain == pytest.approx(0.375)
    # Differences .5, .25, .5, .25: variance 1/48 with n - 1, so the error is sqrt(1/192).
    assert error == pytest.approx((1 / 192) ** 0.5)
    assert worse.gain_over(better) == pytest.approx((-gain, error))
    assert better.gain_over(better) == (0.0, 0.0)
    assert better.mrr == 0.75 and better.standard_error == pytest.approx((1 / 48) ** 0.5)


def test_one_query_is_no_evidence():
    lone = Outcome(torch.ones(1, dtype=torch.float64), torch.ones(1))
    assert lone.standard_error == float("inf")


def test_folds_drawn_again_are_no_further_evidence():
    once = Outcome(torch.tensor([1.0, 0.5, 0.25, 0.2]).double(), torch.zeros(4))
    again = Outcome.pooled([once, once, once, once], k=1)
    assert again.rounds == 4
    spread = again.reciprocal_ranks.std().item()
    assert again.standard_error == pytest.approx(spread / 2)  # 16 values, but only 4 pairs


def test_outcomes_of_folds_are_pooled_in_order(pairs):
    parts = [Outcome(torch.full((n,), float(n)), torch.zeros(n)) for n in (1, 2)]
    assert Outcome.pooled(parts, k=2).reciprocal_ranks.tolist() == [1.0, 2.0, 2.0]
    assert Outcome.pooled(parts, k=2).mrr == pytest.approx(5 / 3)
    cv = validation(*pairs)
    each = [Outcome(fold.held_out.double(), fold.held_out.double()) for fold in cv.folds]
    found = Outcome.pooled(each, k=cv.k)
    assert found.reciprocal_ranks.tolist() == [r for f in cv.folds for r in f.held_out.tolist()]
    assert found.hits_at_10.equal(found.reciprocal_ranks)


def test_an_identity_weight_projects_to_the_bits_of_its_product():
    data = PairedEmbeddings.from_arrays(*shared_factors(60, (12, 10), shared=6, noise=0.7))
    cv = CrossValidation(data, folds_wanted=3, seed=0)
    eye, almost = torch.eye(12), torch.eye(12)
    almost[0, 1] = 1e-30
    assert is_identity(eye) and not is_identity(almost)
    assert not is_identity(torch.eye(12, 10)) and not is_identity(eye.flip(0))
    prepared, rows = cv.prepared(0, root=False), torch.arange(60)
    target = IdentityMap(10)
    kept, multiplied = (
        cv.project((LinearMap(prepared.mean, weight), target), rows)[0] for weight in (eye, almost)
    )
    assert torch.equal(kept, multiplied)


def test_cosines_of_a_blend_are_those_of_its_parts_side_by_side(rng):
    one, two = (
        [tuple(unit(torch.randn(n, 4, generator=rng)) for _ in range(2)) for n in (9, 12)]
        for _ in range(2)
    )
    blend = BlendMap([IdentityMap(4)] * 2, [0.75, 0.25])
    both = zip(one, two, strict=True)
    joined = [tuple(map(blend.join, zip(*pair, strict=True))) for pair in both]
    found = Similarities.of(*one).blended(Similarities.of(*two), 0.25)
    for a, b in zip(found, Similarities.of(*joined), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("hubness", [None, NNN(4, 0.75)], ids=str)
def test_a_score_after_expansion_is_that_of_the_gallery_of_the_reference_set(hubness, rng):
    x, y, source, target = (unit(torch.randn(n, 4, generator=rng)) for n in (30, 30, 25, 25))
    expansions = [Expansion(0.3, 5.0), Expansion(0.6, 5.0)]
    without = ReferenceSet(source, target, expansion=None, hubness=hubness)
    found = score_expanded((x, y), without, expansions)
    for expansion, outcome in zip(expansions, found, strict=True):
        reference = ReferenceSet(source, target, expansion=expansion, hubness=hubness)
        galleries = reference.gallery(y, side="target"), reference.gallery(x, side="source")
        ones = torch.ones(30, int(hubness is not None))
        each = [
            ranks(torch.cat([queries, ones], dim=1), gallery)
            for queries, gallery in zip((x, y), galleries, strict=True)
        ]
        assert outcome.reciprocal_ranks.equal(Outcome.of_ranks(each).reciprocal_ranks)
        assert score((x, y), reference).reciprocal_ranks.equal(outcome.reciprocal_ranks)


@pytest.mark.parametrize("hubness", [None, BalancedSoftmax(8.0)], ids=str)
@pytest.mark.parametrize("expansion", [None, Expansion(0.3, 5.0)], ids=str)
def test_a_score_of_expanded_queries_is_that_of_what_the_reference_set_gives(
    expansion, hubness, rng
):
    x, y, source, target = (unit(torch.randn(n, 4, generator=rng)) for n in (30, 30, 25, 25))
    settings = {"expansion": expansion, "hubness": hubness}
    expansions = [Expansion(0.3, 5.0), Expansion(0.6, 5.0)]
    without = ReferenceSet(source, target, **settings)
    found = score_expanded_queries((x, y), without, expansions)
    for each, outcome in zip(expansions, found, strict=True):
        reference = ReferenceSet(source, target, **settings, query_expansion=each)
        asked = reference.gallery(y, side="target"), reference.gallery(x, side="source")
        asking = reference.queries(x, side="source"), reference.queries(y, side="target")
        both = [ranks(*one_way) for one_way in zip(asking, asked, strict=True)]
        assert outcome.reciprocal_ranks.equal(Outcome.of_ranks(both).reciprocal_ranks)
        assert score((x, y), reference).reciprocal_ranks.equal(outcome.reciprocal_ranks)
        assert not outcome.reciprocal_ranks.equal(score((x, y), without).reciprocal_ranks)


def test_only_the_moments_of_the_roots_that_are_kept_stay(pairs):
    cv = validation(*pairs)
    fold, kept = cv.folds[0], (True, False)
    for roots in ((False, False), kept, (True, True)):
        cv.moments(roots, fold)
    before, given_up = cv.moments(kept, fold), cv.prepared(1, root=True)
    cv.keep_only(kept)
    assert cv.moments(kept, fold) is before
    assert set(fold.moments) == {kept} and set(cv._prepared) == {(0, True), (1, False)}
    again = cv.prepared(1, root=True)
    assert again is not given_up and again.rows.equal(given_up.rows)
