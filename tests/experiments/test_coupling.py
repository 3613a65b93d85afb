"""Pairs found from bags, from a few known pairs, or from the shape of both clouds."""

from __future__ import annotations

import pytest
import torch

from experiments.coupling import Coupling, _best, couple


def planted(rng, n, d, bag, noise=0.0):
    """A cloud and a rotated copy, shuffled within bags; ``order[j]`` is the partner of ``j``."""
    x = torch.randn(n, d, generator=rng) * torch.linspace(2, 0.5, d)
    rotation, _ = torch.linalg.qr(torch.randn(d, d, generator=rng))
    y = x @ rotation + noise * torch.randn(n, d, generator=rng)
    bags = torch.arange(n) // bag
    order = (bags + torch.rand(n, generator=rng)).argsort()
    return x, y[order], bags, order


def share_right(found: Coupling, order):
    return (order[found.target] == found.source).float().mean().item()


@pytest.mark.parametrize("bag", [2, 5, 20])
def test_rows_shuffled_within_bags_are_paired_again(bag, rng):
    x, y, bags, order = planted(rng, 300, 8, bag, noise=0.1)
    found = couple(x, y, bags=(bags, bags))
    assert len(found) > 290 and share_right(found, order) > 0.99
    assert found.source.equal(found.source.unique())
    assert len(found.target.unique()) == len(found)
    assert (found.confidence > 0).all() and (found.confidence <= 1 + 1e-6).all()


def test_sides_may_differ_in_width_and_bags_in_size(rng):
    x, y, bags, order = planted(rng, 300, 8, 5)
    wide = torch.cat([y, 0.3 * y[:, :3]], dim=1)
    kept = torch.randperm(300, generator=rng)[:270].sort().values
    found = couple(x, wide[kept], bags=(bags, bags[kept]))
    assert len(found) > 200 and share_right(found, order[kept]) > 0.95


def test_a_few_known_pairs_pair_the_rest(rng):
    x, y, _, order = planted(rng, 150, 6, 150)
    place = order.argsort()
    known = torch.stack([torch.arange(40), place[:40]], dim=1)
    found = couple(x, y, known=known)
    assert len(found) > 140 and share_right(found, order) > 0.99
    assert found.target[:40].equal(place[:40]) and (found.confidence[:40] == 1).all()


def test_shape_alone_pairs_clouds_that_differ_by_a_rotation(rng):
    x, y, _, order = planted(rng, 100, 5, 100)
    found = couple(x, y)
    assert len(found) > 90 and share_right(found, order) > 0.95


@pytest.mark.parametrize("shift", [0.0, 1e-7, -1e-7])
def test_of_items_that_repeat_the_first_are_partners(shift):
    """Plans send equally much to equal items but for rounding."""
    plan = torch.tensor([[0.2, 0.2 + shift, 0.0], [0.2 - shift, 0.2, 0.0], [0.0, 0.0, 0.2]])
    rows = torch.arange(3)
    found = _best([plan], [(rows, rows)])
    assert (found.source.tolist(), found.target.tolist()) == ([0, 2], [0, 2])


def test_confidence_tells_right_pairs_from_wrong_ones(rng):
    x, y, bags, order = planted(rng, 300, 8, 10, noise=0.6)
    found = couple(x, y, bags=(bags, bags))
    right = order[found.target] == found.source
    assert 0.5 < right.float().mean() < 1
    assert found.confidence[right].mean() > found.confidence[~right].mean() + 0.1


def test_unrelated_clouds_are_paired_no_better_than_by_chance(rng):
    x, y = torch.randn(2, 300, 16, generator=rng).unbind()
    bags = torch.arange(300) // 5
    found = couple(x, y, bags=(bags, bags))
    assert abs(share_right(found, torch.arange(300)) - 1 / 5) < 0.1


def test_what_the_sides_do_not_share_is_not_taken_for_agreement(rng):
    x, y, bags, order = planted(rng, 300, 8, 10, noise=0.1)
    private = torch.randn(2, 300, 60, generator=rng)
    x, y = torch.cat([x, private[0]], dim=1), torch.cat([y, private[1]], dim=1)
    found = couple(x, y, bags=(bags, bags))
    # Maps that judge the bags they were fitted to stay at 40 % here, and are sure of it.
    assert len(found) > 250 and share_right(found, order) > 0.85


