"""Training on top of a closed form: beside vectors of pairs it has not seen, behind a gate."""

from dataclasses import replace

import pytest
import torch

import align
from align.adapters.maps.linear import IdentityMap, LinearMap
from align.adapters.maps.residual import ResidualMap
from align.adapters.recipes.recipe import RCCA, Average, Procrustes
from align.data.embeddings import PairedEmbeddings
from align.fitting.model_selection import stacked_residual as refining
from align.fitting.model_selection.cross_validation import CrossValidation, Unpaired
from align.fitting.model_selection.fit import fit
from align.fitting.model_selection.gallery_correction import (
    GalleryChoice,
    choose_gallery,
)
from align.fitting.model_selection.map_search import MapSearch
from align.fitting.model_selection.outcome import HeldOutGain, Outcome
from align.fitting.training.config import TrainConfig
from tests.helpers.planted import mean_reciprocal_rank, rotation, shared_factors


def folded(n=200):
    return PairedEmbeddings.from_arrays(*bent(n))


def bent(n, seed=0):
    """Targets hold the factors and, thrice as strongly, their sizes, which no line follows."""
    rng = torch.Generator().manual_seed(seed)
    factors = torch.randn(n, 6, generator=rng)
    source = factors @ rotation(6, rng)
    seen = torch.cat([factors, 3 * factors.abs()], dim=1)
    target = seen @ rotation(12, rng) + 0.5 * torch.randn(n, 12, generator=rng)
    return source + 0.2 * torch.randn(n, 6, generator=rng), target


def closed_form(data):
    cv = CrossValidation(data, folds_wanted=3, seed=0, unpaired=Unpaired())
    best = MapSearch(cv, query_only=False).run().best
    return cv, best, best.build(cv.moments(best.roots))


def projections(cv, best):
    return [cv.projection(best.build(cv.moments(best.roots, fold)), fold) for fold in cv.folds]


@pytest.fixture
def faster(monkeypatch):
    """Planted problems are small: fewer units, and larger steps."""
    monkeypatch.setattr(refining, "HIDDEN", 512)
    settings = TrainConfig(steps=50, learning_rate=3e-3, weight_decay=0.0)
    monkeypatch.setattr(refining, "CONFIG", settings)
    monkeypatch.setattr(refining, "ANCHOR", 0.0)


@pytest.fixture
def given_to_training(monkeypatch):
    """Pairs that training was called with; training itself changes nothing."""
    seen = []

    def untrained(adapter, pairs, *, loss, config):
        seen.append(pairs)
        return adapter

    monkeypatch.setattr(refining, "train", untrained)
    return seen


def test_untrained_shifts_leave_the_final_maps_as_they_are(given_to_training):
    data = folded()
    cv, best, final = closed_form(data)
    refined = refining.refine(cv, best, final)
    for kept, shifted, rows in zip(final, refined, (data.source, data.target), strict=True):
        assert isinstance(shifted, ResidualMap)
        assert torch.equal(kept(rows), shifted(rows))


def test_every_pair_is_given_once(given_to_training):
    data = folded()
    cv, best, final = closed_form(data)
    refining.refine(cv, best, final)
    (pairs,) = given_to_training
    assert sorted(map(int, pairs.groups)) == list(range(len(data)))


def test_given_vectors_know_nothing_of_their_own_pairs(given_to_training):
    source, target = bent(200)
    data = PairedEmbeddings.from_arrays(source, target)
    cv, best, final = closed_form(data)
    refining.refine(cv, best, final)
    inside = cv.folds[0].train
    left_out = [row for row in range(200) if row not in set(inside.tolist())]
    # The same targets, dealt anew among the pairs of the first fold.
    dealt = target.clone()
    dealt[left_out] = target[left_out[1:] + left_out[:1]]
    other = PairedEmbeddings.from_arrays(source, dealt)
    cv_of_other = CrossValidation(other, folds_wanted=3, seed=0, unpaired=Unpaired())
    refining.refine(cv_of_other, best, best.build(cv_of_other.moments(best.roots)))
    # Vectors are turned into the space of the final maps, which leaves inner products alone.
    grams = []
    for pairs in given_to_training:
        rows = [pairs.groups.index(str(row)) for row in left_out]
        given = pairs.source[rows][:, : -refining.HIDDEN]
        grams.append(given @ given.T)
    torch.testing.assert_close(*grams, atol=1e-4, rtol=0)


