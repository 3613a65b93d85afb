"""Direction of the gap: planted directions, random ones, and gaps that have none."""

import math
import warnings

import pytest
import torch
import torch.nn.functional as F

from probes.inputs import UnreliableEstimate
from probes.offset.gap_direction import GAP_ORTHOGONALITY, gap_orthogonality
from tests.helpers.planted import rotation
from tests.probes.paired_clouds import space_of, spread_ratio, strangers


def ellipsoid(rng, n, d, gap):
    """Two noisy copies of a cloud that varies most along the first axes, ``gap`` apart."""
    scales = 1 / torch.arange(1, d + 1)
    shared = torch.randn(n, d, generator=rng)
    sides = [(shared + 0.3 * torch.randn(n, d, generator=rng)) * scales for _ in range(2)]
    return sides[0] + gap / 2, sides[1] - gap / 2


def axis(d, at, length=5.0):
    return length * F.one_hot(torch.tensor(at), d).float()


def by_hand(source, target, k):
    within = torch.cat([side - side.mean(dim=0) for side in (source, target)]).double()
    basis = torch.linalg.svd(within, full_matrices=False).Vh[:k]
    gap = (source.mean(dim=0) - target.mean(dim=0)).double()
    return float((basis @ gap).norm() / gap.norm())


@pytest.mark.parametrize("k", [1, 3, 7, 12])
def test_it_agrees_with_a_singular_value_decomposition(rng, k):
    source, target = ellipsoid(rng, 200, 12, torch.randn(12, generator=rng))
    assert gap_orthogonality(source, target, k=k) == pytest.approx(
        by_hand(source, target, k), abs=1e-5
    )


def test_all_directions_together_hold_the_whole_gap(rng):
    source, target = ellipsoid(rng, 50, 6, axis(6, 2))
    assert gap_orthogonality(source, target, k=6) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(("at", "value"), [(0, 1), (9, 0)])
def test_a_gap_along_a_principal_direction_lies_in_it_and_any_other_does_not(rng, at, value):
    source, target = ellipsoid(rng, 2000, 10, axis(10, at, 50.0))
    assert gap_orthogonality(source, target, k=2) == pytest.approx(value, abs=0.01)


def test_a_gap_outside_the_span_of_the_data_is_orthogonal(rng):
    cloud = F.normalize(torch.randn(100, 12, generator=rng), dim=1)
    high = torch.full((100, 1), 0.5)
    source, target = torch.cat([cloud, high], 1), torch.cat([cloud, -high], 1)
    assert gap_orthogonality(source, target) == pytest.approx(0, abs=1e-6)


def test_directions_without_variance_do_not_count(rng):
    # The data fill a plane of 30 dimensions; 8 of the top 10 directions would be arbitrary.
    flat = F.pad(torch.randn(60, 2, generator=rng), (0, 28))
    gap = F.pad(torch.randn(28, generator=rng), (2, 0))
    assert gap_orthogonality(flat + gap, flat) == pytest.approx(0, abs=1e-5)


def test_a_random_direction_gives_about_the_root_of_k_over_d(rng):
    values = []
    for _ in range(100):
        source, target = ellipsoid(rng, 40, 30, torch.randn(30, generator=rng) * 20)
        values.append(gap_orthogonality(source, target, k=10) ** 2)
    assert sum(values) / 100 == pytest.approx(10 / 30, abs=0.03)


def test_rotation_scale_and_order_do_not_matter(rng):
    source, target = ellipsoid(rng, 80, 15, torch.randn(15, generator=rng))
    turn = rotation(15, rng)
    order = torch.randperm(80, generator=rng)
    moved = [(7 * side @ turn)[order] for side in (source, target)]
    assert gap_orthogonality(*moved) == pytest.approx(gap_orthogonality(source, target), abs=1e-4)


def gapped_space(rng, n=150, d=20):
    source, target = ellipsoid(rng, n, d, axis(d, 1, 0.2) + axis(d, 15, 0.2))
    return space_of(F.normalize(source, dim=1), F.normalize(target, dim=1))


