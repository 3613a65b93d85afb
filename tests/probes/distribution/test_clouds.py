"""What every distance of the distribution family owes: invariances, split, intervals, nulls."""

from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from align.data.embeddings import PairedEmbeddings
from probes.distribution import (
    discrepancy,
    gaussian,
    sinkhorn,
    sliced,
    squared_distance,
    transport,
)
from probes.distribution.clouds import Clouds, Items, centred, squared_distances
from probes.nulls import deviations_to_swap, random_signs
from probes.reporting.states import states
from tests.helpers.planted import rotation
from tests.probes.paired_clouds import (
    UNEVEN,
    differing,
    drawn_rows,
    space_of,
    strangers,
    weights_of,
)

SQUARED = {
    "gaussian": (
        gaussian.gaussian_wasserstein,
        gaussian.GAUSSIAN_WASSERSTEIN,
        gaussian.GAUSSIAN_WASSERSTEIN_CENTRED,
    ),
    "sliced": (
        sliced.sliced_wasserstein,
        sliced.SLICED_WASSERSTEIN,
        sliced.SLICED_WASSERSTEIN_CENTRED,
    ),
    "exact": (
        transport.exact_wasserstein,
        transport.EXACT_WASSERSTEIN,
        transport.EXACT_WASSERSTEIN_CENTRED,
    ),
    "sinkhorn": (
        sinkhorn.sinkhorn_divergence,
        sinkhorn.SINKHORN_DIVERGENCE,
        sinkhorn.SINKHORN_DIVERGENCE_CENTRED,
    ),
}
KERNEL = {
    "mmd": (discrepancy.mmd, discrepancy.MMD, discrepancy.MMD_CENTRED),
    "energy": (
        discrepancy.energy_distance,
        discrepancy.ENERGY_DISTANCE,
        discrepancy.ENERGY_DISTANCE_CENTRED,
    ),
}
FAMILY = SQUARED | KERNEL
EACH = pytest.mark.parametrize("distance, whole, part", FAMILY.values(), ids=FAMILY)
EACH_SQUARED = pytest.mark.parametrize("distance, whole, part", SQUARED.values(), ids=SQUARED)
# How well they can be trusted is tested by probe; here they are compared with themselves.
unreliable_is_fine = pytest.mark.filterwarnings("ignore::probes.inputs.UnreliableEstimate")
pytestmark = unreliable_is_fine


def close(value, rel=1e-6, abs=1e-9):
    return pytest.approx(value, rel=rel, abs=abs)


@EACH
def test_the_probe_gives_what_the_function_gives(rng, distance, whole, part):
    source, target = differing(rng, 60)
    space = space_of(source, target)
    assert whole.measure(space).value == close(distance(source, target), rel=1e-5)
    assert part.measure(space).value == close(distance(*centred(source, target)), rel=1e-4)
    assert (whole.family, whole.better, whole.needs) == ("distribution", "lower", "common space")


@EACH
def test_numpy_and_torch_give_the_same(rng, distance, whole, part):
    source, target = differing(rng, 30)
    assert distance(source.numpy(), target.numpy()) == distance(source, target)


@EACH
def test_centring_twice_is_centring_once(rng, distance, whole, part):
    clouds = centred(*(side.double() for side in differing(rng, 40)))
    assert distance(*clouds) == close(distance(*centred(*clouds)))


@EACH_SQUARED
def test_the_whole_is_the_squared_gap_plus_the_centred_part(rng, distance, whole, part):
    source, target = (side.double() for side in differing(rng, 50))
    gap = float((source.mean(0) - target.mean(0)).square().sum())
    assert gap > 0.05
    assert distance(source, target) == close(gap + distance(*centred(source, target)))
    space = space_of(source.float(), target.float())
    difference = whole.measure(space).value - part.measure(space).value
    assert difference == close(gap, rel=1e-5)