def test_given_vectors_lie_in_the_space_of_the_final_maps(given_to_training):
    data = PairedEmbeddings.from_arrays(*shared_factors(300, (16, 12), shared=6, noise=0.05))
    cv, best, final = closed_form(data)
    refining.refine(cv, best, final)
    (pairs,) = given_to_training
    rows = [int(name) for name in pairs.groups]
    outside = pairs.source[:, : -refining.HIDDEN]
    assert (outside * final[0](data.source[rows])).sum(dim=1).mean() > 0.95


@pytest.mark.usefixtures("faster")
def test_what_no_linear_map_can_follow_is_learned_kept_and_saved(tmp_path):
    source, target = bent(1500)
    train = PairedEmbeddings.from_arrays(source[:1200], target[:1200])
    closed = fit(train, folds=3, refine=False)
    refined = fit(train, folds=3, refine=True)

    def quality(adapter):
        queries, gallery = adapter.queries(source[1200:]), adapter.gallery(target[1200:])
        return mean_reciprocal_rank(queries, gallery)

    assert quality(refined) > quality(closed) + 0.03
    assert "is kept" in refined.card.verdict and "mlp residual" in refined.card.method
    assert [c.chosen for c in refined.card.candidates if c.stage == "refine"] == [True]
    refined.save(tmp_path / "adapter")
    again = align.load(tmp_path / "adapter")
    assert torch.equal(again.gallery(target[1200:]), refined.gallery(target[1200:]))


def test_what_gains_nothing_is_not_kept():
    sides = shared_factors(120, (12, 10), shared=6, noise=0.7)
    data = PairedEmbeddings.from_arrays(*sides)
    closed, tried = fit(data, folds=3, refine=False), fit(data, folds=3, refine=True)
    assert torch.equal(closed.queries(sides[0]), tried.queries(sides[0]))
    assert "was not kept" in tried.card.verdict
    assert [c.chosen for c in tried.card.candidates if c.stage == "refine"] == [False]


def test_a_first_fold_without_a_gain_ends_the_evaluation(monkeypatch):
    """Planted gains of the first fold; whether the second is looked at is the rule of futility."""
    data = folded(120)
    cv, best, _ = closed_form(data)
    folds = projections(cv, best)
    closed = choose_gallery(cv, folds, query_only=True, expand_queries=False)
    seen = []

    def held_out(cv, best, step):
        for fold in folds[: refining.FOLDS]:
            seen.append(fold)
            yield fold

    monkeypatch.setattr(refining, "held_out_projections", held_out)
    for gain, looked in ((HeldOutGain(-0.005, 0.01), 1), (HeldOutGain(0.01, 0.01), refining.FOLDS)):
        seen.clear()
        with monkeypatch.context() as patch:
            patch.setattr(Outcome, "gain_over", lambda outcome, other, gain=gain: gain)
            judged = refining.judge(cv, best, closed)
        assert len(seen) == looked and judged.whole == (looked > 1)
        assert not judged.improves


def test_a_refinement_that_was_stopped_early_is_never_kept():
    gallery = GalleryChoice(None, None, Outcome(torch.ones(2), torch.ones(2)))
    great = HeldOutGain(1.0, 0.01)
    assert not refining.Refinement(gallery, great, whole=False, projected=[]).improves
    assert refining.Refinement(gallery, great, whole=True, projected=[]).improves


