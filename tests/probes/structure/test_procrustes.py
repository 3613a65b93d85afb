"""Procrustes distance: scipy's disparity, planted rotations, what a rotation fits of noise."""

import pytest
import torch
import torch.nn.functional as F
from scipy.linalg import orthogonal_procrustes
from scipy.spatial import procrustes

from probes.inputs import UnreliableEstimate
from probes.structure.procrustes import PROCRUSTES_DISTANCE, procrustes_distance
from tests.helpers.planted import rotation
from tests.probes.paired_clouds import (
    UNEVEN,
    noisy_pairs,
    space_of,
    spread_ratio,
    strangers,
    weights_of,
)


def test_it_agrees_with_the_disparity_of_scipy(rng):
    source, target = (side.double() for side in noisy_pairs(rng, 50, 8))
    disparity = procrustes(source.numpy(), target.numpy())[2]
    distance = procrustes_distance(source, target)
    assert 1 - (1 - distance / 2) ** 2 == pytest.approx(disparity, abs=1e-9)


def test_it_is_what_the_best_rotation_leaves(rng):
    source, target = (side.double() for side in noisy_pairs(rng, 50, 8))
    x, y = ((side - side.mean(0)).numpy() for side in (source, target))
    x, y = x / (x**2).sum() ** 0.5, y / (y**2).sum() ** 0.5
    turn, _ = orthogonal_procrustes(x, y)
    assert procrustes_distance(source, target) == pytest.approx(((x @ turn - y) ** 2).sum())


def test_a_planted_rotation_shift_and_scale_leave_nothing(rng):
    source, target = noisy_pairs(rng, 60, 8)
    turn = rotation(8, rng)
    moved = 3 * source @ turn + 2
    assert procrustes_distance(moved, source) == pytest.approx(0, abs=1e-5)
    expected = procrustes_distance(source, target)
    assert procrustes_distance(moved, target) == pytest.approx(expected, abs=1e-5)


def test_directions_that_do_not_vary_together_are_two_apart():
    source = torch.tensor([[1.0, 0], [-1, 0], [1, 0], [-1, 0]])
    target = torch.tensor([[1.0, 0], [1, 0], [-1, 0], [-1, 0]])
    assert procrustes_distance(source, target) == pytest.approx(2)


def test_half_of_two_equal_variances_in_common_gives_the_known_value():
    # Unit Frobenius norms: X'Y has the one singular value 1 / sqrt(2).
    signs = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    assert procrustes_distance(signs, signs[:, :1]) == pytest.approx(2 - 2 * 0.5**0.5)


def test_the_narrower_side_counts_as_padded_with_zeros(rng):
    source, target = noisy_pairs(rng, 50, 8)
    expected = procrustes_distance(source, target)
    assert procrustes_distance(F.pad(source, (0, 9)), target) == pytest.approx(expected, abs=1e-5)
    assert procrustes_distance(target, source) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("codes", [torch.arange(40), torch.arange(20).repeat_interleave(2)])
def test_unrelated_sides_lie_at_their_null_with_any_p(rng, codes):
    groups = int(codes.max()) + 1
    measured = [
        PROCRUSTES_DISTANCE.measure(space_of(source[codes], target[codes], codes))
        for source, target in (strangers(rng, groups, 6) for _ in range(60))
    ]
    off = torch.tensor([found.value - found.null.value for found in measured])
    assert off.mean().abs() < 3 * off.std() / 60**0.5
    ps = torch.tensor([found.null.p for found in measured])
    assert 0.35 < ps.mean() < 0.65
    assert (ps <= 0.1).float().mean() < 0.25


def test_noise_fitted_by_the_rotation_shows_in_the_null(rng):
    found = PROCRUSTES_DISTANCE.measure(space_of(*strangers(rng, 40, 30)))
    assert found.value < 0.8
    assert found.value == pytest.approx(found.null.value, abs=0.05)


def test_related_sides_are_nearer_than_all_random_pairings(rng):
    found = PROCRUSTES_DISTANCE.measure(space_of(*noisy_pairs(rng, 60, 8)))
    assert found.null.p == 0.05
    assert found.value < found.null.value


