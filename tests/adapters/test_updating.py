"""Pairs that are added later give the maps that all of them together give."""

from __future__ import annotations

import pytest
import torch

import align
from align.adapters.corrections.hubness import InvertedSoftmax
from align.adapters.corrections.reference_set import Expansion, ReferenceSet
from align.adapters.maps.linear import centred, directions
from align.adapters.maps.parts import Parts
from align.adapters.recipes.moments import Paired, Spectrum, second_moment
from align.adapters.recipes.recipe import (
    PLS,
    RCCA,
    Average,
    Centering,
    Procrustes,
    QueryOnly,
    Ridge,
)
from align.adapters.recipes.statistics import SufficientStatistics
from align.adapters.training_items import TrainingItems
from tests.helpers.planted import shared_factors

N = 90
RECIPES = [
    RCCA((1.0, 3.0), 0.5),
    Ridge(3.0, "both"),
    PLS(0.25),
    Procrustes(),
    Average(Procrustes(), RCCA((3.0, 3.0), 1.0), 0.75),
    Average(Centering(), RCCA((3.0, 3.0), 1.0), 0.25),
    QueryOnly(RCCA((1.0, 1.0), 1.0)),
]


def planted(widths=(12, 12), n=N):
    return shared_factors(n, widths, shared=6, noise=0.7, seed=0)


def statistics(recipe, rows, unpaired=None, roots=(False, False), parts=(None, None)):
    """Of the first rows of the planted pairs, centred on these."""
    x, y = planted()
    first = x[:rows], y[:rows]
    means = tuple(
        (part.mean(a, root=root) if part else directions(a, root=root).mean(dim=0))
        for a, root, part in zip(first, roots, parts, strict=True)
    )
    prepared = [
        centred(a, mean, root=root, parts=part)
        for a, mean, root, part in zip(first, means, roots, parts, strict=True)
    ]
    return SufficientStatistics.of(
        recipe, means, prepared, first, roots=roots, parts=parts, unpaired=(unpaired, None)
    )


def on_all(kept, unpaired=None):
    """The maps of the same recipe on all planted pairs, from their rows."""
    x, y = planted()
    rows = zip(
        (x, y), (kept.source_centre, kept.target_centre), kept.roots, kept.parts, strict=True
    )
    a, b = (centred(each, mean, root=root, parts=part) for each, mean, root, part in rows)
    whole = a if unpaired is None else torch.cat([a, unpaired])
    sx, sy = Spectrum.of_rows(whole), Spectrum.of_rows(b)
    cross = sx.vectors.T @ (second_moment(a, b) / len(a)) @ sy.vectors
    means = kept.source_centre, kept.target_centre
    return kept.recipe(Paired(means, kept.roots, sx, sy, cross, len(a), kept.parts))


def added(kept, start, step=13, most=8192):
    x, y = planted()
    for at in range(start, N, step):
        new = x[at : at + step], y[at : at + step]
        kept = kept.with_pairs(*new, most=most, generator=torch.Generator().manual_seed(at))
    return kept


def scores(maps):
    x, y = planted()
    return maps[0](x) @ maps[1](y).T


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
@pytest.mark.parametrize("start", [8, 20, 60], ids=["thin", "between", "thick"])
def test_statistics_with_pairs_added_in_steps_give_the_maps_of_all_rows(recipe, start):
    kept = added(statistics(recipe, start), start)
    found = kept.recipe(kept.moments())
    torch.testing.assert_close(scores(found), scores(on_all(kept)), atol=1e-6, rtol=0)
    assert kept.counts == (N, N, N)
    assert len(kept.factor) == 24  # never more than columns


def test_statistics_keep_roots_parts_and_unpaired_rows():
    extra = torch.nn.functional.normalize(
        torch.randn(40, 12, generator=torch.Generator().manual_seed(5)), dim=1
    )
    parts = (Parts((4, 8), (0.25, 0.75)), None)
    first = statistics(RCCA((1.0, 1.0), 0.5), 20, extra, (False, True), parts)
    kept = added(first, 20)
    found, wanted = kept.recipe(kept.moments()), on_all(kept, extra)
    torch.testing.assert_close(scores(found), scores(wanted), atol=1e-6, rtol=0)
    assert kept.counts == (N, N + 40, N)
    assert found[0].parts == parts[0] and found[1].root


def test_few_pairs_take_as_many_rows_as_there_are():
    assert len(statistics(PLS(0.5), 8).factor) == 8


def test_the_sample_is_of_all_pairs_in_order_while_they_fit_and_of_some_beyond():
    x, y = planted()
    kept = added(statistics(PLS(0.5), 20), 20)
    assert torch.equal(kept.source_rows, x) and torch.equal(kept.target_rows, y)
    seen = torch.zeros(N)
    for seed in range(200):
        some = statistics(PLS(0.5), 20)
        generator = torch.Generator().manual_seed(seed)
        some = some.with_pairs(x[20:50], y[20:50], most=15, generator=generator)
        some = some.with_pairs(x[50:], y[50:], most=15, generator=generator)
        at = (some.source_rows[:, None] == x).all(dim=2).nonzero()[:, 1]
        assert len(at.unique()) == 15 and torch.equal(some.target_rows, y[at])
        seen[at] += 1
    # Each pair is as likely as another, 200 * 15 / 90 = 33 times: five standard errors of a mean.
    for part in (seen[:20], seen[20:50], seen[50:]):
        assert abs(part.mean() - 200 * 15 / N) < 5 * 5.3 / len(part) ** 0.5


