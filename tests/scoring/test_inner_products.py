import pytest
import torch

from align.scoring.inner_products import mutual_products
from tests.helpers.planted import unit


@pytest.mark.parametrize("d", [3, 64, 100, 385])
@pytest.mark.parametrize("n", [4, 33, 163, 200, 999])
def test_equal_rows_of_either_side_get_equal_scores(n, d, rng):
    x, y = (unit(torch.randn(n, d, generator=rng)) for _ in range(2))
    # Among them the last ones, which are left over after the last full tile.
    same = torch.cat([torch.randint(n, (n // 2,), generator=rng), torch.tensor([n - 1, n - 2])])
    x[same], y[same] = x[0].clone(), y[0].clone()
    scores = mutual_products(x, y)
    torch.testing.assert_close(scores, x @ y.T)
    assert bool((scores[same] == scores[same[0]]).all())
    assert bool((scores[:, same] == scores[:, same[:1]]).all())


def test_a_score_that_is_not_finite_is_refused_in_either_direction():
    with pytest.raises(ValueError, match="scores must be finite"):
        mutual_products(torch.tensor([[float("nan")]]), torch.ones(2, 1))
