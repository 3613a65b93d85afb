"""Mixed neighbourhoods and galleries: against loops over items, planted gaps, ties and noise."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.offset import mixing
from probes.offset.mixing import (
    MIXED_GALLERY_NDCG,
    MIXED_GALLERY_SHARE,
    MODALITY_MIXING,
    mixed_gallery_ndcg,
    mixed_gallery_share,
    modality_mixing,
)
from tests.helpers.planted import rotation
from tests.probes.paired_clouds import (
    UNEVEN,
    check_uniform,
    crossing,
    names,
    noisy_pairs,
    space_of,
    spread_ratio,
    strangers,
)

FUNCTIONS = {
    MODALITY_MIXING: modality_mixing,
    MIXED_GALLERY_NDCG: mixed_gallery_ndcg,
    MIXED_GALLERY_SHARE: mixed_gallery_share,
}
EACH = pytest.mark.parametrize("probe", FUNCTIONS, ids=lambda probe: probe.name)
GROUPED = pytest.mark.parametrize("codes", [torch.arange(20), UNEVEN], ids=["pairs", "groups"])


def items(source, target, codes):
    """All items as (vector, modality, group)."""
    sides = ((source.double(), 0), (target.double(), 1))
    return [(x, side, int(c)) for rows, side in sides for x, c in zip(rows, codes, strict=True)]


def share_of(scored, wanted, k):
    """Share of ``wanted`` in the top ``k`` of (score, modality), averaged over orders of ties."""
    cut = sorted((score for score, _ in scored), reverse=True)[k - 1]
    above = [side for score, side in scored if score > cut]
    tied = [side for score, side in scored if score == cut]
    return (above.count(wanted) + (k - len(above)) * tied.count(wanted) / len(tied)) / k


def mixing_by_hand(source, target, codes, k):
    everything = items(source, target, codes)
    shares = []
    for x, side, code in everything:
        scored = [(float(x @ y), other) for y, other, group in everything if group != code]
        shares.append(share_of(scored, 1 - side, k))
    return sum(shares) / len(shares)


def share_by_hand(source, target, codes, k):
    everything = items(source, target, codes)
    shares = []
    for x, side, code in everything:
        scored = [(float(x @ y), s) for y, s, g in everything if g != code or s != side]
        shares.append(share_of(scored, side, k))
    return sum(shares) / len(shares)


def ndcg_by_hand(source, target, codes, k):
    everything = items(source, target, codes)
    gains = []
    for x, side, code in everything:
        gallery = [(float(x @ y), g == code) for y, s, g in everything if g != code or s != side]
        # A false item goes before a true one of the same score.
        found = [true for _, true in sorted(gallery, key=lambda item: (-item[0], item[1]))]
        gain = sum(true / math.log2(place + 2) for place, true in enumerate(found[:k]))
        best = sum(1 / math.log2(place + 2) for place in range(min(k, sum(found))))
        gains.append(gain / best)
    return sum(gains) / len(gains)


BY_HAND = {
    MODALITY_MIXING: mixing_by_hand,
    MIXED_GALLERY_NDCG: ndcg_by_hand,
    MIXED_GALLERY_SHARE: share_by_hand,
}


@EACH
@GROUPED
@pytest.mark.parametrize("k", [1, 3, 10])
def test_it_agrees_with_a_loop_over_items(rng, probe, codes, k):
    source, target = noisy_pairs(rng, 20, shift=0.4)
    value = FUNCTIONS[probe](source, target, k=k, groups=names(codes))
    assert value == pytest.approx(BY_HAND[probe](source, target, codes, k), abs=1e-6)


@EACH
@given(seed=st.integers(0, 2**31), n=st.integers(4, 12), k=st.integers(1, 5))
@settings(deadline=None, max_examples=25)
def test_ties_are_settled_as_the_docstring_says(probe, seed, n, k):
    source, target = crossing(torch.Generator().manual_seed(seed), n)
    value = FUNCTIONS[probe](source, target, k=k)
    assert value == pytest.approx(BY_HAND[probe](source, target, torch.arange(n), k), abs=1e-6)


@EACH
def test_blocks_do_not_matter(rng, probe, monkeypatch):
    source, target = noisy_pairs(rng, 50, shift=0.3)
    whole = FUNCTIONS[probe](source, target)
    monkeypatch.setattr(mixing, "_ROWS", 7)
    assert FUNCTIONS[probe](source, target) == pytest.approx(whole, abs=1e-6)
    measured = probe.measure(space_of(source, target))
    assert measured.value == pytest.approx(whole, abs=1e-6)


@EACH
@given(seed=st.integers(0, 2**31), scale=st.floats(1e-3, 1e3))
@settings(deadline=None, max_examples=15)
def test_rotation_scale_order_and_roles_do_not_matter(probe, seed, scale):
    rng = torch.Generator().manual_seed(seed)
    source, target = (x.double() for x in noisy_pairs(rng, 30, shift=0.3))
    turn = rotation(8, rng).double()
    order = torch.randperm(30, generator=rng)
    moved = [(scale * x @ turn)[order] for x in (source, target)]
    value = FUNCTIONS[probe](source, target, k=4)
    assert FUNCTIONS[probe](*moved, k=4) == pytest.approx(value, abs=1e-6)
    assert FUNCTIONS[probe](target, source, k=4) == pytest.approx(value, abs=1e-6)


def apart(rng, n=40):
    """Sides that no cosine brings together: every item is nearer to its own modality."""
    ring = 0.1 * F.normalize(torch.randn(n, 6, generator=rng), dim=1)
    high = torch.ones(n, 1)
    return torch.cat([ring, high], 1), torch.cat([ring, -high], 1)


def test_separated_modalities_do_not_mix(rng):
    source, target = apart(rng)
    assert modality_mixing(source, target) == 0
    assert mixed_gallery_share(source, target) == 1
    assert mixed_gallery_ndcg(source, target) == 0


def test_equal_sides_find_partners_first_and_mix_evenly(rng):
    source, _ = strangers(rng, 40)
    # Each neighbour is a point that holds one item of each modality; the partner is left out.
    assert modality_mixing(source, source, k=10) == pytest.approx(0.5, abs=1e-15)
    assert mixed_gallery_ndcg(source, source) == 1
    # One place for the partner, the other nine half and half.
    assert mixed_gallery_share(source, source, k=10) == pytest.approx(0.45)


def test_items_that_are_all_alike_mix_as_the_prior_says():
    point = F.normalize(torch.ones(9, 5), dim=1)
    assert modality_mixing(point, point, k=4) == pytest.approx(0.5, abs=1e-15)
    assert mixed_gallery_share(point, point, k=4) == pytest.approx(8 / 17)
    # Ties count against us: all 16 others come first.
    assert mixed_gallery_ndcg(point, point, k=4) == 0


def test_a_partner_is_no_neighbour_but_an_answer(rng):
    # Every item is next to its partner and else among its own modality.
    source, target = apart(rng)
    near = torch.cat([source, 5 * torch.eye(40)], 1), torch.cat([target, 5 * torch.eye(40)], 1)
    assert modality_mixing(*near) == 0
    assert mixed_gallery_share(*near) == pytest.approx(0.9)
    assert mixed_gallery_ndcg(*near) == 1


def test_group_mates_of_the_own_modality_are_left_out(rng):
    # Two captions a picture, all but equal: as rivals they would come before every picture.
    pictures, _ = strangers(rng, 20)
    captions = pictures.repeat_interleave(2, 0) + 1e-3 * torch.randn(40, 8, generator=rng)
    codes = torch.arange(20).repeat_interleave(2)
    sides = captions, pictures.repeat_interleave(2, 0)
    assert mixed_gallery_ndcg(*sides, groups=names(codes)) == 1
    assert mixed_gallery_ndcg(*sides) < 0.8


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=lambda f: f.__name__)
def test_numpy_and_half_precision_are_read(rng, function):
    source, target = noisy_pairs(rng, 30, shift=0.3)
    exact = function(source, target)
    assert function(source.numpy(), target.numpy()) == exact
    assert function(source.half(), target.half()) == pytest.approx(exact, abs=0.02)


@EACH
@GROUPED
def test_the_probe_gives_the_value_of_the_function(rng, probe, codes):
    source, target = noisy_pairs(rng, 20, shift=0.2)
    measured = probe.measure(space_of(source, target, codes))
    value = FUNCTIONS[probe](source, target, groups=names(codes))
    assert measured.value == pytest.approx(value, abs=1e-7)
    ones = torch.ones(1, 20, dtype=torch.float64)
    assert measured.replicate(ones).item() == pytest.approx(measured.value, abs=1e-9)


@EACH
def test_many_pairs_are_sampled(rng, probe):
    source, target = noisy_pairs(rng, 1_100, 4)
    space = space_of(source, target)
    measured = probe.measure(space)
    assert len(measured.rows) == 1_000
    rows = measured.rows
    assert measured.value == pytest.approx(FUNCTIONS[probe](source[rows], target[rows]), abs=1e-7)


@EACH
@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_replicates_spread_as_fresh_samples_do(probe, shift):
    ratio = spread_ratio(
        probe, lambda rng: space_of(*noisy_pairs(rng, 100, shift=shift)), repeats=80
    )
    # Without a gap the effects of both ends of a neighbourhood cancel, which no first-order
    # interval sees: it is too wide there.
    assert 0.75 < ratio < (1.3 if shift else 1.7)


@EACH
def test_replicates_move_with_the_value_on_the_pairs_drawn(rng, probe):
    source, target = noisy_pairs(rng, 120, shift=0.5)
    replicate = probe.measure(space_of(source, target)).replicate
    halves = [torch.randperm(120, generator=rng)[:60] for _ in range(60)]
    weights = torch.zeros(60, 120, dtype=torch.float64)
    for row, half in zip(weights, halves, strict=True):
        row[half] = 1
    # A half of the items is half as dense: so is the neighbourhood that compares.
    again = torch.tensor([FUNCTIONS[probe](source[h], target[h], k=5) for h in halves])
    both = torch.stack([replicate(weights), again.double()])
    assert float(torch.corrcoef(both)[0, 1]) > 0.6


@pytest.mark.parametrize("repeats", [1, 4], ids=["pairs", "groups"])
def test_p_of_mixing_is_uniform_where_sides_can_be_swapped(repeats):
    ps, values = [], []
    for seed in range(100):
        rng = torch.Generator().manual_seed(seed)
        n = 80 // repeats
        source, target = (
            x.repeat_interleave(repeats, 0) + 0.05 * torch.randn(80, 5, generator=rng)
            for x in noisy_pairs(rng, n, 5)
        )
        codes = torch.arange(n).repeat_interleave(repeats)
        space = space_of(F.normalize(source, dim=1), F.normalize(target, dim=1), codes, seed)
        measured = MODALITY_MIXING.measure(space)
        ps.append(measured.null.p)
        values.append(measured.value)
    values = torch.tensor(values)
    assert abs(float(values.mean()) - 0.5) < 3 * float(values.std()) / 10
    check_uniform(ps)


def test_a_gap_is_significant(rng):
    measured = MODALITY_MIXING.measure(space_of(*noisy_pairs(rng, 80, shift=1.0)))
    assert measured.null.value == 0.5
    assert measured.null.p == pytest.approx(1 / 500)


@GROUPED
def test_the_nulls_are_what_a_random_order_gives(rng, codes):
    # In many dimensions strangers are in random order, but for the hubs, which favour no side.
    values = {MIXED_GALLERY_NDCG: [], MIXED_GALLERY_SHARE: []}
    nulls = {}
    for _ in range(40):
        space = space_of(*strangers(rng, 20, 64), codes)
        for probe, found in values.items():
            measured = probe.measure(space)
            found.append(measured.value)
            nulls[probe] = measured.null.value
    for probe, found in values.items():
        error = float(torch.tensor(found).std()) / 40**0.5
        assert sum(found) / 40 == pytest.approx(nulls[probe], abs=3.5 * error)


def test_the_prior_of_the_share_is_that_of_the_gallery(rng):
    measured = MIXED_GALLERY_SHARE.measure(space_of(*strangers(rng, 25)))
    assert measured.null.value == pytest.approx(24 / 49)


@pytest.mark.parametrize(
    ("function", "most"),
    [(modality_mixing, 34), (mixed_gallery_ndcg, 37), (mixed_gallery_share, 37)],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_k_out_of_range_is_refused(rng, function, most):
    # The largest group of UNEVEN has three pairs of 20.
    source, target = strangers(rng, 20)
    function(source, target, k=most, groups=names(UNEVEN))
    for k in (0, most + 1):
        with pytest.raises(ValueError, match=rf"k must lie in \[1, {most}\]"):
            function(source, target, k=k, groups=names(UNEVEN))


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=lambda f: f.__name__)
def test_sides_that_do_not_fit_are_refused(rng, function):
    source, target = strangers(rng, 20)
    with pytest.raises(ValueError, match="must be row-matched"):
        function(source, target[:-1])
    with pytest.raises(ValueError, match="must lie in one space"):
        function(source, target[:, :-1])
    with pytest.raises(ValueError, match="at least two groups"):
        function(source, target, groups=["one"] * 20)
    target[3] = 0
    with pytest.raises(ValueError, match="every row of target needs a direction"):
        function(source, target)
