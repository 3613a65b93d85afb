"""One point up to rounding is one point; a tight cloud is not."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from probes.structure.components import deviations


@given(seed=st.integers(0, 2**20), n=st.integers(1, 60), scale=st.floats(1e-3, 1e3))
def test_one_point_up_to_rounding_is_refused(seed, n, scale):
    rng = torch.Generator().manual_seed(seed)
    x = (scale * torch.randn(5, generator=rng)).expand(n, 5)
    with pytest.raises(ValueError, match=f"x must vary; all {n} rows are one point"):
        deviations("x", x)


def test_a_tight_cloud_far_from_the_origin_is_kept(rng):
    x = 1 + 1e-4 * torch.randn(50, 5, generator=rng)
    centred = deviations("x", x)
    torch.testing.assert_close(centred, x - x.mean(dim=0))
    assert centred.mean(dim=0).abs().max() < 1e-6