def test_the_probe_gives_the_value_of_the_function(rng):
    space = gapped_space(rng)
    measured = GAP_ORTHOGONALITY.measure(space)
    assert measured.value == gap_orthogonality(space.source, space.target)
    assert measured.null.value == math.sqrt(10 / 20)
    assert measured.notes == ()
    ones = torch.ones(1, space.n, dtype=torch.float64)
    assert measured.replicate(ones).item() == pytest.approx(measured.value)


def test_the_influence_is_the_derivative_with_the_subspace_held_fixed(rng):
    space = gapped_space(rng, n=40)
    within = torch.cat([x.double() - x.double().mean(dim=0) for x in (space.source, space.target)])
    basis = torch.linalg.svd(within, full_matrices=False).Vh[:10]
    delta = space.source.double() - space.target.double()

    def exact(weights):
        gap = weights @ delta / weights.sum()
        return float((basis @ gap).norm() / gap.norm())

    replicate = GAP_ORTHOGONALITY.measure(space).replicate
    ones = torch.ones(40, dtype=torch.float64)
    for row in (0, 17):
        step = 1e-4 * F.one_hot(torch.tensor(row), 40)
        linear = (replicate((ones + step)[None]) - replicate(ones[None])).item()
        assert linear == pytest.approx(exact(ones + step) - exact(ones), rel=1e-2)


def test_replicates_spread_as_fresh_samples_do():
    # Held fixed, the subspace does not add its own noise, which matters little here.
    assert spread_ratio(GAP_ORTHOGONALITY, gapped_space) == pytest.approx(1, rel=0.35)


@pytest.mark.parametrize(("d", "k"), [(2, 1), (7, 3), (10, 5), (11, 10)])
def test_in_a_narrow_space_fewer_directions_stand_in_and_the_probe_says_so(rng, d, k):
    source, target = strangers(rng, 40, d)
    source = F.normalize(source + 1, dim=1)
    measured = GAP_ORTHOGONALITY.measure(space_of(source, target))
    assert measured.value == gap_orthogonality(source, target, k=k)
    assert measured.null.value == math.sqrt(k / d)
    said = f"The space has {d} dimensions: the top {k} principal directions stand for 10."
    assert measured.notes == ((said,) if k < 10 else ())


def test_a_gap_that_is_noise_is_announced(rng):
    source, target = strangers(rng, 100, 20)
    with pytest.warns(UnreliableEstimate, match="the direction of the gap is mostly noise") as seen:
        gap_orthogonality(source, target)
    measured = GAP_ORTHOGONALITY.measure(space_of(source, target))
    assert measured.notes == (str(seen[0].message),)


def test_the_noise_of_groups_counts_by_groups(rng):
    # Nine pairs of each group are repeats: few groups make a noisy gap out of many pairs.
    many = [side.repeat_interleave(9, dim=0) for side in strangers(rng, 20, 12)]
    codes = torch.arange(20).repeat_interleave(9)
    assert GAP_ORTHOGONALITY.measure(space_of(*many, codes)).notes
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnreliableEstimate)
        gap_orthogonality(*many)


def test_coinciding_centroids_have_no_direction(rng):
    source, _ = strangers(rng, 30, 12)
    for target in (source, source.flip(0)):
        with pytest.raises(ValueError, match="the centroids must differ"):
            gap_orthogonality(source, target)


def test_constant_clouds_have_no_principal_directions():
    point = F.normalize(torch.arange(1.0, 13.0), dim=0).repeat(30, 1)
    with pytest.raises(ValueError, match="must vary to have principal directions"):
        gap_orthogonality(point, -point)


@pytest.mark.parametrize("k", [0, 13])
def test_k_out_of_range_is_refused(rng, k):
    source, target = strangers(rng, 30, 12)
    with pytest.raises(ValueError, match=r"k must lie in \[1, 12\], the number of dimensions"):
        gap_orthogonality(source, target, k=k)


def test_sides_of_two_spaces_are_refused(rng):
    source, target = strangers(rng, 30, 12)
    with pytest.raises(ValueError, match="must lie in one space"):
        gap_orthogonality(source, target[:, 1:])
