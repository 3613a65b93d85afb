"""The gate before a correction of the gallery: a gain must be larger than its standard error."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from align.fitting.model_selection.cross_validation import Projection
from align.fitting.model_selection.gallery_correction import (
    QUERY_EXPANSIONS,
    _gaining,
    choose_gallery,
)
from align.fitting.model_selection.outcome import Outcome


def outcome(reciprocal):
    values = torch.tensor(reciprocal, dtype=torch.float64)
    return Outcome(values, values)


WITHOUT = outcome([0.5] * 40)


def with_gains(gains):
    return outcome([0.5 + gain for gain in gains] + [0.5] * (40 - len(gains)))


@pytest.mark.parametrize(
    ("gains", "taken"),
    [
        ([0.5, -0.3], False),  # 0.2 / 40, and an error of about 0.6 / 40
        ([0.1, 0.1, -0.1], False),
        ([0.5], False),  # gain and error are equal on paper
        ([0.1] * 6, True),
        ([], False),
        ([-0.1], False),
    ],
    ids=str,
)
def test_a_correction_is_taken_only_where_it_gains_more_than_a_standard_error(gains, taken):
    tried = [with_gains([-0.2, -0.2]), with_gains(gains)]
    best, found = _gaining(("worse", "tried"), tried, WITHOUT, errors=1)
    assert (best, found is WITHOUT) == (("tried", False) if taken else (None, True))


@pytest.mark.parametrize("n", [7, 19, 40, 123, 1000])
@pytest.mark.parametrize("gain", [0.1, 1 / 3, 0.5, 2 / 3])
def test_one_pair_that_comes_out_better_is_no_gain_in_whatever_order_sums_are_taken(n, gain, rng):
    for at in torch.randint(n, (8,), generator=rng).tolist():
        before = torch.rand(n, generator=rng, dtype=torch.float64) / 3
        after = before.clone()
        after[at] += gain
        assert not Outcome(after, after).improves_on(Outcome(before, before), errors=1)


def test_a_correction_of_hubs_is_taken_where_it_gains_less_than_a_standard_error(rng):
    """A cloud of few pairs, of which the best correction finds one or two more at once."""
    found = chosen(rng, query_only=False, expand_queries=False)
    (plain,) = [step for step in found.tried if step.name == "none"]
    best = max((s for s in found.tried if s.stage == "hubness"), key=lambda s: s.outcome.mrr)
    gain, error = best.outcome.gain_over(plain.outcome)
    assert 0 < gain < error
    assert best.chosen and str(found.hubness) == best.name


def test_of_corrections_that_score_equally_the_first_is_taken():
    values = [0.1, 0.2, 0.3, 0.7, 0.9, 0.15] * 7
    orders = [values, values[::-1], sorted(values)]
    for tried in ([outcome(each) for each in orders], [outcome(each) for each in orders[::-1]]):
        best, found = _gaining((1, 2, 3), tried, outcome([0.0] * 41 + [0.01]), errors=1)
        assert best == 1 and found is tried[0]


def neighbours(rng, n=240, clusters=40, d=12):
    """Two sides of pairs whose partners lie together, but far from where their maps put them."""
    centres = F.normalize(torch.randn(2, clusters, d, generator=rng), dim=2)
    of = torch.arange(n) % clusters

    def near(side):
        return centres[side][of] + 0.05 * torch.randn(n, d, generator=rng)

    shared = 0.35 * torch.randn(n, d, generator=rng)
    return tuple(F.normalize(near(side) + shared, dim=1) for side in (0, 1))


def chosen(rng, **settings):
    source, target = neighbours(rng)
    folds = [
        Projection((source[rows], target[rows]), (source[~rows], target[~rows]))
        for rows in (torch.arange(240) // 40 % 3 == fold for fold in range(3))
    ]
    return choose_gallery(SimpleNamespace(k=3), folds, **settings)


def test_an_expansion_of_queries_is_chosen_where_it_gains_and_was_asked_for(rng):
    found = chosen(rng, query_only=True, expand_queries=True)
    assert found.hubness is None and found.expansion is None
    assert found.query_expansion in QUERY_EXPANSIONS and not found.is_plain
    assert [step.stage for step in found.tried] == ["query expansion"] * len(QUERY_EXPANSIONS)
    assert sum(step.chosen for step in found.tried) == 1
    without = chosen(rng.manual_seed(0), query_only=True, expand_queries=False)
    assert without.is_plain and without.tried == ()


def test_an_expansion_of_queries_must_gain_two_standard_errors():
    gains = [0.1, 0.1, 0.1]  # 1.8 standard errors
    best, _ = _gaining(("tried",), [with_gains(gains)], WITHOUT, errors=2)
    assert best is None and _gaining(("tried",), [with_gains(gains)], WITHOUT, errors=1)[0]
