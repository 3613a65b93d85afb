import math
import sys

import pytest
import torch
import torch.nn.functional as F

import probes
from probes.offset.gap_shift import moved
from tests.probes.paired_clouds import noisy_pairs


def offset_alone(rng, n=120, d=8, offset=3.0):
    """One cloud twice, moved apart along an axis along which it varies."""
    shared = torch.randn(n, d, generator=rng)
    away = offset * F.one_hot(torch.tensor(0), d)
    return F.normalize(shared + away, dim=1), F.normalize(shared - away, dim=1)


def test_at_shift_0_recall_is_that_of_the_probe(rng):
    source, target = noisy_pairs(rng, 60, shift=1.0)
    found = probes.gap_shift(source, target, k=5)
    assert found.at(0.0).recall == probes.recall_at_k(source, target, k=5)
    assert (found.at(0.0).change, found.at(0.0).change_low, found.at(0.0).change_high) == (0, 0, 0)


def test_at_shift_1_the_centroids_coincide_before_rows_are_divided_by_their_norms(rng):
    source, target = (side.double() for side in noisy_pairs(rng, 60, shift=1.0))
    gap = source.mean(dim=0) - target.mean(dim=0)
    x, y = moved(source, target, gap, 1.0)
    assert (x.mean(dim=0) - y.mean(dim=0)).norm() < 1e-12
    found = probes.gap_shift(source, target)
    assert found.gap == pytest.approx(gap.norm().item())
    assert found.at(1.0).gap < found.gap / 5
    halved = moved(source, target, gap, 0.5)
    assert (halved[0].mean(0) - halved[1].mean(0)).norm() == pytest.approx(found.gap / 2)


def test_where_the_gap_is_offset_alone_closing_it_restores_recall(rng):
    found = probes.gap_shift(*offset_alone(rng), k=1)
    assert found.at(0.0).recall < 0.5 < 0.9 < found.at(1.0).recall
    assert found.at(1.0).change_low > 0
    assert found.at(1.0).loss < found.at(0.0).loss
    assert found.verdict.startswith("Closing the gap of")
    assert " helps: +" in found.verdict


def test_a_gap_on_an_axis_of_its_own_does_not_matter_to_recall(rng):
    shared = F.normalize(torch.randn(80, 6, generator=rng), dim=1)
    own = torch.full((80, 1), 0.5)
    source, target = (
        F.normalize(torch.cat([shared + 0.05 * torch.randn(80, 6, generator=rng), side], 1), dim=1)
        for side in (own, -own)
    )
    found = probes.gap_shift(source, target, k=1)
    assert found.gap > 0.8
    assert abs(found.at(1.0).change) < 0.05
    assert "shows no difference" in found.verdict


def test_a_rotation_changes_nothing(rng):
    source, target = (side.double() for side in noisy_pairs(rng, 60, shift=0.7))
    turn = torch.linalg.qr(torch.randn(8, 8, generator=rng).double()).Q
    one, two = probes.gap_shift(source, target), probes.gap_shift(source @ turn, target @ turn)
    for a, b in zip(one.points, two.points, strict=True):
        assert b.recall == pytest.approx(a.recall, abs=1e-9)
        assert (b.gap, b.loss) == pytest.approx((a.gap, a.loss), rel=1e-4, abs=1e-6)


def test_the_loss_is_that_of_its_formula(rng):
    source, target = noisy_pairs(rng, 20)
    found = probes.gap_shift(source, target, temperature=1.0).at(0.0).loss
    scores = (source @ target.T).double()
    forth = torch.logsumexp(scores, dim=1) - scores.diagonal()
    back = torch.logsumexp(scores, dim=0) - scores.diagonal()
    assert found == pytest.approx(((forth + back) / 2).mean().item(), rel=1e-6)
    same = torch.ones(20, 4) / 2
    assert probes.gap_shift(same, same).at(0.0).loss == pytest.approx(math.log(20))


def test_chance_and_the_two_shifts_that_matter_are_always_there(rng):
    source, target = noisy_pairs(rng, 40)
    found = probes.gap_shift(source, target, k=4, shifts=[0.5])
    assert [point.shift for point in found.points] == [0.0, 0.5, 1.0]
    assert found.chance == pytest.approx(0.1)
    pairs = [f"photo {i // 2}" for i in range(40)]
    grouped = probes.gap_shift(source, target, k=4, groups=pairs)
    assert grouped.chance == pytest.approx(1 - 36 * 35 / (40 * 39))
    assert grouped.at(0.0).recall == probes.recall_at_k(source, target, k=4, groups=pairs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shifts": [float("nan")]}, "shifts must be finite"),
        ({"temperature": 0.0}, "temperature positive"),
        ({"k": 41}, "k must"),
    ],
)
def test_what_does_not_fit_is_refused(options, message, rng):
    with pytest.raises(ValueError, match=message):
        probes.gap_shift(*noisy_pairs(rng, 40), **options)
    with pytest.raises(KeyError, match=r"got 0\.3"):
        probes.gap_shift(*noisy_pairs(rng, 40)).at(0.3)


def test_it_is_drawn_without_pyplot_and_tabulated(rng, monkeypatch):
    found = probes.gap_shift(*noisy_pairs(rng, 40))
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    assert len(found.plot().axes) == 2
    assert "matplotlib.pyplot" not in sys.modules
    assert list(found.to_frame()["shift"]) == [point.shift for point in found.points]
    assert (
        repr(found).startswith("GapShift(13 shifts, Closing the gap of") and len(repr(found)) < 151
    )
