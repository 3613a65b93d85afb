import numpy as np
import pytest
import scipy.linalg
import torch
from sklearn.cross_decomposition import CCA

from align.adapters.closed_form.pls import pls
from align.adapters.closed_form.rcca import cca, rcca
from align.adapters.recipes.formulas import canonical
from align.adapters.recipes.moments import paired_moments, prepare


def scores(adapter, source, target):
    return adapter.source(source) @ adapter.target(target).T


def prepared(*sides):
    return [prepare(side)[1].double().numpy() for side in sides]


def test_correlations_equal_those_from_two_qr_decompositions(pairs):
    # Bjorck and Golub 1973: cosines of the principal angles between the two column spaces.
    x, y = prepared(*pairs)
    expected = scipy.linalg.svdvals(
        scipy.linalg.qr(x, mode="economic")[0].T @ scipy.linalg.qr(y, mode="economic")[0]
    )
    _, found, _ = canonical(paired_moments(*pairs), (0.0, 0.0))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_directions_equal_those_of_scikit_learn(pairs):
    # Each pair and its negative: a mean of zero, so that both packages centre alike.
    source, target = (torch.cat([side, -side]) for side in pairs)
    x, y = prepared(source, target)
    model = CCA(n_components=6, scale=False, max_iter=5000, tol=1e-12).fit(x, y)
    adapter = cca(source, target, ridge=0.0)
    for side, part, theirs in zip(
        (x, y), (adapter.source_map, adapter.target_map), model.transform(x, y), strict=True
    ):
        ours = side @ part.weight.double().numpy()
        for mine, other in zip(ours.T, theirs.T, strict=True):
            assert abs(np.corrcoef(mine, other)[0, 1]) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("n", [80, 5], ids=["more rows than columns", "fewer rows than columns"])
def test_the_solution_solves_the_generalised_eigenproblem(make_pairs, n):
    source, target = make_pairs(n=n)
    x, y = prepared(source, target)
    ridge = (0.5, 2.0)
    a, s, b = (part.numpy() for part in canonical(paired_moments(source, target), ridge))
    cx, cy, cross = x.T @ x / n, y.T @ y / n, x.T @ y / n
    cx += ridge[0] * np.trace(cx) / len(cx) * np.eye(len(cx))
    cy += ridge[1] * np.trace(cy) / len(cy) * np.eye(len(cy))
    np.testing.assert_allclose(a.T @ cx @ a, np.eye(len(s)), atol=1e-6)
    np.testing.assert_allclose(b.T @ cy @ b, np.eye(len(s)), atol=1e-6)
    np.testing.assert_allclose(a.T @ cross @ b, np.diag(s), atol=1e-6)
    expected = scipy.linalg.eigh(cross @ np.linalg.solve(cy, cross.T), cx, eigvals_only=True)
    np.testing.assert_allclose(s**2, expected[::-1][: len(s)], atol=1e-6)


def test_power_weights_directions_by_their_correlation(pairs):
    a, s, b = canonical(paired_moments(*pairs), (1.0, 1.0))
    adapter = rcca(*pairs, ridge=(1.0, 1.0), power=1.5)
    torch.testing.assert_close(adapter.source_map.weight, (a * s**1.5).float())
    torch.testing.assert_close(adapter.target_map.weight, (b * s**1.5).float())


def test_dim_keeps_the_strongest_directions(pairs):
    whole, part = rcca(*pairs), rcca(*pairs, dim=2)
    assert part.dim == 2
    assert part.source_map.weight.equal(whole.source_map.weight[:, :2])
    assert part.target_map.weight.equal(whole.target_map.weight[:, :2])


def test_a_huge_ridge_leaves_pls(pairs):
    # The whitening turns into a multiple of the identity: only the cross-covariance remains.
    huge = rcca(*pairs, ridge=(1e6, 1e6), power=0.0)
    expected = scores(pls(*pairs, power=0.0), *pairs)
    torch.testing.assert_close(scores(huge, *pairs), expected, atol=1e-4, rtol=0)


def test_cca_is_rcca_without_weights(pairs):
    expected = rcca(*pairs, ridge=(1e-3, 1e-3), power=0.0)
    assert scores(cca(*pairs, ridge=1e-3), *pairs).equal(scores(expected, *pairs))


def test_columns_without_variance_stay_finite_without_a_ridge(make_pairs):
    source, target = make_pairs()
    source = torch.cat([source, source[:, :1], torch.zeros(len(source), 1)], dim=1)
    adapter = cca(source, target, ridge=0.0)
    assert scores(adapter, source, target).isfinite().all()
    _, correlations, _ = canonical(paired_moments(source, target), (0.0, 0.0))
    assert correlations.max() <= 1 + 1e-6


def test_a_planted_shared_signal_is_found_among_noise(make_pairs):
    source, target = make_pairs(n=400, d_source=20, d_target=16, shared=12, noise=0.05)
    adapter = rcca(source[:300], target[:300], ridge=(0.01, 0.01))
    held_out = scores(adapter, source[300:], target[300:])
    assert (held_out.argmax(dim=1) == torch.arange(100)).float().mean() > 0.9


def test_settings_out_of_range_are_refused(pairs):
    with pytest.raises(ValueError, match=r"ridge must be finite and at least 0; got -0.5"):
        rcca(*pairs, ridge=(1.0, -0.5))
    with pytest.raises(ValueError, match="power must be finite and at least 0; got -1"):
        rcca(*pairs, power=-1.0)
    with pytest.raises(ValueError, match=r"dim must lie in \[1, 6\], the number of directions"):
        rcca(*pairs, dim=7)
