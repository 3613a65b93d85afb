"""Where items are equally near to each other, a probe gives what it gives without rounding."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F

import probes
from probes.neighbours import closest


def corners(n, d):
    """Axes and their negatives, some of them twice: cosines of 0, 1 and -1, exact in floats."""
    axes = torch.cat([torch.eye(d), -torch.eye(d)])
    return axes[torch.arange(n) * 3 % len(axes)]


def turned(x, seed):
    """The same cloud seen from elsewhere: equal on paper, and not in floats."""
    rng = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(
        torch.randn(x.shape[1], x.shape[1], generator=rng, dtype=torch.float64)
    ).Q
    return F.normalize(
        (x.double() @ turn).float() + 1e-8 * torch.randn(x.shape, generator=rng), dim=1
    )


PAIRS = {
    "mutual_knn": partial(probes.mutual_knn, k=5),
    "rsa": probes.rsa,
    "trustworthiness": partial(probes.trustworthiness, k=5),
    "continuity": partial(probes.continuity, k=5),
}
SPACES = {
    "modality_mixing": partial(probes.modality_mixing, k=5),
    "hubness_skewness": partial(probes.hubness_skewness, k=5),
    "antihub_share": partial(probes.antihub_share, k=5),
    "hub_share": partial(probes.hub_share, k=5),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", PAIRS)
def test_turning_the_sides_changes_nothing_where_items_are_equally_near(name, seed, rng):
    source = corners(40, 12)
    target = source[torch.randperm(40, generator=rng)]
    exact = PAIRS[name](source, target)
    assert PAIRS[name](turned(source, seed), turned(target, seed + 9)) == pytest.approx(exact)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", SPACES)
def test_turning_a_space_changes_nothing_where_items_are_equally_near(name, seed, rng):
    source = corners(40, 12)
    target = source[torch.randperm(40, generator=rng)]
    both = turned(torch.cat([source, target]), seed)
    assert SPACES[name](both[:40], both[40:]) == pytest.approx(SPACES[name](source, target))


@pytest.mark.parametrize("k", [1, 4, 30])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_closest_are_the_nearest_of_float64_and_of_equals_the_first(k, scale, rng):
    queries, gallery = corners(30, 8), corners(300, 8)
    exact = (queries.double() @ gallery.double().T).sort(dim=1, descending=True, stable=True)
    both = turned(torch.cat([queries, gallery]), 0) * scale
    assert closest(both[:30], both[30:], k=k).equal(exact.indices[:, :k])


def test_where_nothing_ties_the_closest_are_the_nearest(rng):
    queries, gallery = torch.randn(20, 16, generator=rng), torch.randn(500, 16, generator=rng)
    exact = (queries.double() @ gallery.double().T).topk(7, dim=1)
    assert closest(queries, gallery, k=7).equal(exact.indices)
