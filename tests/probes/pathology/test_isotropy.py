"""Cones and unevenly used dimensions: planted ones, the printed algorithm, and draws by hand."""

from functools import partial
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from align.metrics.bootstrap import resamples
from probes.inputs import UnreliableEstimate
from probes.pathology.isotropy import (
    ISO_SCORE_SOURCE,
    ISO_SCORE_TARGET,
    MEAN_COSINE_SOURCE,
    MEAN_COSINE_TARGET,
    iso_score,
    mean_cosine,
)
from probes.space import Space
from tests.helpers.planted import rotation
from tests.probes.paired_clouds import spread_ratio


def cone(rng, n=60, d=8, *, lean=1.0, groups=None):
    """Unit-norm sides, of which the source leans to one direction."""
    source, target = torch.randn(2, n, d, generator=rng)
    codes = torch.arange(n) if groups is None else torch.arange(n) % groups
    return Space(F.normalize(source + lean, dim=1), F.normalize(target, dim=1), codes, seed=2)


def names(space):
    return [str(code) for code in space.codes.tolist()]


def mean_cosine_by_hand(x, codes, rows):
    units = F.normalize(x.double(), dim=1)
    apart = [(units[i] @ units[j]).item() for i, j in product(rows, rows) if codes[i] != codes[j]]
    return sum(apart) / len(apart)


@pytest.mark.parametrize("groups", [None, 17])
def test_the_mean_cosine_is_that_of_a_double_loop(groups, rng):
    space = cone(rng, groups=groups)
    stretched = space.source * torch.rand(60, 1, generator=rng).add(0.1)
    expected = mean_cosine_by_hand(stretched, space.codes, range(60))
    assert mean_cosine(stretched, groups=names(space)) == pytest.approx(expected, abs=1e-6)
    if groups is None:
        assert mean_cosine(stretched.numpy()) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("groups", [None, 15])
def test_draws_follow_the_mean_cosine_of_the_rows_drawn(groups, rng):
    space = cone(rng)
    codes = space.codes if groups is None else (torch.arange(60) // 4).flip(0)
    space = Space(space.source, space.target, codes)
    (weights,) = resamples(codes, 40, rng)
    found = MEAN_COSINE_SOURCE.measure(space).replicate(weights)
    by_hand = [
        mean_cosine_by_hand(
            space.source, space.codes, torch.arange(60).repeat_interleave(weight.long()).tolist()
        )
        for weight in weights
    ]
    assert np.corrcoef(found, by_hand)[0, 1] > 0.97
    assert 0.8 < float(found.std()) / np.std(by_hand) < 1.1


def test_planted_cones_have_the_mean_cosine_they_were_given():
    ray = torch.tensor([[1.0, 2.0, 2.0]])
    assert mean_cosine(ray * torch.arange(1.0, 6.0)[:, None]) == pytest.approx(1)
    # Half of 10 rows point the other way: each row has 4 friends and 5 opposites.
    assert mean_cosine(ray * torch.tensor([1.0, -1.0]).repeat(5)[:, None]) == pytest.approx(-1 / 9)
    assert mean_cosine(torch.eye(6)) == pytest.approx(0)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 30), st.integers(2, 8), st.integers(0, 2**31))
def test_mean_cosine_and_iso_score_keep_to_their_ranges_and_ignore_a_rotation(n, d, seed):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=rng, dtype=torch.float64)
    turn = rotation(d, rng, torch.float64)
    value = mean_cosine(x)
    assert -1 / (n - 1) - 1e-9 <= value <= 1 + 1e-9
    assert mean_cosine(3 * x @ turn) == pytest.approx(value, abs=1e-9)
    x = torch.cat([x, torch.randn(2 * d, d, generator=rng, dtype=torch.float64)])
    score = iso_score(x)
    assert score == pytest.approx(iso_score_as_printed(x.numpy()))
    assert iso_score(0.01 * x @ turn - 4) == pytest.approx(score)
    assert iso_score(x.flip(0)) == pytest.approx(score)


def test_the_null_of_the_mean_cosine_holds_for_noise_and_falls_for_a_cone(rng):
    noise = [MEAN_COSINE_TARGET.measure(cone(rng, groups=30)).null.p for _ in range(40)]
    assert 0.35 < np.mean(noise) < 0.65
    assert min(noise) < 0.2 and max(noise) > 0.8
    found = MEAN_COSINE_SOURCE.measure(cone(rng))
    assert found.null.value == 0
    assert found.null.p == 1 / 400


def iso_score_as_printed(x):
    """Rudman et al. 2022, algorithm 1, step by step."""
    points = x - x.mean(axis=0)
    axes = np.linalg.svd(points, full_matrices=True)[2]
    d = points.shape[1]
    variances = np.diag(np.cov(points @ axes.T, rowvar=False))
    scaled = np.sqrt(d) * variances / np.linalg.norm(variances)
    defect = np.linalg.norm(scaled - np.ones(d)) / np.sqrt(2 * (d - np.sqrt(d)))
    used = (d - defect**2 * (d - np.sqrt(d))) ** 2 / d**2
    return (d * used - 1) / (d - 1)


