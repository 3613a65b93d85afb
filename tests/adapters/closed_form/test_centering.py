import pytest
import torch
import torch.nn.functional as F

from align.adapters.closed_form.centering import centering


def test_a_planted_offset_between_centroids_is_closed(rng):
    cloud = F.normalize(torch.randn(200, 5, generator=rng), dim=1)
    offset = torch.tensor([2.0, 0, 0, 0, 0])
    source, target = cloud + offset, cloud - offset
    adapter = centering(source, target)
    before = F.normalize(source, dim=1).mean(0) - F.normalize(target, dim=1).mean(0)
    after = adapter.source(source).mean(0) - adapter.target(target).mean(0)
    assert before.norm() > 1.5
    assert after.norm() < 0.5


def test_each_side_loses_its_own_mean(make_pairs):
    source, target = make_pairs(d_source=5, d_target=5)
    adapter = centering(source, target)
    for mapped, raw in ((adapter.source(source), source), (adapter.target(target), target)):
        unit = F.normalize(raw, dim=1)
        torch.testing.assert_close(mapped, F.normalize(unit - unit.mean(0), dim=1))


def test_widths_that_differ_are_refused(pairs):
    with pytest.raises(ValueError, match=r"their widths must agree; got 8 and 6. Use rcca"):
        centering(*pairs)