def test_known_pairs_are_left_out_of_their_bags(rng):
    x, y, bags, _ = planted(rng, 100, 4, 10)
    # Deliberately wrong, and across bags.
    known = torch.tensor([[0, 95], [50, 7]])
    found = couple(x, y, bags=(bags, bags), known=known)
    partner = dict(zip(found.source.tolist(), found.target.tolist(), strict=True))
    assert partner[0] == 95 and partner[50] == 7
    assert sorted(partner.values()) == sorted(set(partner.values()))


def test_items_whose_bag_has_nothing_on_the_other_side_stay_alone(rng):
    x, y, bags, _ = planted(rng, 100, 4, 5)
    other = torch.where(bags == 3, 99, bags)
    found = couple(x, y, bags=(bags, other))
    assert not (bags[found.source] == 3).any()
    assert (bags[found.source] == other[found.target]).all()


def test_bags_of_one_are_pairs_already(rng):
    x, y = torch.randn(2, 20, 4, generator=rng).unbind()
    codes = torch.randperm(20, generator=rng)
    found = couple(x, y, bags=(codes, codes.flip(0)))
    assert found.source.equal(torch.arange(20)) and found.target.equal(torch.arange(20).flip(0))
    assert (found.confidence == 1).all()


def test_a_target_that_two_sources_share_is_half_of_each(rng):
    x, y, bags, _ = planted(rng, 60, 4, 5)
    codes = torch.cat([bags, torch.tensor([50, 50])])
    found = couple(
        torch.cat([x, x[:2]]),
        torch.cat([y, y[:1]]),
        bags=(codes, torch.cat([bags, torch.tensor([50])])),
    )
    assert found.target[-1] == 60
    assert found.confidence[-1].item() == pytest.approx(0.5, abs=0.02)


def test_the_same_input_gives_the_same_pairs(rng):
    x, y, _, _ = planted(rng, 60, 5, 60, noise=0.2)
    first, second = couple(x, y, seed=3), couple(x, y, seed=3)
    assert first.same_as(second) and first.confidence.equal(second.confidence)
    assert not first.same_as(Coupling(first.source, first.target.flip(0), first.confidence))


def test_bags_that_do_not_fit_are_refused(rng):
    x, y, bags, _ = planted(rng, 20, 4, 5)
    with pytest.raises(ValueError, match=r"bags of the sources must be one code per row.*\(20,\)"):
        couple(x, y, bags=(bags[:5], bags))
    with pytest.raises(ValueError, match="bags of the targets must be one code per row"):
        couple(x, y, bags=(bags, bags.float()))
    with pytest.raises(ValueError, match="some bag must have items of both sides"):
        couple(x, y, bags=(bags, bags + 10))


def test_known_pairs_that_do_not_fit_are_refused(rng):
    x, y, _, _ = planted(rng, 20, 4, 20)
    with pytest.raises(ValueError, match=r"known must be rows of pairs.*\(k, 2\)"):
        couple(x, y, known=torch.arange(4))
    with pytest.raises(ValueError, match="known pairs may name a source once"):
        couple(x, y, known=torch.tensor([[0, 1], [0, 2]]))
    with pytest.raises(ValueError, match="known pairs may name a target once"):
        couple(x, y, known=torch.tensor([[1, 0], [2, 0]]))
    with pytest.raises(IndexError, match=r"rows must lie in 0 \.\. 19"):
        couple(x, y, known=torch.tensor([[0, 20]]))


def test_sides_and_numbers_that_cannot_be_coupled_are_refused(rng):
    x, y, bags, _ = planted(rng, 20, 4, 5)
    with pytest.raises(ValueError, match="source must be finite"):
        couple(x / 0, y)
    with pytest.raises(ValueError, match="every row of target needs a direction"):
        couple(x, y * 0)
    with pytest.raises(ValueError, match="epsilon must be finite and above 0"):
        couple(x, y, bags=(bags, bags), epsilon=0.0)
    with pytest.raises(ValueError, match="there must be 3 items, and most angles above 0"):
        couple(x[:2], y[:2])
    with pytest.raises(ValueError, match=r"most angles above 0; target has 20 items"):
        couple(x, torch.cat([y[:1].expand(16, 4), y[:4]]))
