"""SVCCA: kept components, planted subspaces, noise that a fit cannot carry over."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA

from probes.inputs import UnreliableEstimate
from probes.structure.canonical import canonical_spectrum
from probes.structure.held_out import of_fits
from probes.structure.svcca import SVCCA, svcca
from tests.helpers.planted import rotation
from tests.probes.paired_clouds import (
    UNEVEN,
    names,
    noisy_pairs,
    space_of,
    spread_ratio,
    strangers,
    weights_of,
)


def sloping(rng, n, d=12):
    """Two sides of one cloud whose variances fall, each with a little noise and a rotation."""
    slope = 0.7 ** torch.arange(d)
    shared = torch.randn(n, d, generator=rng)
    return [
        ((shared + 0.3 * torch.randn(n, d, generator=rng)) * slope) @ rotation(d, rng)
        for _ in range(2)
    ]


@pytest.mark.parametrize(("n", "variance"), [(200, 0.8), (200, 1.0), (11, 0.8), (11, 0.9)])
def test_it_is_the_mean_spectrum_of_the_components_that_hold_the_variance(rng, n, variance):
    x, y = (side.double() for side in sloping(rng, n))
    kept = []
    for side in (x, y):
        share = PCA().fit(side).explained_variance_ratio_.cumsum()
        k = 12 if variance == 1 else int((share < variance).sum()) + 1
        kept.append(PCA(k).fit_transform(side))
    expected = canonical_spectrum(*kept, ridge=1e-4).held_out.mean().item()
    assert svcca(x, y, variance=variance) == pytest.approx(expected, abs=1e-6)


def test_linear_images_of_one_side_have_one_and_strangers_zero(rng):
    source, other = strangers(rng, 400, 6)
    image = source @ torch.randn(6, 9, generator=rng)
    assert svcca(source, image) == pytest.approx(1, abs=1e-3)
    assert svcca(source, other) == pytest.approx(0, abs=0.1)


def test_a_known_noise_gives_the_known_correlation(rng):
    source, target = sloping(rng, 3000, d=4)
    assert svcca(source, target) == pytest.approx(1 / 1.09, abs=0.02)


def test_rotation_shift_and_scale_of_a_side_change_nothing(rng):
    source, target = sloping(rng, 100)
    turn = rotation(12, rng)
    moved = svcca(3 * source @ turn + 2, 0.1 * target - 1)
    assert moved == pytest.approx(svcca(source, target), abs=1e-4)


def test_unrelated_sides_give_zero_though_training_gives_one(rng):
    measured = [SVCCA.measure(space_of(*strangers(rng, 60, 40))) for _ in range(30)]
    values = torch.tensor([found.value for found in measured])
    assert values.mean().abs() < 3 * values.std() / 30**0.5
    assert measured[0].null.value == 0 and measured[0].null.p is None


def test_a_group_that_is_not_named_leaks_across_folds(rng):
    source, target = (side.repeat_interleave(4, dim=0) for side in strangers(rng, 40, 12))
    groups = names(torch.arange(40).repeat_interleave(4))
    assert svcca(source, target) > 0.2
    assert abs(svcca(source, target, groups=groups)) < 0.15


def test_it_needs_no_gradient_and_no_common_width(rng):
    source, target = sloping(rng, 100)
    wide = F.pad(target, (0, 3)).requires_grad_()
    assert svcca(source, wide) == pytest.approx(svcca(source, target), abs=1e-4)


def test_the_interval_is_widened_for_fits_that_share_pairs():
    fresh = partial(noisy_pairs, n=300, d=4)
    assert 0.9 < spread_ratio(SVCCA, lambda rng: space_of(*fresh(rng)), repeats=40) < 1.9


@pytest.mark.parametrize("codes", [torch.arange(20), UNEVEN], ids=["pairs", "groups"])
def test_the_probe_gives_what_the_function_gives(rng, codes):
    source, target = noisy_pairs(rng, 20, 4)
    found = SVCCA.measure(space_of(source, target, codes))
    assert found.value == svcca(source, target, groups=names(codes))
    ones = torch.ones(1, 20, dtype=torch.float64)
    assert found.replicate(ones).item() == pytest.approx(found.value)
    assert found.notes == (of_fits(20),)
    assert "fits on 16 pairs" in found.notes[0]


def test_a_large_space_is_measured_on_a_sample(rng):
    source, target = noisy_pairs(rng, 1050, 4)
    found = SVCCA.measure(space_of(source, target))
    assert len(found.rows) == 1000
    assert found.value == svcca(source[found.rows], target[found.rows])


def test_more_components_than_pairs_to_fit_on_are_remarked_on(rng):
    source, target = strangers(rng, 20, 12)
    with pytest.warns(UnreliableEstimate, match="principal components and fits on 16 pairs"):
        value = svcca(source, target)
    found = SVCCA.measure(space_of(source, target))
    assert found.value == value
    assert len(found.notes) == 2


@pytest.mark.parametrize("variance", [0.0, 1.01, 99.0])
def test_a_variance_that_is_no_share_is_refused(rng, variance):
    with pytest.raises(ValueError, match=r"variance must lie in \(0, 1\], a share"):
        svcca(*noisy_pairs(rng, 20, 4), variance=variance)


def test_too_few_groups_are_refused(rng):
    source, target = noisy_pairs(rng, 8, 2)
    with pytest.raises(ValueError, match=r"folds must lie in \[2, 4\]"):
        svcca(source, target, groups=list("aabbccdd"))


def test_a_side_that_is_one_point_is_refused(rng):
    source, _ = strangers(rng, 20, 4)
    with pytest.raises(ValueError, match="source must vary; all 20 rows are one point"):
        svcca(torch.full((20, 3), 0.1), source)


def test_intervals_of_many_directions_hold_what_is_expected():
    """With the fits held fixed, four in five did."""
    spaces = [
        space_of(*noisy_pairs(torch.Generator().manual_seed(seed), 100, 24, noise=2.0))
        for seed in range(80)
    ]
    measured = [SVCCA.measure(space) for space in spaces]
    expected = sum(found.value for found in measured) / 80
    weights = weights_of(torch.arange(100), 400)
    tails = torch.tensor([0.025, 0.975], dtype=torch.float64)
    bounds = [found.replicate(weights).quantile(tails).tolist() for found in measured]
    assert sum(low <= expected <= high for low, high in bounds) >= 71