@pytest.fixture(scope="module")
def fitted():
    x, y = planted()
    return align.fit(x[:60], y[:60], effort="fast", updatable=True, progress=False)


def test_an_updated_adapter_is_its_recipe_on_all_pairs(fitted):
    x, y = planted()
    new = fitted.update(x[60:], y[60:])
    kept = new.statistics
    torch.testing.assert_close(
        new.source(x) @ new.target(y).T, scores(on_all(kept)), atol=1e-6, rtol=0
    )
    assert new.card.n_pairs == N and new.card.n_before_updates == 60
    assert new.card.n_groups == N
    assert new.card.method == fitted.card.method
    assert new.card.candidates == fitted.card.candidates
    assert bool(new.trained_on(x, y).all())
    again = fitted.update(x[60:70], y[60:70]).update(x[70:], y[70:])
    twice, once = (each.source(x) @ each.target(y).T for each in (again, new))
    torch.testing.assert_close(twice, once, atol=1e-6, rtol=0)
    assert again.card.n_before_updates == 60


def test_the_reference_set_takes_new_pairs_in_through_the_new_maps(fitted):
    x, y = planted()
    reference = ReferenceSet(
        fitted.source(x[:60]),
        fitted.target(y[:60]),
        hubness=InvertedSoftmax(10.0),
        expansion=Expansion(0.3, 20.0),
    )
    kept = SufficientStatistics.of(
        fitted.statistics.recipe,
        (fitted.statistics.source_centre, fitted.statistics.target_centre),
        [
            centred(each, mean)
            for each, mean in (
                (x[:60], fitted.statistics.source_centre),
                (y[:60], fitted.statistics.target_centre),
            )
        ],
        (x[:60], y[:60]),
    )
    new = fitted.replaced(reference=reference, statistics=kept).update(x[60:], y[60:])
    assert new.reference.rows == N
    torch.testing.assert_close(new.reference.source_reference, new.source(x))
    torch.testing.assert_close(new.reference.target_reference, new.target(y))
    assert new.reference.hubness == InvertedSoftmax(10.0)


def test_an_updatable_adapter_survives_being_saved(fitted, tmp_path):
    x, y = planted()
    fitted.save(tmp_path / "a")
    loaded = align.load(tmp_path / "a")
    once, twice = (each.update(x[60:], y[60:]) for each in (fitted, loaded))
    assert torch.equal(once.source(x), twice.source(x))
    once.save(tmp_path / "b")
    assert torch.equal(align.load(tmp_path / "b").source(x), once.source(x))
    assert "first 60" in (tmp_path / "b" / "README.md").read_text()
    assert "adapter.replaced(statistics=None)" in (tmp_path / "b" / "README.md").read_text()
    assert "takes further pairs beside 90 pairs" in once._repr_html_()
    from align import light

    plain = light.load(tmp_path / "b")
    torch.testing.assert_close(
        torch.from_numpy(plain.queries(x.numpy())), once.queries(x), atol=1e-6, rtol=0
    )


def test_statistics_change_no_digest_and_are_of_their_own_maps(fitted):
    from align.adapters.digest import adapter_digest

    plain = fitted.replaced(statistics=None)
    assert adapter_digest(plain.components()) == adapter_digest(fitted.components())
    assert align.residual(fitted).statistics is None


def test_what_cannot_be_updated_is_refused(fitted):
    x, y = planted()
    with pytest.raises(ValueError, match=r"holds none .*updatable=True"):
        align.residual(fitted).update(x[60:], y[60:])
    with pytest.raises(ValueError, match=r"2 of 32 are in training already .* rows \[0, 1\]"):
        fitted.update(x[58:], y[58:])
    with pytest.raises(ValueError, match="source embeddings"):
        fitted.update(x[60:, :5], y[60:])
    bad = x[60:].clone()
    bad[3] = 0
    with pytest.raises(ValueError, match="zero"):
        fitted.update(bad, y[60:])
    with pytest.raises(ValueError, match="refine=True and updatable=True"):
        align.fit(x, y, refine=True, updatable=True, progress=False)


def test_an_item_may_come_again_in_a_new_pair(fitted):
    x, y = planted()
    again = fitted.update(x[60:], y[:30])
    assert again.card.n_pairs == N


def test_hold_finds_pairs_and_not_items_in_other_pairs():
    x, y = planted()
    items = TrainingItems.of(x[:10], y[:10])
    swapped = torch.cat([y[1:10], y[:1]])
    assert items.hold(x[:12], y[:12]).tolist() == [True] * 10 + [False] * 2
    assert not items.hold(x[:10], swapped).any()
