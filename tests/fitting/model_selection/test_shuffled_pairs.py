"""Shuffled pairs come out no better than chance, and a weak true signal does not."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from align.data.embeddings import PairedEmbeddings
from align.data.token_pairs import TokenPairs
from align.fitting.model_selection.fit import fit
from align.fitting.multi_vector.fit import fit_meta_tokens
from align.metrics.chance import NoBetterThanChance
from tests.helpers.planted import shared_factors, unit

QUICK = partial(fit, effort="fast", folds=2)


def pairs(n, widths, *, noise, seed, shared=4, groups=1, shuffle=False):
    x, y = shared_factors(n, widths, shared=shared, noise=noise, seed=seed)
    if shuffle:
        y = y[torch.randperm(n, generator=torch.Generator().manual_seed(seed + 100))]
    names = [str(row // groups) for row in range(n)]
    return PairedEmbeddings.from_arrays(x, y, groups=names)


@pytest.mark.parametrize(
    ("n", "widths", "groups"),
    [
        (24, (8, 6), 1),
        (60, (10, 10), 1),
        (60, (10, 8), 1),
        (150, (24, 24), 5),
        (300, (24, 20), 1),
        (1200, (12, 12), 1),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_shuffled_pairs_are_no_better_than_chance(n, widths, groups, seed):
    data = pairs(n, widths, noise=0.5, seed=seed, groups=groups, shuffle=True)
    with pytest.warns(NoBetterThanChance, match="are the rows matched") as told:
        card = fit(data, effort="fast", seed=seed).card
    assert told[0].filename == __file__
    assert card.better_than_chance is False
    assert card.verdict.startswith("no better than chance: are the rows matched? (R@")


@pytest.mark.parametrize("seed", range(3))
def test_luck_that_all_folds_share_does_not_pass(seed):
    # Two coordinates a side: what one fold finds by accident, all find.
    data = pairs(60, (6, 6), noise=0.1, seed=seed, shared=2, shuffle=True)
    with pytest.warns(NoBetterThanChance):
        fit(data, effort="fast", seed=seed)


@pytest.mark.parametrize(
    ("n", "widths", "noise"),
    [(40, (10, 8), 1.0), (60, (10, 10), 2.0), (300, (24, 20), 4.0), (1200, (24, 24), 6.0)],
)
@pytest.mark.parametrize("seed", [0])
def test_a_weak_true_signal_is_better_than_chance(n, widths, noise, seed):
    card = fit(pairs(n, widths, noise=noise, seed=seed), effort="fast", seed=seed).card
    assert card.better_than_chance is True
    assert card.verdict.startswith("finds pairs ")


def test_encoders_that_agree_weakly_are_better_than_chance_as_they_are(rng):
    x = torch.randn(40, 16, generator=rng)
    y = x + 2.5 * torch.randn(40, 16, generator=rng)
    card = fit(PairedEmbeddings.from_arrays(unit(x), unit(y)), effort="fast").card
    assert card.better_than_chance is True


def test_chance_values_stand_beside_every_candidate():
    card = fit(pairs(60, (10, 8), noise=0.5, seed=0), effort="fast", folds=2).card
    harmonic = sum(1 / place for place in range(1, 31)) / 30
    for each in card.candidates:
        assert each.chance_at_10 == pytest.approx(1 / 3)
        assert each.chance_mrr == pytest.approx(harmonic)


def test_a_head_of_shuffled_pairs_is_no_better_than_chance():
    data = pairs(60, (10, 8), noise=0.5, seed=0, shuffle=True)
    with pytest.warns(NoBetterThanChance, match="this head is no better than chance") as told:
        head = fit_meta_tokens(TokenPairs(data), asking=2, vectors=3, epochs=0, fit_adapter=QUICK)
    assert [each.category for each in told] == [NoBetterThanChance]
    assert head.card["better_than_chance"] is False
    assert head.card["verdict"].startswith("no better than chance")
    assert all(0 < each["chance_at_10"] <= 1 for each in head.card["tried"])


def test_a_head_of_true_pairs_is_better_than_chance():
    head = fit_meta_tokens(
        TokenPairs(pairs(90, (10, 8), noise=0.5, seed=0)),
        asking=2,
        vectors=3,
        epochs=0,
        fit_adapter=QUICK,
    )
    assert head.card["better_than_chance"] is True
    assert head.card["verdict"].startswith("finds pairs ")
