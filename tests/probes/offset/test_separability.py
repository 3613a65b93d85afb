"""Modality classifier: against scikit-learn, planted planes, swaps that train again, noise."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score

from align.data.splits import folds as deal
from probes.nulls import random_signs
from probes.offset.gap import gap_energy_share
from probes.offset.separability import (
    MODALITY_CLASSIFIER_AUC,
    _swapped_areas,
    _tests,
    modality_classifier_auc,
    shrunk_covariance,
)
from tests.helpers.planted import rotation
from tests.probes.paired_clouds import (
    UNEVEN,
    check_uniform,
    names,
    noisy_pairs,
    space_of,
    spread_ratio,
    strangers,
    weights_of,
)

PAIRS = torch.arange(60)
FOURS = PAIRS // 4
CODES = pytest.mark.parametrize("codes", [PAIRS, FOURS], ids=["pairs", "groups"])


def by_scikit_learn(source, target, codes, folds=5, seed=0):
    """Cross-validated AUC of its discriminant, shrunk as far within classes as ours is in all."""
    fold = torch.from_numpy(deal(names(codes), folds, seed=seed))
    areas, sizes = [], []
    for i in range(folds):
        rest, held = fold != i, fold == i
        x, y = source[rest].double(), target[rest].double()
        items = torch.cat([x, y])
        weight = ledoit_wolf_shrinkage(items.numpy())
        within = sum(z.var(dim=0, correction=0).sum() for z in (x, y)) / 2
        sphere = weight * items.var(dim=0, correction=0).sum()
        shrinkage = float(sphere / (sphere + (1 - weight) * within))
        model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage)
        model.fit(items.numpy(), [1] * len(x) + [0] * len(y))
        m = int(held.sum())
        scores = model.decision_function(torch.cat([source[held], target[held]]).double().numpy())
        areas.append(roc_auc_score([1] * m + [0] * m, scores))
        sizes.append(m)
    return sum(a * m for a, m in zip(areas, sizes, strict=True)) / sum(sizes)


@CODES
@pytest.mark.parametrize("d", [3, 12, 100], ids=["narrow", "middle", "wider than n"])
def test_it_agrees_with_scikit_learn(rng, codes, d):
    source, target = noisy_pairs(rng, 60, d, shift=0.4)
    value = modality_classifier_auc(source, target, groups=names(codes))
    assert value == pytest.approx(by_scikit_learn(source, target, codes), abs=1e-6)


def test_the_shrinkage_is_that_of_ledoit_and_wolf(rng):
    for n, d in ((50, 10), (20, 100)):
        items = torch.randn(n, d, generator=rng).double() * torch.linspace(0.1, 2, d) + 3
        mean = items.mean(dim=0)
        weight = float(ledoit_wolf_shrinkage(items.numpy()))
        plain = torch.cov(items.T, correction=0)
        sphere = plain.trace() / d * torch.eye(d, dtype=torch.float64)
        expected = (1 - weight) * plain + weight * sphere
        found = shrunk_covariance(items, items.T @ items)
        torch.testing.assert_close(found, expected)
        assert mean.abs().min() > 1


@pytest.mark.parametrize(("folds", "seed"), [(2, 0), (5, 3), (7, 1)])
def test_folds_and_seed_are_those_asked_for(rng, folds, seed):
    source, target = noisy_pairs(rng, 60, 6, shift=0.2)
    assert modality_classifier_auc(source, target, folds=folds, seed=seed) == pytest.approx(
        by_scikit_learn(source, target, PAIRS, folds, seed), abs=1e-6
    )


def test_a_plane_between_the_sides_is_found(rng):
    cloud, _ = strangers(rng, 50, 20)
    off = F.pad(torch.zeros(50, 19), (1, 0), value=1.01)
    assert modality_classifier_auc(cloud + off, cloud - off) == 1


def test_an_offset_that_is_hardly_any_variance_is_found(rng):
    source, target = noisy_pairs(rng, 400, 20, noise=0.5)
    quiet = 0.02 * torch.randn(2, 400, 1, generator=rng)
    source = torch.cat([source, quiet[0] + 0.05], 1)
    target = torch.cat([target, quiet[1] - 0.05], 1)
    assert gap_energy_share(source, target) < 0.005
    assert modality_classifier_auc(source, target) > 0.95


def test_noise_is_not_separable():
    values = []
    for seed in range(40):
        rng = torch.Generator().manual_seed(seed)
        values.append(modality_classifier_auc(*noisy_pairs(rng, 60, 10)))
    values = torch.tensor(values)
    assert abs(float(values.mean()) - 0.5) < 3.5 * float(values.std()) / 40**0.5
    # Cross-validated: the training items themselves would give about 0.8.
    assert float(values.max()) < 0.75


def test_equal_sides_tie_everywhere(rng):
    source, _ = strangers(rng, 30)
    assert modality_classifier_auc(source, source) == 0.5
    measured = MODALITY_CLASSIFIER_AUC.measure(space_of(source, source))
    assert measured.value == 0.5
    assert measured.null.p == 1
    replicates = measured.replicate(weights_of(torch.arange(30), 20))
    assert replicates.isfinite().all()


@given(seed=st.integers(0, 2**31), scale=st.floats(1e-2, 1e2))
@settings(deadline=None, max_examples=15)
def test_rotation_shift_scale_and_roles_do_not_matter(seed, scale):
    rng = torch.Generator().manual_seed(seed)
    source, target = (x.double() for x in noisy_pairs(rng, 30, 6, shift=0.3))
    turn = rotation(6, rng).double()
    move = torch.randn(6, generator=rng).double()
    value = modality_classifier_auc(source, target)
    moved = [scale * (x @ turn + move) for x in (source, target)]
    assert modality_classifier_auc(*moved) == pytest.approx(value, abs=1e-9)
    assert modality_classifier_auc(target, source) == pytest.approx(value, abs=1e-9)


def test_a_constant_column_changes_nothing_to_speak_of(rng):
    source, target = noisy_pairs(rng, 60, 6, shift=0.3)
    wider = [F.pad(x, (0, 1), value=0.7) for x in (source, target)]
    # The sphere that the covariance is shrunk towards has one dimension more.
    assert modality_classifier_auc(*wider) == pytest.approx(
        modality_classifier_auc(source, target), abs=0.02
    )


def test_groups_stay_in_one_fold(rng):
    # Copies of a pair in training would give its modality away: noise would look separable.
    copies = [x.repeat_interleave(4, dim=0) for x in strangers(rng, 15, 60)]
    leaking = modality_classifier_auc(*copies)
    assert leaking > 0.9
    assert modality_classifier_auc(*copies, groups=names(FOURS)) < 0.75


def test_duplicates_and_two_points_are_classified(rng):
    points = F.normalize(torch.randn(2, 6, generator=rng), dim=1)
    source, target = points[0].repeat(30, 1), points[1].repeat(30, 1)
    assert modality_classifier_auc(source, target) == 1
    assert MODALITY_CLASSIFIER_AUC.measure(space_of(source, target)).value == 1
    # Ten points in eight dimensions, each of them in training as well: a plane parts them.
    few = strangers(rng, 5)
    assert modality_classifier_auc(*(x.repeat(6, 1) for x in few)) > 0.95


@pytest.mark.parametrize("codes", [torch.arange(20), UNEVEN], ids=["pairs", "groups"])
def test_the_probe_gives_the_value_of_the_function(rng, codes):
    source, target = noisy_pairs(rng, 20, shift=0.3)
    measured = MODALITY_CLASSIFIER_AUC.measure(space_of(source, target, codes))
    assert measured.value == modality_classifier_auc(source, target, groups=names(codes))
    assert measured.null.value == 0.5
    ones = torch.ones(1, 20, dtype=torch.float64)
    assert measured.replicate(ones).item() == pytest.approx(measured.value)


def test_many_pairs_are_sampled(rng):
    source, target = noisy_pairs(rng, 1_050, 4, shift=0.1)
    measured = MODALITY_CLASSIFIER_AUC.measure(space_of(source, target))
    assert len(measured.rows) == 1_000
    value = modality_classifier_auc(source[measured.rows], target[measured.rows])
    assert measured.value == value


def test_numpy_and_half_precision_are_read(rng):
    source, target = noisy_pairs(rng, 30, shift=0.3)
    exact = modality_classifier_auc(source, target)
    assert modality_classifier_auc(source.numpy(), target.numpy()) == exact
    assert modality_classifier_auc(source.half(), target.half()) == pytest.approx(exact, abs=0.05)


@CODES
def test_a_swap_is_the_same_as_swapping_the_data_and_starting_again(rng, codes):
    source, target = noisy_pairs(rng, 60, 6, shift=0.3)
    signs = random_signs(codes, 5, rng)
    areas = _swapped_areas(_tests(source, target, codes, 5, 0), signs)
    for area, row in zip(areas, signs, strict=True):
        swap = row[:, None] < 0
        sides = torch.where(swap, target, source), torch.where(swap, source, target)
        again = modality_classifier_auc(*sides, groups=names(codes))
        assert area.item() == pytest.approx(again, abs=1e-9)


@pytest.mark.parametrize("codes", [PAIRS, FOURS], ids=["pairs", "groups"])
def test_p_is_uniform_where_sides_can_be_swapped(codes):
    ps = []
    repeats = int((codes == 0).sum())
    for seed in range(100):
        rng = torch.Generator().manual_seed(seed)
        sides = noisy_pairs(rng, 60 // repeats, 6)
        source, target = (x.repeat_interleave(repeats, dim=0) for x in sides)
        ps.append(MODALITY_CLASSIFIER_AUC.measure(space_of(source, target, codes, seed)).null.p)
    check_uniform(ps)


@pytest.mark.parametrize(("shift", "most"), [(0.0, 2.0), (0.3, 1.4), (0.8, 1.4)])
def test_replicates_spread_as_fresh_samples_do(shift, most):
    ratio = spread_ratio(
        MODALITY_CLASSIFIER_AUC,
        lambda rng: space_of(*noisy_pairs(rng, 100, 10, shift=shift)),
        repeats=50,
    )
    # Near 0.5 the interval is too wide, as it says; it must not be too narrow anywhere.
    assert 0.8 < ratio < most


def test_replicates_move_with_the_value_on_the_pairs_drawn(rng):
    source, target = noisy_pairs(rng, 200, 4, shift=0.3)
    replicate = MODALITY_CLASSIFIER_AUC.measure(space_of(source, target)).replicate
    halves = [torch.randperm(200, generator=rng)[:100] for _ in range(40)]
    weights = torch.zeros(40, 200, dtype=torch.float64)
    for row, half in zip(weights, halves, strict=True):
        row[half] = 1
    again = torch.tensor([modality_classifier_auc(source[h], target[h]) for h in halves])
    assert float(torch.corrcoef(torch.stack([replicate(weights), again]))[0, 1]) > 0.6


@pytest.mark.parametrize("groups", [2, 4])
def test_few_groups_are_said(rng, groups):
    codes = torch.arange(24) % groups
    source, target = noisy_pairs(rng, 24, 4, shift=0.5)
    measured = MODALITY_CLASSIFIER_AUC.measure(space_of(source, target, codes))
    assert measured.notes == (f"Only {groups} groups of pairs: {groups} folds and not 5.",)
    value = modality_classifier_auc(source, target, groups=names(codes), folds=groups)
    assert measured.value == value


@pytest.mark.parametrize("folds", [1, 21])
def test_folds_out_of_range_are_refused(rng, folds):
    source, target = strangers(rng, 20)
    with pytest.raises(ValueError, match=r"folds must lie in \[2, 20\]"):
        modality_classifier_auc(source, target, folds=folds)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_point_cannot_be_learned_from(dtype):
    point = F.normalize(torch.tensor([[0.3, 0.7, 0.1]], dtype=dtype), dim=1).repeat(30, 1)
    with pytest.raises(ValueError, match="items of each training set must vary"):
        modality_classifier_auc(point, point)


def test_one_point_in_training_is_refused_though_the_test_items_vary():
    point = torch.tensor([[0.0, 1.0]]).repeat(10, 1)
    point[0] = torch.tensor([1.0, 0.0])
    with pytest.raises(ValueError, match="for a classifier to learn from them; without fold"):
        modality_classifier_auc(point, point)


def test_sides_that_do_not_fit_are_refused(rng):
    source, target = strangers(rng, 20)
    with pytest.raises(ValueError, match="must be row-matched"):
        modality_classifier_auc(source, target[:-1])
    with pytest.raises(ValueError, match="must lie in one space"):
        modality_classifier_auc(source, target[:, :-1])
    with pytest.raises(ValueError, match="at least two groups"):
        modality_classifier_auc(source, target, groups=["one"] * 20)
