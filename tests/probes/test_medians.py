"""The median that NumPy selects is the one of torch."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from probes.medians import median_of


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=40), st.booleans())
def test_the_median_is_the_lower_one_of_torch(numbers, wide):
    values = torch.tensor(numbers, dtype=torch.float64 if wide else torch.float32)
    assert median_of(values) == float(values.median())
    zeros = torch.full((7,), float(values.min()), dtype=values.dtype)
    assert median_of(torch.cat([values, zeros]), left_out=7) == float(values.median())