def test_wide_sides_have_a_null_of_few_draws_and_no_p(rng):
    found = PROCRUSTES_DISTANCE.measure(space_of(*strangers(rng, 30, 520)))
    assert found.null.p is None
    assert found.value == pytest.approx(found.null.value, abs=0.05)


def test_the_interval_follows_what_leaving_a_pair_out_does(rng):
    source, target = noisy_pairs(rng, 80, 4)
    source, target = (
        source * torch.rand(80, 1, generator=rng),
        target * target.norm(1, dim=1)[:, None],
    )
    found = PROCRUSTES_DISTANCE.measure(space_of(source, target))
    kept = [torch.arange(80) != j for j in range(80)]
    left_out = torch.tensor(
        [procrustes_distance(source[rows], target[rows]) for rows in kept], dtype=torch.float64
    )
    jackknife = 79 * (left_out.mean() - left_out)
    influence = found.replicate(torch.eye(80, dtype=torch.float64)) - found.value
    assert torch.corrcoef(torch.stack([influence, jackknife]))[0, 1] > 0.97
    assert influence.std().item() == pytest.approx(jackknife.std().item(), rel=0.15)


def test_the_interval_is_as_wide_as_fresh_samples_are_apart():
    assert (
        0.7
        < spread_ratio(PROCRUSTES_DISTANCE, lambda rng: space_of(*noisy_pairs(rng, 80, 4)))
        < 1.5
    )


def test_singular_directions_without_variance_do_not_disturb_the_interval(rng):
    source, target = noisy_pairs(rng, 60, 4)
    narrow = PROCRUSTES_DISTANCE.measure(space_of(source, target))
    padded = PROCRUSTES_DISTANCE.measure(space_of(F.pad(source, (0, 9)), F.pad(target, (0, 9))))
    weights = weights_of(torch.arange(60), 5)
    torch.testing.assert_close(
        narrow.replicate(weights), padded.replicate(weights), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("codes", [torch.arange(20), UNEVEN], ids=["pairs", "groups"])
def test_the_probe_gives_what_the_function_gives(rng, codes):
    source, target = noisy_pairs(rng, 20)
    found = PROCRUSTES_DISTANCE.measure(space_of(source, target, codes))
    assert found.value == procrustes_distance(source, target)
    ones = torch.ones(1, 20, dtype=torch.float64)
    assert found.replicate(ones).item() == pytest.approx(found.value)
    assert "are those of these 20 pairs" in found.notes[0]


def test_a_large_space_is_measured_on_a_sample(rng):
    source, target = noisy_pairs(rng, 1050, 4)
    found = PROCRUSTES_DISTANCE.measure(space_of(source, target))
    assert len(found.rows) == 1000
    assert found.value == procrustes_distance(source[found.rows], target[found.rows])


def test_fewer_pairs_than_the_width_are_remarked_on(rng):
    source, target = strangers(rng, 20, 30)
    with pytest.warns(UnreliableEstimate, match="n < d: a rotation of width 30"):
        value = procrustes_distance(source, target)
    found = PROCRUSTES_DISTANCE.measure(space_of(source, target))
    assert found.value == value
    assert len(found.notes) == 1


def test_the_bias_is_remarked_on_until_there_are_many_more_pairs_than_dimensions(rng):
    (note,) = PROCRUSTES_DISTANCE.measure(space_of(*strangers(rng, 20, 20))).notes
    assert "the value of more pairs is higher" in note
    x, y = strangers(rng, 1000, 2)
    # Two leading dimensions hold nearly all: random pairs are at 1.95.
    assert PROCRUSTES_DISTANCE.measure(space_of(x, y)).value > 1.8


def test_a_side_that_is_one_point_is_refused(rng):
    source, _ = strangers(rng, 20, 4)
    with pytest.raises(ValueError, match="source must vary; all 20 rows are one point"):
        procrustes_distance(torch.full((20, 3), 0.1), source)


def test_unpaired_sides_are_refused(rng):
    source, target = strangers(rng, 20)
    with pytest.raises(ValueError, match="row-matched"):
        procrustes_distance(source, target[:19])