@pytest.mark.usefixtures("faster")
def test_a_query_only_refinement_leaves_targets_alone():
    source, target = bent(300)
    data = PairedEmbeddings.from_arrays(source, target)
    cv = CrossValidation(data, folds_wanted=3, seed=0, unpaired=Unpaired())
    best = MapSearch(cv, query_only=True).run().best
    refined = refining.refine(cv, best, best.build(cv.moments(best.roots)))
    assert isinstance(refined[1], IdentityMap) and isinstance(refined[0], ResidualMap)


@pytest.mark.usefixtures("given_to_training")
def test_training_starts_from_the_best_map_also_where_that_is_an_average(monkeypatch):

    def averaged(search, best, found):
        recipe = Average(Procrustes(), RCCA(best.ridge, best.power), 0.5)
        perfect = replace(found.outcome, reciprocal_ranks=torch.ones(120).double())
        average = replace(found, name="an average", build=recipe, outcome=perfect)
        return [search._noted(average)]

    monkeypatch.setattr(MapSearch, "_averaged", averaged)
    monkeypatch.setattr(refining.Refinement, "improves", property(lambda refinement: True))
    data = PairedEmbeddings.from_arrays(*shared_factors(120, (12, 10), shared=6, noise=0.7))
    trained = fit(data, folds=3, refine=True)
    assert isinstance(trained.source_map.inner, LinearMap)
    assert trained.card.method == "an average + mlp residual"
    assert "training on top of it gained" in trained.card.verdict


def test_few_pairs_are_not_refined_unless_asked():
    sides = shared_factors(60, (12, 10), shared=6, noise=0.7)
    card = fit(PairedEmbeddings.from_arrays(*sides), folds=2).card
    assert "refine" not in card.seconds


def test_few_domains_are_dealt_into_as_many_folds_as_there_are():
    sides = shared_factors(90, (12, 10), shared=6, noise=0.7)
    domains = [f"project {row % 3}" for row in range(90)]
    data = PairedEmbeddings.from_arrays(*sides, domains=domains)
    assert "training on top" in fit(data, folds=3, refine=True).card.verdict


def test_a_refinement_of_two_folds_is_refused_and_not_tried_unasked(monkeypatch):
    data = PairedEmbeddings.from_arrays(*shared_factors(90, (12, 10), shared=6, noise=0.7))
    with pytest.raises(ValueError, match=r"a refinement needs at least 3 folds, .*; got 2\. Raise"):
        fit(data, folds=2, refine=True)
    monkeypatch.setattr("align.fitting.model_selection.fit.ENOUGH", 90)
    assert "refine" not in fit(data, folds=2).card.seconds
    assert "refine" in fit(data, folds=3).card.seconds


def test_maps_of_the_evaluation_have_seen_neither_fold(monkeypatch):
    """Every pair outside a fold is mapped once, by maps of the pairs outside its own fold too."""
    data = folded(90)
    cv, best, _ = closed_form(data)
    seen = []

    def noted(cv, best, final, *, unseen, step):
        seen.append(unseen)
        return final

    monkeypatch.setattr(refining, "refine", noted)
    list(refining.held_out_projections(cv, best))
    assert len(seen) == refining.FOLDS
    for fold, unseen in zip(cv.folds, seen, strict=False):
        mapped = torch.cat([part.rows for part in unseen])
        assert sorted(mapped.tolist()) == sorted(fold.train.tolist())
        for part in unseen:
            trained = set(part.fold.train.tolist())
            assert trained == set(fold.train.tolist()) - set(part.rows.tolist())
    assert seen[0][0].fold is seen[1][0].fold  # what is without both serves either


def test_an_unknown_refine_is_refused():
    sides = shared_factors(40, (12, 10), shared=6, noise=0.7)
    with pytest.raises(ValueError, match=r'refine must be True, False or "auto"; got \'never\''):
        fit(PairedEmbeddings.from_arrays(*sides), refine="never")
