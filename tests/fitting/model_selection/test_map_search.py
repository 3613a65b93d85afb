import pytest
import torch

from align.adapters.maps.linear import IdentityMap
from align.adapters.recipes.recipe import RCCA, Average, Centering
from align.data.embeddings import PairedEmbeddings
from align.fitting.model_selection.cross_validation import MAP_REFERENCE, CrossValidation, Unpaired
from align.fitting.model_selection.map_search import (
    BOLDER,
    FINALISTS,
    NO_ROOTS,
    POWERS,
    RIDGES,
    SHARES,
    MapSearch,
)
from align.fitting.model_selection.outcome import (
    SCREENING,
    Outcome,
    Similarities,
    score,
    screen,
)
from tests.helpers.planted import shared_factors, unit


def validation(source, target, *, folds=3):
    data = PairedEmbeddings.from_arrays(source, target)
    return CrossValidation(data, folds_wanted=folds, seed=0, unpaired=Unpaired())


def searched(source, target, *, query_only=False, folds=3, screened=None):
    cv = validation(source, target, folds=folds)
    cv.screening_folds = cv.folds[:screened]
    return cv, MapSearch(cv, query_only=query_only).run()


@pytest.fixture(scope="module")
def both():
    """Factors seen through much noise; maps are screened on fewer folds than there are."""
    return searched(*shared_factors(60, (12, 10), shared=6, noise=0.7), screened=12)


@pytest.fixture(scope="module")
def query_only():
    pairs = shared_factors(60, (12, 10), shared=6, noise=0.7)
    return searched(*pairs, query_only=True, screened=12)


def rescored(cv, choice, folds, *, query_only):
    def outcome(fold):
        maps = choice.build(cv.moments(choice.roots, fold))
        held_out = cv.project(maps, fold.held_out)
        return (
            score(held_out, None)
            if query_only
            else screen(held_out, cv.project(maps, fold.reference[:MAP_REFERENCE]))
        )

    return Outcome.pooled([outcome(fold) for fold in folds], k=cv.k)


@pytest.mark.parametrize("kind", ["both", "query_only"])
def test_every_outcome_is_that_of_the_maps_which_its_recipe_builds(kind, request):
    # Above all the powers of rcca, which share a decomposition while they are compared.
    cv, search = request.getfixturevalue(kind)
    for choice in search.tried:
        folds = cv.screening_folds if choice.stage == "map" else cv.folds
        found = rescored(cv, choice, folds, query_only=kind == "query_only")
        # Projections rounded in another order may swap two that tie but for the last bit.
        agree = (found.reciprocal_ranks - choice.outcome.reciprocal_ranks).abs() < 1e-9
        assert agree.double().mean() > 0.99, choice.name


@pytest.mark.parametrize("kind", ["both", "query_only"])
def test_the_four_best_maps_meet_on_all_folds_and_the_best_of_them_leads(kind, request):
    cv, search = request.getfixturevalue(kind)
    assert len(cv.screening_folds) < len(cv.folds)
    admitted = {search.best.roots, (False, False)}
    screened = [c for c in search.tried if c.stage == "map" and c.roots in admitted]
    finals = [choice for choice in search.tried if choice.stage == "final"]
    by_score = sorted(screened, key=lambda choice: -choice.outcome.mrr)
    assert [f.name for f in finals] == [choice.name for choice in by_score[:FINALISTS]]
    assert {len(f.outcome.reciprocal_ranks) for f in finals} == {60 * cv.repeats}
    averages = [choice for choice in search.tried if choice.stage == "average"]
    assert search.best is max(finals + averages, key=lambda choice: choice.outcome.mrr)


def test_where_all_folds_screen_there_is_no_second_round():
    cv, search = searched(*shared_factors(30, (6, 5), shared=3, noise=0.5), folds=2)
    assert cv.screening_folds == cv.folds
    assert "final" not in {choice.stage for choice in search.tried}
    assert search.best is max(search.tried, key=lambda choice: choice.outcome.mrr)


def test_the_search_over_ridges_ends_where_no_neighbour_is_better(both):
    _, search = both
    by_ridge = {}
    for choice in search.tried:
        plain = choice.stage == "map" and choice.roots == NO_ROOTS
        if plain and choice.ridge is not None and choice.power in POWERS:
            at = RIDGES.index(choice.ridge[0]), RIDGES.index(choice.ridge[1])
            by_ridge[at] = max(by_ridge.get(at, 0.0), choice.outcome.mrr)
    best = max(by_ridge, key=by_ridge.get)
    for i, j in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        near = best[0] + i, best[1] + j
        inside = 0 <= min(near) and max(near) < len(RIDGES)
        assert near in by_ridge or not inside
    start = RIDGES.index(3.0)
    assert by_ridge[best] > by_ridge[start, start]  # it moved


