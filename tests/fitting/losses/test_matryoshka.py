"""A loss of pairs summed over prefixes of their dimensions."""

from __future__ import annotations

import functools
import math

import pytest
import torch
import torch.nn.functional as F

from align.fitting.losses.contrastive import info_nce
from align.fitting.losses.matryoshka import matryoshka

nce = functools.partial(info_nce, temperature=0.2)


def drawn(rng, n=5, d=6):
    return torch.randn(2, n, d, generator=rng, dtype=torch.float64).unbind()


def test_it_is_the_weighted_sum_over_renormalised_prefixes(rng):
    source, target = drawn(rng)
    found = matryoshka(nce, source, target, [2, 3, 6], [0.5, 1.0, 2.0])
    expected = sum(
        weight * nce(F.normalize(source[:, :dim], dim=1), F.normalize(target[:, :dim], dim=1))
        for dim, weight in ((2, 0.5), (3, 1.0), (6, 2.0))
    )
    torch.testing.assert_close(found, expected)
    even = matryoshka(nce, source, target, [2, 3, 6])
    torch.testing.assert_close(even, matryoshka(nce, source, target, [2, 3, 6], [1.0] * 3))


def test_the_whole_width_alone_is_the_loss_itself(rng):
    source, target = (F.normalize(side, dim=1) for side in drawn(rng))
    torch.testing.assert_close(matryoshka(nce, source, target, [6]), nce(source, target))


def test_dimensions_beyond_the_longest_prefix_do_not_count(rng):
    source, target = drawn(rng)
    source.requires_grad_()
    matryoshka(nce, source, target, [2, 4]).backward()
    assert (source.grad[:, :4] != 0).all() and (source.grad[:, 4:] == 0).all()


@pytest.mark.parametrize("dims", [[], [3, 2], [2, 2], [0, 3], [3, 7]], ids=str)
def test_dims_that_do_not_rise_within_the_width_are_refused(dims, rng):
    with pytest.raises(ValueError, match="dims must rise within 1 and 6"):
        matryoshka(nce, *drawn(rng), dims)


def test_weights_that_do_not_fit_are_refused(rng):
    with pytest.raises(ValueError, match="weights must be one per prefix, 2; got 1"):
        matryoshka(nce, *drawn(rng), [2, 3], [1.0])
    for weight in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="the weight of a prefix must be finite and above 0"):
            matryoshka(nce, *drawn(rng), [2, 3], [1.0, weight])


def test_sides_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="share one space"):
        matryoshka(nce, torch.ones(3, 4), torch.ones(3, 5), [2])
