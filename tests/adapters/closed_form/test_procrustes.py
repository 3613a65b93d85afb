import pytest
import torch
from scipy.linalg import orthogonal_procrustes

from align.adapters.closed_form.procrustes import procrustes
from align.adapters.recipes.moments import prepare


def on_sphere(rng, n, d):
    """Unit rows that come with their negatives, so that their mean is zero."""
    half = torch.nn.functional.normalize(torch.randn(n // 2, d, generator=rng), dim=1)
    return torch.cat([half, -half])


def random_rotation(rng, d):
    return torch.linalg.qr(torch.randn(d, d, generator=rng))[0]


def test_a_planted_rotation_is_recovered(rng):
    x = on_sphere(rng, 100, 6)
    rotation = random_rotation(rng, 6)
    adapter = procrustes(x, x @ rotation)
    torch.testing.assert_close(adapter.source_map.weight, rotation, atol=1e-5, rtol=0)
    torch.testing.assert_close(adapter.source(x), adapter.target(x @ rotation))


@pytest.mark.parametrize(("d_source", "d_target"), [(4, 7), (7, 4)], ids=str)
def test_a_planted_rotation_between_widths_is_recovered(rng, d_source, d_target):
    # The wider side holds the narrower one in a rotated subspace.
    narrow, wide = min(d_source, d_target), max(d_source, d_target)
    x = on_sphere(rng, 100, narrow)
    y = x @ random_rotation(rng, wide)[:narrow]
    source, target = (x, y) if d_source < d_target else (y, x)
    adapter = procrustes(source, target)
    assert adapter.dim == d_target
    torch.testing.assert_close(adapter.source(source), adapter.target(target))


def test_held_out_rows_of_a_planted_rotation_coincide_too(rng):
    x, rotation = on_sphere(rng, 100, 6), random_rotation(rng, 6)
    adapter = procrustes(x, x @ rotation)
    new = torch.randn(10, 6, generator=rng)
    torch.testing.assert_close(adapter.source(new), adapter.target(new @ rotation))


def test_the_rotation_equals_that_of_scipy(make_pairs):
    source, target = make_pairs(d_source=6, d_target=6)
    x, y = prepare(source)[1].double(), prepare(target)[1].double()
    expected, _ = orthogonal_procrustes(x.numpy(), y.numpy())
    found = procrustes(source, target).source_map.weight
    torch.testing.assert_close(found, torch.from_numpy(expected).float(), atol=1e-5, rtol=0)


def test_the_weight_is_orthogonal_and_the_target_only_centred(pairs):
    adapter = procrustes(*pairs)
    weight = adapter.source_map.weight
    torch.testing.assert_close(weight.T @ weight, torch.eye(6), atol=1e-5, rtol=0)
    assert adapter.target_map.weight.equal(torch.eye(6))


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (torch.ones(3, 2), torch.ones(4, 2), r"row-matched matrices.* \(3, 2\) and \(4, 2\)"),
        (torch.ones(1, 2), torch.ones(1, 2), "at least 2 pairs, and better 300; got 1"),
        (torch.tensor([[1.0], [0.0]]), torch.ones(2, 1), "row of source needs a direction"),
        (torch.ones(2, 1), torch.tensor([[1.0], [float("nan")]]), "target must be finite"),
        (torch.ones(2, 1, dtype=torch.int64), torch.ones(2, 1), "source must be a floating-point"),
    ],
)
def test_pairs_that_cannot_be_fitted_are_refused(source, target, message):
    with pytest.raises(ValueError, match=message):
        procrustes(source, target)
