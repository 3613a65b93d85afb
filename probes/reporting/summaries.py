"""What the figures and lists of a report show of one state, small enough to be saved with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from align.metrics.subgroups import RankedQueries, Subgroup, checked_labels, subgroups
from align.scoring.topk import nearest
from probes.pairing.chance import random_ranks
from probes.reporting import model
from probes.space import K, Space
from probes.structure.canonical import canonical_spectrum_of

_STEPS = 100  # of a curve
_DIRECTIONS: tuple[model.Direction, model.Direction] = ("source to target", "target to source")


def view(space: Space, *, spectrum: bool = True) -> model.View:
    """What the figures show of a state; ``spectrum`` says whether that is wanted, as it is dear."""
    is_search = space.corrected is not None
    geometric = space.is_common and not is_search
    return model.View(
        clouds=_clouds(space) if geometric else None,
        cosines=_cosines(space) if geometric else None,
        recall=_recall(space) if space.is_common else None,
        occurrence=_occurrence(space) if space.is_common else None,
        spectrum=_spectrum(space) if spectrum and not is_search else None,
    )


def failures(space: Space, ids: tuple[str, ...], most: int = 20) -> list[model.Failure]:
    """The worst-ranked queries of a state, at most so many in each direction, worst first."""
    listed = []
    for direction, search, ranks in zip(_DIRECTIONS, space.searches, space.ranks, strict=True):
        worst = ranks.first.sort(descending=True, stable=True).indices[:most]
        worst = worst[ranks.first[worst] > 1]
        own = (search.queries[worst] * search.gallery[worst]).sum(dim=1)
        best = nearest(search.queries[worst], search.gallery, k=1)
        columns = (worst, ranks.first[worst], own, best.indices[:, 0], best.values[:, 0])
        for row, rank, score, first, top in zip(*(c.tolist() for c in columns), strict=True):
            listed.append(model.Failure(ids[row], direction, rank, score, ids[first], top))
    return sorted(listed, key=lambda failure: -failure.rank)


def by_label(labels: Sequence[str], space: Space) -> tuple[Subgroup, ...]:
    """Recall of the pairs of each label in a state, beside chance and beside all others."""
    labels = checked_labels(labels, space.n)  # a sample may have left one kind alone
    every = torch.arange(space.n)
    directions = (
        RankedQueries(ranks.first, space.codes, ranks.positives, space.n, every)
        for ranks in space.ranks
    )
    return subgroups(labels, *directions, seed=space.seed)


def hubs(space: Space, ids: tuple[str, ...], most: int = 10) -> list[model.Hub]:
    """The gallery items that are in the top ``K`` of most queries, at most so many a direction."""
    listed = []
    for direction, retrieved in zip(_DIRECTIONS, space.retrieved, strict=True):
        counts = torch.bincount(retrieved.flatten(), minlength=space.n)
        is_wrong = space.codes[retrieved] != space.codes[:, None]
        wrong = torch.bincount(retrieved[is_wrong], minlength=space.n)
        for row in counts.sort(descending=True, stable=True).indices[:most].tolist():
            listed.append(model.Hub(ids[row], direction, int(counts[row]), int(wrong[row])))
    return sorted(listed, key=lambda hub: -hub.count)


def _clouds(space: Space) -> model.Clouds:
    shown = space.sample(400).space
    both = torch.cat([shown.source, shown.target]).double()
    both -= both.mean(dim=0)
    _, _, axes = torch.linalg.svd(both, full_matrices=False)
    plane = axes[:2] if len(axes) > 1 else torch.cat([axes, torch.zeros_like(axes)])
    gap = space.source.double().mean(dim=0) - space.target.double().mean(dim=0)
    along_gap = _rounded((both @ F.normalize(gap, dim=0)).tolist())
    points = tuple((_short(x), _short(y)) for x, y in (both @ plane.T).tolist())
    n = shown.n
    return model.Clouds(points[:n], points[n:], along_gap[:n], along_gap[n:])


def _cosines(space: Space, bins: int = 60) -> model.Histogram:
    true = space.cross.diagonal()
    false = space.cross[~space.same_group]
    low, high = (float(bound) for bound in torch.cat([true, false]).aminmax())
    edges = torch.linspace(low, max(high, low + 1e-3), bins + 1, dtype=torch.float64)

    def density(cosines: Tensor) -> model.Numbers:
        counts = torch.histc(cosines, bins=bins, min=float(edges[0]), max=float(edges[-1]))
        return _rounded((counts.double() / (len(cosines) * edges.diff())).tolist())

    return model.Histogram(_rounded(edges.tolist()), density(true), density(false))


def _recall(space: Space) -> model.Curve:
    steps = torch.logspace(0, torch.tensor(space.n).log10().item(), _STEPS)
    ks = torch.unique(steps.round().long()).tolist()
    first = torch.cat([ranks.first for ranks in space.ranks])
    single = int(space.codes.max()) + 1 == space.n
    by_chance = torch.arange(1, space.n + 1) if single else random_ranks(space).flatten()
    recall, chance = (
        _rounded((ranks <= k).double().mean().item() for k in ks) for ranks in (first, by_chance)
    )
    return model.Curve(_rounded(ks), recall, chance)


def _occurrence(space: Space) -> model.Curve:
    from scipy.stats import binom

    counts = torch.cat([torch.bincount(r.flatten(), minlength=space.n) for r in space.retrieved])
    in_order = counts.sort(descending=True).values
    share = (torch.arange(_STEPS, dtype=torch.float64) + 0.5) / _STEPS
    at = (share * len(in_order)).long()
    chance = binom.isf(share.numpy(), space.n, K / space.n)
    return model.Curve(
        _rounded(share.tolist()), _rounded(in_order[at].tolist()), tuple(map(float, chance))
    )


def _spectrum(space: Space) -> model.CanonicalCorrelations:
    spectrum = canonical_spectrum_of(space)
    parts = (spectrum.held_out, spectrum.train, spectrum.null)
    return model.CanonicalCorrelations(*(_rounded(part.tolist()) for part in parts))


def _rounded(values: Iterable[float]) -> model.Numbers:
    return tuple(map(_short, values))


def _short(value: float) -> float:
    """Five significant digits: more cannot be seen, and a report is to stay small."""
    return float(f"{value:.5g}")