@EACH_SQUARED
def test_a_shift_adds_its_squared_length_and_nothing_else(rng, distance, whole, part):
    cloud = torch.randn(40, 3, generator=rng, dtype=torch.float64)
    shift = torch.tensor([3.0, -4.0, 12.0], dtype=torch.float64)
    assert distance(cloud, cloud + shift) == close(169, rel=1e-7)


@EACH
def test_equal_clouds_are_at_distance_nought(rng, distance, whole, part):
    cloud = torch.randn(40, 3, generator=rng, dtype=torch.float64)
    assert distance(cloud, cloud) == pytest.approx(0, abs=1e-6)


@EACH
def test_a_rotation_and_a_common_shift_change_nothing(rng, distance, whole, part):
    source, target = (side.double() for side in differing(rng, 80))
    turn = rotation(4, rng, torch.float64)
    turned = distance(source @ turn + 2, target @ turn + 2)
    # Rotation changes the lines of the sliced distance, which are 500 of infinitely many.
    rel = 0.1 if distance is sliced.sliced_wasserstein else 1e-6
    assert turned == close(distance(source, target), rel=rel)


@EACH
def test_scale_counts_as_the_docstring_says(rng, distance, whole, part):
    source, target = (side.double() for side in differing(rng, 40))
    power = {"mmd": 0, "energy_distance": 1}.get(distance.__name__, 2)
    assert distance(3 * source, 3 * target) == close(3**power * distance(source, target))


@EACH
def test_sides_can_be_swapped(rng, distance, whole, part):
    source, target = differing(rng, 40)
    assert distance(source, target) == close(distance(target, source), rel=1e-5)


@EACH
def test_the_order_of_pairs_does_not_matter(rng, distance, whole, part):
    source, target = differing(rng, 40)
    order = torch.randperm(40, generator=rng)
    assert distance(source[order], target[order]) == close(distance(source, target), rel=1e-5)


@EACH_SQUARED
def test_pairing_plays_no_part(rng, distance, whole, part):
    source, target = differing(rng, 40)
    shuffled = target[torch.randperm(40, generator=rng)]
    assert distance(source, shuffled) == close(distance(source, target), rel=1e-5)


@EACH
def test_replicates_of_equal_weights_are_the_value(rng, distance, whole, part):
    space = space_of(*differing(rng, 20), UNEVEN)
    for probe in (whole, part):
        measured = probe.measure(space)
        (again,) = measured.replicate(torch.ones(1, 20, dtype=torch.float64))
        assert float(again) == close(measured.value)


@EACH
def test_replicates_follow_the_distance_of_the_resample(rng, distance, whole, part):
    source, target = differing(rng, 150, 3)
    space = space_of(source, target)
    weights = weights_of(space.codes, 40)
    for probe, moved in ((whole, lambda *sides: sides), (part, centred)):
        measured = probe.measure(space)
        again = []
        for drawn in map(drawn_rows, weights):
            sides = moved(source[drawn], target[drawn])
            # Copies of a pair are of one group, and are not compared with each other.
            names = {"groups": [str(i) for i in drawn.tolist()]} if distance in UNBIASED else {}
            again.append(distance(*sides, **names))
        found, wanted = measured.replicate(weights).numpy(), np.array(again)
        assert np.corrcoef(found, wanted)[0, 1] > 0.93
        assert 0.75 < found.std() / wanted.std() < 1.3


UNBIASED = (discrepancy.mmd, discrepancy.energy_distance)


@EACH
def test_intervals_are_as_wide_as_fresh_samples_differ(rng, distance, whole, part):
    spaces = [space_of(*differing(rng, 100)) for _ in range(4)]
    samples = [differing(rng, 100) for _ in range(60)]
    for probe, moved in ((whole, lambda *sides: sides), (part, centred)):
        fresh = [distance(*moved(*sides)) for sides in samples]
        drawn = [probe.measure(space).replicate(weights_of(space.codes, 300)) for space in spaces]
        spread = np.mean([values.std().item() for values in drawn])
        # The spread of 60 samples is itself uncertain by a tenth.
        assert 0.7 < spread / np.std(fresh) < 1.45


