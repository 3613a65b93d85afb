import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import Ridge

from align.adapters.closed_form.ridge import ridge
from align.adapters.recipes.moments import prepare


def sklearn_weight(x, y, k):
    """Weight of scikit-learn's ridge whose penalty means the same: ``alpha = n k m``."""
    x, y = (prepare(side)[1].double().numpy() for side in (x, y))
    mean_eigenvalue = np.trace(x.T @ x / len(x)) / x.shape[1]
    model = Ridge(alpha=len(x) * k * mean_eigenvalue, fit_intercept=False).fit(x, y)
    return torch.from_numpy(np.atleast_2d(model.coef_).T).float()


@pytest.mark.parametrize("n", [80, 5], ids=["more rows than columns", "fewer rows than columns"])
@pytest.mark.parametrize("k", [0.1, 3.0])
def test_both_directions_equal_those_of_scikit_learn(make_pairs, n, k):
    source, target = make_pairs(n=n)
    forward = ridge(source, target, ridge=k, direction="forward")
    backward = ridge(source, target, ridge=k, direction="backward")
    for found, expected in (
        (forward.source_map.weight, sklearn_weight(source, target, k)),
        (backward.target_map.weight, sklearn_weight(target, source, k)),
    ):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert forward.target_map.weight.equal(torch.eye(6))
    assert backward.source_map.weight.equal(torch.eye(8))


def test_both_adds_half_of_each_cosine(pairs):
    scores = {}
    for direction in ("forward", "backward", "both"):
        adapter = ridge(*pairs, direction=direction)
        scores[direction] = adapter.source(pairs[0]) @ adapter.target(pairs[1]).T
    expected = (scores["forward"] + scores["backward"]) / 2
    torch.testing.assert_close(scores["both"], expected)


def test_without_a_penalty_a_planted_linear_map_is_recovered(rng):
    x = F.normalize(torch.randn(100, 4, generator=rng), dim=1)
    x = torch.cat([x, -x])  # no mean, so that centring changes nothing
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=rng))[0]
    adapter = ridge(x, x @ rotation, ridge=0.0, direction="forward")
    torch.testing.assert_close(adapter.source_map.weight, rotation, atol=1e-5, rtol=0)


def test_without_a_penalty_columns_without_variance_stay_finite(make_pairs, rng):
    source, target = make_pairs()
    source = torch.cat([source, source[:, :1]], dim=1)
    adapter = ridge(source, target, ridge=0.0)
    assert adapter.source(torch.randn(5, 9, generator=rng)).isfinite().all()


def test_settings_out_of_range_are_refused(pairs):
    with pytest.raises(ValueError, match="ridge must be finite and at least 0; got -1"):
        ridge(*pairs, ridge=-1.0)
    with pytest.raises(ValueError, match=r'direction must be .*"both"; got .sideways'):
        ridge(*pairs, direction="sideways")