def test_iso_score_agrees_with_the_algorithm_as_printed(rng):
    x = torch.randn(50, 12, generator=rng, dtype=torch.float64) * torch.arange(1, 13)
    assert iso_score(x) == pytest.approx(iso_score_as_printed(x.numpy()))
    assert iso_score(x.float()) == pytest.approx(iso_score_as_printed(x.numpy()), rel=1e-5)
    with pytest.warns(UnreliableEstimate, match="8 rows in 12 dimensions"):
        assert iso_score(x[:8]) == pytest.approx(iso_score_as_printed(x[:8].numpy()))


def test_iso_score_is_1_for_all_axes_alike_and_0_for_one():
    both_ways = torch.cat([torch.eye(5), -torch.eye(5)])
    assert iso_score(both_ways) == pytest.approx(1)
    line = torch.randn(1, 5) * torch.linspace(-1, 1, 12)[:, None] + 7
    assert iso_score(line) == pytest.approx(0, abs=1e-6)
    # Two of five axes: participation ratio 2, hence (2 - 1) / (5 - 1).
    assert iso_score(both_ways[[0, 1, 5, 6]].repeat(3, 1)) == pytest.approx(0.25)


def test_the_mean_lowers_no_iso_score_but_raises_the_mean_cosine(rng):
    x = torch.randn(400, 6, generator=rng, dtype=torch.float64)
    assert iso_score(x + 9) == pytest.approx(iso_score(x))
    assert mean_cosine(x + 9) > 0.9 > 0.1 > abs(mean_cosine(x))


def test_noise_comes_out_at_the_null_of_the_iso_score(rng):
    for n, d in ((80, 20), (60, 60), (40, 90)):
        values = [ISO_SCORE_TARGET.measure(cone(rng, n, d)).value for _ in range(12)]
        null = ISO_SCORE_TARGET.measure(cone(rng, n, d)).null.value
        assert np.mean(values) == pytest.approx(null, rel=0.03)


@pytest.mark.parametrize("d", [8, 90])
def test_probes_give_the_values_of_the_functions(d, rng):
    space = cone(rng, d=d, groups=20)
    cosines = MEAN_COSINE_SOURCE.measure(space), MEAN_COSINE_TARGET.measure(space)
    assert cosines[0].value == mean_cosine(space.source, groups=names(space))
    assert cosines[1].value == mean_cosine(space.target, groups=names(space))
    scores = ISO_SCORE_SOURCE.measure(space), ISO_SCORE_TARGET.measure(space)
    for measured, x in zip(scores, (space.source, space.target), strict=True):
        if d == 90:
            with pytest.warns(UnreliableEstimate) as caught:
                assert measured.value == iso_score(x)
            assert [str(each.message) for each in caught] == list(measured.notes)
        else:
            assert measured.value == iso_score(x)
    # What is left to say of enough rows is that the value is theirs.
    told = "are those of these 60 rows" if d == 8 else "biased down"
    assert told in scores[0].notes[0]
    once = torch.ones(1, space.n, dtype=torch.float64)
    for measured in (*cosines, *scores):
        assert measured.replicate(once).item() == pytest.approx(measured.value)


def steep_cone(rng, n, d):
    rows = torch.randn(n, d, generator=rng) / torch.arange(1, d + 1).sqrt() + 0.2
    units = F.normalize(rows, dim=1)
    return Space(units, units, torch.arange(n))


@pytest.mark.parametrize("probe", [MEAN_COSINE_SOURCE, ISO_SCORE_SOURCE], ids=lambda p: p.name)
@pytest.mark.parametrize("d", [6, 150])
def test_draws_spread_as_fresh_rows_do(probe, d):
    assert 0.7 < spread_ratio(probe, partial(steep_cone, n=100, d=d)) < 1.4


def test_what_has_no_direction_or_no_spread_is_refused(rng):
    x = torch.randn(9, 3, generator=rng)
    with pytest.raises(ValueError, match="x must have at least 2 rows for this probe; got 1"):
        mean_cosine(x[:1])
    with pytest.raises(ValueError, match="every row of x needs a direction; 1 of 9"):
        mean_cosine(x * (torch.arange(9) != 4)[:, None])
    with pytest.raises(ValueError, match="at least two groups"):
        mean_cosine(x, groups=["a"] * 9)
    with pytest.raises(ValueError, match="groups must have one entry per row, 9; got 2"):
        mean_cosine(x, groups=["a", "b"])
    with pytest.raises(ValueError, match=r"x must have at least two columns.*got 1"):
        iso_score(x[:, :1])
    with pytest.raises(ValueError, match="x must have at least 2 rows for this probe; got 1"):
        iso_score(x[:1])
    with pytest.raises(ValueError, match=r"rows must differ.*all 9 are equal"):
        iso_score(x[:1].repeat(9, 1))