@EACH
def test_clouds_of_one_law_are_at_their_null(rng, distance, whole, part):
    spaces = [space_of(*strangers(rng, 30, 5)) for _ in range(16)]
    for probe in (whole, part):
        found = [probe.measure(space) for space in spaces]
        p = np.array([measured.null.p for measured in found])
        # The mean of 16 uniform values has a standard deviation of 0.07.
        assert 0.29 < p.mean() < 0.71
        values = np.array([measured.value for measured in found])
        nulls = np.array([measured.null.value for measured in found])
        assert abs(values.mean() - nulls.mean()) < 3 * values.std() / 16**0.5


@EACH_SQUARED
def test_the_null_of_the_whole_is_that_of_swapped_pairs(rng, monkeypatch, distance, whole, part):
    source, target = differing(rng, 60)
    space = space_of(source, target, torch.arange(60) // 2)
    seen = []
    monkeypatch.setattr(squared_distance, "upper_p", lambda value, draws: seen.append(draws) or 1.0)
    null = whole.measure(space).null
    assert null.value == close(seen[0].mean().item())
    signs = random_signs(space.codes, len(seen[0]), space.generator(distance.__name__))
    for drawn, found in zip(signs[:8, :, None] > 0, seen[0], strict=False):
        sides = torch.where(drawn, source, target), torch.where(drawn, target, source)
        assert float(found) == close(distance(*sides), rel=1e-3)


@EACH_SQUARED
def test_the_null_of_the_shape_is_that_of_swapped_deviations(
    rng, monkeypatch, distance, whole, part
):
    source, target = differing(rng, 60)
    space = space_of(source, target, torch.arange(60) // 2)
    seen = []
    monkeypatch.setattr(squared_distance, "upper_p", lambda value, draws: seen.append(draws) or 1.0)
    part.measure(space)
    z, w = deviations_to_swap(source, target, space.codes)
    signs = random_signs(space.codes, len(seen[0]), space.generator(distance.__name__))
    for drawn, found in zip(signs[:8, :, None] > 0, seen[0], strict=False):
        sides = torch.where(drawn, z, w), torch.where(drawn, w, z)
        assert float(found) == close(distance(*centred(*sides)), rel=1e-3)


@EACH
def test_p_of_a_whole_is_uniform_over_all_swaps_of_the_data(
    rng, monkeypatch, distance, whole, part
):
    """Exchangeable data are as likely with any sides swapped, so each p comes equally often."""
    n, d = 4, 3
    source, target = strangers(rng, n, d)
    every = torch.tensor(list(product([1.0, -1.0], repeat=n)), dtype=torch.float64)
    for module in ("probes.distribution.swaps", "probes.distribution.discrepancy"):
        monkeypatch.setattr(f"{module}.random_signs", lambda codes, draws, generator: every)
    p = []
    for signs in every[:, :, None] > 0:
        sides = torch.where(signs, source, target), torch.where(signs, target, source)
        p.append(whole.measure(space_of(*sides)).null.p)
    # Swapping all sides gives the same value again: each p comes twice, from 3 / 17 to 17 / 17.
    wanted = torch.arange(2, 17, 2).repeat_interleave(2) + 1
    found = torch.tensor(sorted(p)).mul(17).round()
    if part is transport.EXACT_WASSERSTEIN_CENTRED:
        # To swap a pair that is matched with itself changes no assignment: p may be larger.
        assert (found >= wanted).all() and found[0] == 3
    else:
        assert found.tolist() == wanted.tolist()


@EACH
@pytest.mark.parametrize("size", [1, 3])
def test_p_of_a_shape_is_uniform_where_both_sides_follow_one_law(rng, distance, whole, part, size):
    """With many dimensions the spread of a distance is small, and a biased null shows at once."""
    codes = torch.arange(30) // size
    p = []
    for _ in range(50):
        sides = (F.normalize(side[codes] + 0.3 * torch.randn(30, 20, generator=rng), dim=1)
                 for side in torch.randn(2, 30, 20, generator=rng))  # fmt: skip
        p.append(part.measure(space_of(*sides, codes)).null.p)
    # The mean of 50 uniform values has a standard deviation of 0.04.
    assert 0.34 < np.mean(p) < 0.66
    # 2.5 are to be expected; 8 come once in a thousand times.
    assert sum(value <= 0.05 for value in p) < 8


@EACH
def test_a_centred_state_is_centred_again_in_its_null(rng, distance, whole, part):
    p = []
    for seed in range(50):
        source, target = torch.randn(2, 30, 8, generator=rng).exp()
        groups = [str(i // 3) for i in range(30)]
        data = PairedEmbeddings.from_arrays(source, target, groups=groups)
        space = states(data, None, seed=seed)["centred"]
        found = [probe.measure(space).null.p for probe in (whole, part)]
        assert found[0] == found[1]
        p.append(found[0])
    assert 0.34 < np.mean(p) < 0.66
    assert sum(value <= 0.05 for value in p) < 8


@EACH
def test_different_clouds_are_beyond_their_null(rng, distance, whole, part):
    space = space_of(*differing(rng, 100))
    for probe in (whole, part):
        measured = probe.measure(space)
        assert measured.null.p <= 0.05
        assert measured.value > measured.null.value


@EACH
def test_sides_of_a_group_are_swapped_together(rng, distance, whole, part):
    # Of two groups, half of the swaps exchange the sides as wholes or leave all as it is.
    space = space_of(*differing(rng, 100), torch.arange(100) // 50)
    for probe in (whole, part):
        assert probe.measure(space).null.p > 0.15


@EACH
def test_equal_clouds_are_never_beyond_their_null(rng, distance, whole, part):
    cloud = F.normalize(torch.randn(40, 5, generator=rng), dim=1)
    away = F.normalize(torch.cat([cloud, torch.ones(40, 1)], 1), dim=1)
    toward = away * torch.tensor([1.0, 1, 1, 1, 1, -1])
    assert part.measure(space_of(away, toward)).null.p == 1
    assert whole.measure(space_of(cloud, cloud)).null.p == 1


@EACH
def test_a_measure_is_the_same_each_time(rng, distance, whole, part):
    source, target = differing(rng, 40)
    first, second = (part.measure(space_of(source, target)) for _ in range(2))
    assert (first.value, first.null) == (second.value, second.null)


@pytest.mark.parametrize("name", [name for name in FAMILY if name != "gaussian"])
def test_large_spaces_are_measured_on_a_sample_of_whole_groups(rng, name, monkeypatch):
    distance, *probes = FAMILY[name]
    for module in (squared_distance, discrepancy):
        monkeypatch.setattr(module, "SAMPLE", 50)
    source, target = differing(rng, 90)
    space = space_of(source, target, torch.arange(90) // 3)
    names = {"groups": [str(code) for code in space.codes[space.sample(50).rows].tolist()]}
    for probe, moved in zip(probes, (lambda *sides: sides, centred), strict=True):
        measured = probe.measure(space)
        rows = space.sample(50).rows
        assert torch.equal(measured.rows, rows)
        assert len(rows) == 48
        sides = moved(source[rows], target[rows])
        expected = distance(*sides, **(names if distance in UNBIASED else {}))
        assert measured.value == close(expected, rel=1e-4)
        (again,) = measured.replicate(torch.ones(1, 48, dtype=torch.float64))
        assert float(again) == close(measured.value)


@EACH
@pytest.mark.parametrize("n, d", [(20, 2), (20, 60), (21, 200)])
def test_small_and_wide_spaces_give_finite_numbers(rng, distance, whole, part, n, d):
    for sides in (strangers(rng, n, d), differing(rng, n, d)):
        space = space_of(*sides)
        for probe in (whole, part):
            measured = probe.measure(space)
            drawn = measured.replicate(weights_of(space.codes, 50))
            numbers = [measured.value, measured.null.value, measured.null.p, *drawn.tolist()]
            assert np.isfinite(numbers).all()


@EACH
def test_sides_of_two_widths_are_refused(distance, whole, part):
    with pytest.raises(ValueError, match=r"must lie in one space.*widths 3 and 2"):
        distance(torch.ones(4, 3), torch.ones(4, 2))


@EACH
def test_one_pair_is_refused(distance, whole, part):
    with pytest.raises(ValueError, match="at least 2 rows"):
        distance(torch.ones(1, 3), torch.ones(1, 3))


@EACH
def test_nan_is_refused(distance, whole, part):
    holed = torch.ones(4, 3).index_fill(0, torch.tensor([2]), torch.nan)
    with pytest.raises(ValueError, match=r"must be finite; 1 of 4 rows"):
        distance(torch.ones(4, 3), holed)


def test_centred_clouds_have_their_mean_at_the_origin(rng):
    source, target = torch.randn(2, 30, 4, generator=rng, dtype=torch.float64)
    z, w = centred(source + 5, target.numpy() - 3)
    assert z.mean(0).abs().max() < 1e-12
    assert torch.equal(w, target - 3 - (target - 3).mean(0))
    with pytest.raises(ValueError, match="widths 4 and 3"):
        centred(source, target[:, :3])


def test_squared_distances_are_what_they_say(rng):
    x, y = torch.randn(2, 12, 5, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(squared_distances(x, y[:7]), torch.cdist(x, y[:7]).square())
    assert (squared_distances(x, x) >= 0).all()


def test_looked_up_clouds_are_those_of_swapped_sides(rng):
    source, target = torch.randn(2, 15, 4, generator=rng, dtype=torch.float64)
    target += 3
    signs = torch.tensor([1.0, -1, 1, 1, -1] * 3, dtype=torch.float64)
    turned = signs[:, None] > 0
    sides = torch.where(turned, source, target), torch.where(turned, target, source)
    wanted = Clouds.of(*sides, torch.float64)
    found = Items.of(source, target).swapped(signs)
    for name in ("source", "target", "gap"):
        torch.testing.assert_close(getattr(found, name), getattr(wanted, name))
    for name in ("within_source", "within_target", "across"):
        torch.testing.assert_close(
            getattr(found, name).double(), getattr(wanted, name), atol=2e-5, rtol=0
        )
    axes = torch.randn(4, 2, generator=rng, dtype=torch.float64)
    along = Items.of(source, target).along(axes).swapped(signs)
    torch.testing.assert_close(along.source, wanted.source @ axes)


def test_all_swaps_of_a_report_look_distances_up_in_two_tables(rng, monkeypatch):
    """One table of items and one of deviations, and three products for the clouds as seen."""
    made = []

    def counted(x, y):
        made.append(len(x))
        return squared_distances(x, y)

    monkeypatch.setattr("probes.distribution.clouds.squared_distances", counted)
    space = space_of(*differing(rng, 60))
    for name in ("exact", "sinkhorn", "sliced", "gaussian"):
        for probe in SQUARED[name][1:]:
            probe.measure(space)
    for _, _, part in KERNEL.values():
        part.measure(space)
    assert sorted(made) == [60, 60, 60, 120, 120]


@EACH_SQUARED
def test_a_bias_beyond_the_interval_is_noted(rng, distance, whole, part):
    few = part.measure(space_of(*strangers(rng, 40, 12)))
    assert few.null.value > 0
    if distance is gaussian.gaussian_wasserstein:
        return  # Shrinkage takes most of the bias; what is left has a note of its own.
    assert squared_distance.OF_SAMPLES in few.notes
    apart = torch.tensor([3.0, 0])
    cloud = torch.randn(2, 400, 2, generator=rng)
    far = whole.measure(space_of(cloud[0], 5 * cloud[1] + apart))
    assert squared_distance.OF_SAMPLES not in far.notes
