"""What the figures and lists of a report show of one state, small enough to be kept with it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from align.scoring.topk import nearest
from probes.pairing.chance import random_ranks
from probes.reporting.model import (
    CanonicalCorrelations,
    Clouds,
    Curve,
    Direction,
    Failure,
    Histogram,
    Hub,
    View,
)
from probes.space import K, Space
from probes.structure.canonical import canonical_spectrum_of

_POINTS = 400
_BINS = 60
_STEPS = 100
_FAILURES = 20  # per direction
_HUBS = 10  # per direction
_DIRECTIONS: tuple[Direction, Direction] = ("source to target", "target to source")


def view(space: Space) -> View:
    """What the figures show of a state.

    Args:
        space: The state.
    """
    is_search = space.corrected is not None
    geometric = space.is_common and not is_search
    return View(
        clouds=_clouds(space) if geometric else None,
        cosines=_cosines(space) if geometric else None,
        recall=_recall(space) if space.is_common else None,
        occurrence=_occurrence(space) if space.is_common else None,
        spectrum=None if is_search else _spectrum(space),
    )


def failures(space: Space, ids: tuple[str, ...]) -> list[Failure]:
    """The worst-ranked queries of both directions, worst first.

    Args:
        space: A state that can be searched.
        ids: Names of the pairs, ``n``.
    """
    found = []
    for direction, search, ranks in zip(_DIRECTIONS, space.searches, space.ranks, strict=True):
        worst = ranks.first.sort(descending=True, stable=True).indices[:_FAILURES]
        own = (search.queries[worst] * search.gallery[worst]).sum(dim=1)
        best = nearest(search.queries[worst], search.gallery, k=1)
        for row, score, at, top in zip(
            worst.tolist(), own.tolist(), best.indices[:, 0].tolist(), best.values[:, 0].tolist(),
            strict=True,
        ):  # fmt: skip
            rank = int(ranks.first[row])
            if rank > 1:
                found.append(Failure(ids[row], direction, rank, score, ids[at], top))
    return sorted(found, key=lambda failure: -failure.rank)


def hubs(space: Space, ids: tuple[str, ...]) -> list[Hub]:
    """The gallery items that are in the top ``K`` of most queries, both directions.

    Args:
        space: A state that can be searched.
        ids: Names of the pairs, ``n``.
    """
    found = []
    for direction, retrieved in zip(_DIRECTIONS, space.retrieved, strict=True):
        counts = torch.bincount(retrieved.flatten(), minlength=space.n)
        strange = space.codes[retrieved] != space.codes[:, None]
        wrong = torch.bincount(retrieved[strange], minlength=space.n)
        for row in counts.sort(descending=True, stable=True).indices[:_HUBS].tolist():
            found.append(Hub(ids[row], direction, int(counts[row]), int(wrong[row])))
    return sorted(found, key=lambda hub: -hub.count)


def _clouds(space: Space) -> Clouds:
    shown = space.sample(_POINTS).space
    source, target = shown.source.double(), shown.target.double()
    both = torch.cat([source, target])
    middle = both.mean(dim=0)
    _, _, axes = torch.linalg.svd(both - middle, full_matrices=False)
    plane = axes[:2] if len(axes) > 1 else torch.cat([axes, torch.zeros_like(axes)])
    gap = space.source.double().mean(dim=0) - space.target.double().mean(dim=0)
    line = F.normalize(gap, dim=0)
    on_plane, on_line = (both - middle) @ plane.T, (both - middle) @ line
    points = [(_short(x), _short(y)) for x, y in on_plane.tolist()]
    n = shown.n
    return Clouds(
        tuple(points[:n]), tuple(points[n:]), _numbers(on_line[:n]), _numbers(on_line[n:])
    )


def _cosines(space: Space) -> Histogram:
    true = space.cross.diagonal()
    false = space.cross[~space.same_group]
    low, high = (float(bound) for bound in torch.cat([true, false]).aminmax())
    edges = torch.linspace(low, max(high, low + 1e-3), _BINS + 1, dtype=torch.float64)
    densities = []
    for cosines in (true, false):
        counts = torch.histc(cosines, bins=_BINS, min=float(edges[0]), max=float(edges[-1]))
        densities.append(counts.double() / (len(cosines) * edges.diff()))
    return Histogram(_numbers(edges), _numbers(densities[0]), _numbers(densities[1]))


def _recall(space: Space) -> Curve:
    steps = torch.logspace(0, torch.tensor(space.n).log10().item(), _STEPS)
    ks = torch.unique(steps.round().long())
    first = torch.cat([ranks.first for ranks in space.ranks])
    recall = [(first <= k).double().mean().item() for k in ks.tolist()]
    single = int(space.codes.max()) + 1 == space.n
    by_chance = torch.arange(1, space.n + 1) if single else random_ranks(space).flatten()
    chance = [(by_chance <= k).double().mean().item() for k in ks.tolist()]
    return Curve(_numbers(ks.double()), tuple(map(_short, recall)), tuple(map(_short, chance)))


def _occurrence(space: Space) -> Curve:
    from scipy.stats import binom

    counts = torch.cat(
        [torch.bincount(found.flatten(), minlength=space.n) for found in space.retrieved]
    )
    in_order = counts.sort(descending=True).values
    share = (torch.arange(_STEPS, dtype=torch.float64) + 0.5) / _STEPS
    at = (share * len(in_order)).long()
    chance = binom.isf(share.numpy(), space.n, K / space.n)
    return Curve(_numbers(share), _numbers(in_order[at].double()), tuple(map(float, chance)))


def _spectrum(space: Space) -> CanonicalCorrelations:
    found = canonical_spectrum_of(space)
    return CanonicalCorrelations(
        _numbers(found.held_out), _numbers(found.train), _numbers(found.null)
    )


def _numbers(values: Tensor) -> tuple[float, ...]:
    return tuple(map(_short, values.tolist()))


def _short(value: float) -> float:
    """Five significant digits: more cannot be seen, and a report is to stay small."""
    return float(f"{value:.5g}")