def test_raw_and_centred_cosine_compete_only_where_widths_agree(both, rng):
    names = {choice.name for choice in both[1].tried}
    assert names.isdisjoint({"raw cosine", "centering"})
    x = torch.randn(40, 4, generator=rng)
    cv, search = searched(x, x + 0.1 * torch.randn(40, 4, generator=rng))
    found = {choice.name: choice for choice in search.tried if choice.stage == "map"}
    assert {"raw cosine", "centering"} <= set(found)
    source, target = found["raw cosine"].build(cv.moments((False, False)))
    assert isinstance(source, IdentityMap) and isinstance(target, IdentityMap)
    centred = found["centering"].build(cv.moments((False, False)))[0]
    expected = unit(unit(x) - unit(x).mean(dim=0))
    torch.testing.assert_close(centred(x), expected)


def test_a_query_only_search_leaves_every_target_as_it_is(query_only, rng):
    cv, search = query_only
    y = torch.randn(7, 10, generator=rng)
    for choice in search.tried:
        source, target = choice.build(cv.moments(choice.roots))
        torch.testing.assert_close(target(y), unit(y))
        assert source.dim == 10 and choice.stage != "average", choice.name


def test_a_query_only_map_is_the_two_maps_in_a_row(both, query_only):
    (cv, search), (_, folded) = both, query_only
    moments = cv.moments((False, False))
    pairs = {choice.name: choice for choice in search.tried if choice.stage == "map"}
    shared = [choice for choice in folded.tried if choice.name in pairs and choice.stage == "map"]
    assert len(shared) > 10
    for choice in shared:
        if choice.roots == (False, False):
            a, b = (side.weight for side in pairs[choice.name].build(moments))
            source = choice.build(moments)[0]
            torch.testing.assert_close(source.weight, a @ b.T)
            assert source.mean.equal(moments.means[0])


def test_a_signed_root_is_taken_where_an_encoder_squared_its_values():
    x, y = shared_factors(60, (12, 10), shared=6, noise=0.4)
    x = x - x.mean(dim=0)
    _, straight = searched(x, y)
    _, search = searched(x.sign() * x.abs() ** 3, y)
    assert search.best.roots == (True, False)
    assert "after root of source" in search.best.name
    assert straight.best.roots == (False, False)


def test_the_average_of_rcca_with_the_centred_cosine_is_the_best_of_those_screened():
    rng = torch.Generator().manual_seed(0)
    shared, loud = torch.randn(60, 24, generator=rng), 1.2 * torch.linspace(2.0, 0.2, 24)
    sides = (shared + loud * torch.randn(60, 24, generator=rng) for _ in range(2))
    cv, search = searched(*sides, folds=5, screened=12)
    (average,) = [choice for choice in search.tried if choice.stage == "average"]
    plain = [c for c in search.tried if c.stage == "map" and "rcca" in c.name]
    best = max((c for c in plain if c.roots == NO_ROOTS), key=lambda c: c.outcome.mrr)
    at = [RIDGES.index(ridge) for ridge in best.ridge]
    lower = {tuple(RIDGES[max(0, i - step)] for i in at) for step in range(BOLDER)}

    def cosines(recipe, fold):
        maps = recipe(cv.moments(average.roots, fold))
        held_out = cv.project(maps, fold.held_out)
        return Similarities.of(held_out, cv.project(maps, fold.reference[:MAP_REFERENCE]))

    scores = {}
    for ridge in lower:
        for share in SHARES:
            by_fold = []
            for fold in cv.screening_folds:
                one, two = cosines(Centering(), fold), cosines(RCCA(ridge, best.power), fold)
                by_fold.append(one.blended(two, share).outcome(SCREENING))
            scores[ridge, share] = Outcome.pooled(by_fold, k=cv.k).mrr
    (ridge, share) = max(scores, key=scores.get)
    assert average.build == Average(Centering(), RCCA(ridge, best.power), share)
    assert average.name == str(average.build)
    assert search.best is average


def test_an_average_that_the_screening_does_not_prefer_is_not_built(both):
    assert "average" not in {choice.stage for choice in both[1].tried}


def test_a_root_that_gains_less_than_an_error_is_not_taken():
    _, search = searched(*shared_factors(60, (12, 10), shared=6, noise=1.0, seed=3), folds=2)
    rooted = [choice for choice in search.tried if choice.roots != (False, False)]
    lucky = max(rooted, key=lambda choice: choice.outcome.mrr)
    plain = next(c for c in search.tried if (c.ridge, c.power) == (lucky.ridge, lucky.power))
    gain, error = lucky.outcome.gain_over(plain.outcome)
    assert 0 < gain < error
    assert search.best.roots == (False, False)
