"""Random multi-vectors, and what makes two of them the same."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from align.data.multi_vector import MultiVector

LENGTHS = st.lists(st.integers(1, 6), max_size=8)

SEEDS = st.integers(0, 2**32 - 1)


def ragged(lengths, *, d=4, seed=0, dtype=torch.float32):
    """Random items of these lengths; also of none."""
    drawn = torch.Generator().manual_seed(seed)
    tokens = torch.randn(sum(lengths), d, generator=drawn).to(dtype)
    return MultiVector(tokens, torch.tensor([0, *lengths]).cumsum(0))


def same(one, other):
    """Equal bits, dtypes, offsets and scales."""
    scales = (one.scales, other.scales)
    return (
        one.tokens.dtype == other.tokens.dtype
        and torch.equal(one.tokens, other.tokens)
        and torch.equal(one.offsets, other.offsets)
        and (scales == (None, None) or torch.equal(*scales))
    )


def shares(view, whole):
    return view.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr()


def joined(parts):
    """Items of several multi-vectors, one after another."""
    lengths = torch.cat([part.lengths for part in parts])
    ends = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    scales = None if parts[0].scales is None else torch.cat([part.scales for part in parts])
    return MultiVector(torch.cat([part.tokens for part in parts]), ends, scales)
