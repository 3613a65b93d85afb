import pytest
import torch
import torch.nn.functional as F

from align.adapters.closed_form.asif import asif, relative
from align.adapters.recipes.moments import prepare


def by_loop(x, raw, k, power):
    """Sparse relative representation, one item at a time."""
    mean, anchors = prepare(raw)
    rows = []
    for item in x:
        centred = item / item.norm() - mean
        cosines = [float(centred @ anchor / centred.norm()) for anchor in anchors]
        kept = sorted(range(len(cosines)), key=lambda i: -cosines[i])[:k]
        row = [0.0] * len(cosines)
        for i in kept:
            row[i] = abs(cosines[i]) ** power * (1 if cosines[i] > 0 else -1)
        rows.append(row)
    return F.normalize(torch.tensor(rows), dim=1)


@pytest.mark.parametrize(("k", "power"), [(1, 1.0), (5, 8.0), (80, 3.0)], ids=str)
def test_the_sides_equal_a_plain_loop(pairs, rng, k, power):
    adapter = asif(*pairs, k=k, power=power)
    x, y = torch.randn(4, 8, generator=rng), torch.randn(4, 6, generator=rng)
    torch.testing.assert_close(adapter.source(x), by_loop(x, pairs[0], k, power), atol=1e-5, rtol=0)
    torch.testing.assert_close(adapter.target(y), by_loop(y, pairs[1], k, power), atol=1e-5, rtol=0)


def test_a_training_pair_finds_itself(pairs):
    adapter = asif(*pairs, k=1)
    scores = adapter.source(pairs[0]) @ adapter.target(pairs[1]).T
    assert scores.equal(torch.eye(80))


@pytest.mark.parametrize("rows", [1, 2, 9, 40])
def test_of_equal_anchors_the_first_count_whatever_else_is_mapped(pairs, rows):
    """A photo with five captions is five equal anchors: each lies equally near."""
    photos = pairs[0][:16].repeat(5, 1)
    side = asif(photos, pairs[1], k=3).source
    kept = side(photos[:rows]) != 0
    for row in range(rows):
        assert kept[row].nonzero().flatten().tolist() == [row % 16 + 16 * at for at in range(3)]


def test_relative_keeps_every_cosine(pairs):
    adapter = relative(*pairs)
    expected = F.normalize(prepare(pairs[0])[1] @ prepare(pairs[0])[1].T, dim=1)
    torch.testing.assert_close(adapter.source(pairs[0]), expected)


def test_settings_out_of_range_are_refused(pairs):
    with pytest.raises(ValueError, match=r"k must lie in \[1, 80\], the number of pairs; got 81"):
        asif(*pairs, k=81)
    with pytest.raises(ValueError, match="power must be finite and above 0; got 0"):
        asif(*pairs, k=5, power=0.0)
