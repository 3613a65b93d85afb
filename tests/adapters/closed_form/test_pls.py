import numpy as np
import pytest
import torch

from align.adapters.closed_form.pls import pls
from align.adapters.closed_form.procrustes import procrustes
from align.adapters.recipes.moments import prepare


def scores(adapter, source, target):
    return adapter.source(source) @ adapter.target(target).T


def test_without_weights_it_scores_as_procrustes(pairs):
    # Both are built from the singular vectors of one cross-covariance; needs d_target <= d_source.
    found = scores(pls(*pairs, power=0.0), *pairs)
    torch.testing.assert_close(found, scores(procrustes(*pairs), *pairs), atol=1e-5, rtol=0)


@pytest.mark.parametrize("n", [80, 5], ids=["more rows than columns", "fewer rows than columns"])
def test_the_maps_factor_the_cross_covariance(make_pairs, n):
    source, target = make_pairs(n=n)
    x, y = (prepare(side)[1].double().numpy() for side in (source, target))
    cross = x.T @ y / n
    adapter = pls(source, target, power=0.5)
    found = adapter.source_map.weight.double() @ adapter.target_map.weight.double().T
    np.testing.assert_allclose(found.numpy(), cross / np.linalg.norm(cross, 2), atol=1e-5)


def test_dim_keeps_the_strongest_directions(pairs):
    whole, part = pls(*pairs), pls(*pairs, dim=2)
    assert part.source_map.weight.equal(whole.source_map.weight[:, :2])
    assert part.target_map.weight.equal(whole.target_map.weight[:, :2])


def test_settings_out_of_range_are_refused(pairs):
    with pytest.raises(ValueError, match="power must be finite and at least 0; got -1"):
        pls(*pairs, power=-1.0)
    with pytest.raises(ValueError, match=r"dim must lie in \[1, 6\].*got 0"):
        pls(*pairs, dim=0)
