"""Systems fitted on draws of training pairs and judged on one gallery: the rows of a comparison."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import torch
from torch import Tensor

from align.adapters.adapter import Adapter
from align.data.embeddings import PairedEmbeddings
from align.metrics.bootstrap import bootstrap_interval, weighted_mean
from align.metrics.estimates import Estimate
from align.metrics.evaluation import Evaluation, Side, evaluate
from align.metrics.ranks import hits_at_k, reciprocal_ranks
from experiments.tasks import Task

METRICS = ("recall_at_1", "recall_at_5", "recall_at_10", "mean_reciprocal_rank")
_MEMORY = "training_items."  # tells which pairs were trained on; no map and no search needs it
WARM_UP, CALLS = 30, 300  # queries adapted one at a time before timing, and timed

Fit = Callable[[PairedEmbeddings, int], Adapter]  # training pairs and a seed in


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """One system fitted on one draw.

    Attributes:
        evaluation: On the gallery.
        fit_seconds: Wall-clock time of the fit.
        trained: Parameters learned by gradient descent.
        stored: Numbers that must be kept to use it.
        query_microseconds: Median time to adapt a batch of one query, by side.
    """

    evaluation: Evaluation
    fit_seconds: float
    trained: int
    stored: int
    query_microseconds: Mapping[Side, float]


@dataclass(frozen=True, slots=True)
class Row:
    """One system over all draws; metrics are means of both directions, in [0, 1].

    Attributes:
        system: Its name.
        metrics: Each of ``METRICS``, with a 95 % interval over queries and draws.
        gain: The metrics of the reference system minus these, paired by query and draw.
        fit_seconds: Mean wall-clock time of a fit.
        trained: Parameters learned by gradient descent, in the first draw.
        stored: Numbers that must be kept to use it, in the first draw.
        query_microseconds: Time to adapt a batch of one query, by side; mean of medians.
    """

    system: str
    metrics: Mapping[str, Estimate]
    gain: Mapping[str, Estimate]
    fit_seconds: float
    trained: int
    stored: int
    query_microseconds: Mapping[Side, float]


def draw(pool: PairedEmbeddings, n: int, *, seed: int) -> PairedEmbeddings:
    """``n`` pairs of ``pool`` without replacement.

    Raises:
        ValueError: ``n`` is not in ``[1, len(pool)]``.
    """
    if not 1 <= n <= len(pool):
        raise ValueError(
            f"n must lie in [1, {len(pool)}], the size of the training pool; got {n}. "
            "Ask for a number in that range."
        )
    return pool.take(torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))[:n])


def on_draws(
    task: Task[PairedEmbeddings],
    *,
    n: int,
    draws: int,
    systems: Callable[[PairedEmbeddings], Mapping[str, Fit]],
) -> dict[str, list[Trial]]:
    """One trial of each system per draw of ``n`` pairs; draw ``s`` and its fits are of seed ``s``.

    Args:
        task: Its pool is drawn from, and its gallery judges.
        n: Pairs of a draw.
        draws: How many.
        systems: Names the systems for the pairs of one draw.

    Raises:
        ValueError: The pool has fewer than ``n`` pairs.
    """
    trials: dict[str, list[Trial]] = {}
    for seed in range(draws):
        train = draw(task.pool, n, seed=seed)
        for name, system in systems(train).items():
            trials.setdefault(name, []).append(trial(system, train, task.gallery, seed=seed))
    return trials


def trial(fit: Fit, train: PairedEmbeddings, gallery: PairedEmbeddings, *, seed: int) -> Trial:
    """Fit one system on ``train`` and measure it on ``gallery``."""
    start = time.perf_counter()
    fitted = fit(train, seed)
    seconds = time.perf_counter() - start
    tensors = fitted.state_dict()
    return Trial(
        evaluate(gallery, fitted),
        seconds,
        sum(parameter.numel() for parameter in fitted.parameters()),
        sum(value.numel() for name, value in tensors.items() if not name.startswith(_MEMORY)),
        {
            "source": median(call_microseconds(fitted, gallery.source, side="source")),
            "target": median(call_microseconds(fitted, gallery.target, side="target")),
        },
    )


def call_microseconds(
    fitted: Adapter, rows: Tensor, *, side: Side, calls: int = CALLS
) -> list[float]:
    """Times to adapt one query after another, in batches of one, after some that are not counted.

    Args:
        fitted: What adapts them.
        rows: Embeddings of one side, taken in turn, ``(n, d_side)``.
        side: Which side that is.
        calls: How many are timed.
    """
    taken = []
    for call in range(WARM_UP + calls):
        at = call % len(rows)
        query = rows[at : at + 1]
        start = time.perf_counter_ns()
        fitted.queries(query, side=side)
        taken.append((time.perf_counter_ns() - start) / 1000)
    return taken[WARM_UP:]


def summarise(system: str, trials: Sequence[Trial], reference: Sequence[Trial]) -> Row:
    """The row of one system, its trials matched draw by draw with those of the reference."""
    here = [each.evaluation for each in trials]
    first = trials[0]
    sides: tuple[Side, ...] = ("source", "target")
    return Row(
        system,
        over_draws(here),
        over_draws([each.evaluation for each in reference], minus=here),
        fmean(each.fit_seconds for each in trials),
        first.trained,
        first.stored,
        {side: fmean(each.query_microseconds[side] for each in trials) for side in sides},
    )


def over_draws(
    evaluations: Sequence[Evaluation], *, minus: Sequence[Evaluation] | None = None
) -> dict[str, Estimate]:
    """``METRICS``, or by how much they exceed others', over draws, queries and both directions.

    Args:
        evaluations: One per draw, on one gallery.
        minus: What to subtract, draw by draw and query by query, or ``None``.
    """
    values = _values(evaluations)
    if minus is not None:
        values = values - _values(minus)
    both = evaluations[0].source_to_target, evaluations[0].target_to_source
    groups = torch.cat([direction.groups for direction in both])
    found = intervals(values, groups, [len(direction.ranks) for direction in both])
    return dict(zip(METRICS, found, strict=True))


def _values(evaluations: Sequence[Evaluation]) -> Tensor:
    """``METRICS`` of every query of both directions in every draw, ``(q, draws, 4)``."""
    by_draw = []
    for each in evaluations:
        both = each.source_to_target, each.target_to_source
        ranks = torch.cat([direction.ranks for direction in both])
        columns = [*(hits_at_k(ranks, k) for k in (1, 5, 10)), reciprocal_ranks(ranks)]
        by_draw.append(torch.stack(columns, dim=1))
    return torch.stack(by_draw, dim=1)


def intervals(values: Tensor, groups: Tensor, sizes: Sequence[int]) -> list[Estimate]:
    """Means over draws, queries and parts, with intervals by a bootstrap of draws and queries.

    Each resample takes queries, whole groups at a time, and draws, both with replacement: the
    pigeonhole bootstrap of Owen 2007, doi:10.1214/07-AOAS122. Three draws say little of the spread
    between training sets, and one says nothing.

    Args:
        values: Of every query in every draw, part after part, ``(q, draws, c)`` float64.
        groups: Group code of each query, ``(q,)`` int64.
        sizes: Queries of each part, summing to ``q``. Parts, such as directions, weigh the same.

    Returns:
        One estimate for each of the ``c`` columns.
    """
    draws, columns = values.shape[1:]
    generator = torch.Generator().manual_seed(0)

    def by_draw(table: Tensor, weights: Tensor) -> Tensor:
        parts = zip(
            torch.split(table, list(sizes)), torch.split(weights, list(sizes), dim=1), strict=True
        )
        means = torch.stack([weighted_mean(*part) for part in parts]).mean(dim=0)
        return means.reshape(-1, draws, columns)

    def resampled(table: Tensor, weights: Tensor) -> Tensor:
        picked = torch.randint(draws, (len(weights), draws, 1), generator=generator)
        return by_draw(table, weights).take_along_dim(picked, dim=1).mean(dim=1)

    table = values.flatten(1)
    value = by_draw(table, table.new_ones(1, len(table))).mean(dim=1)[0]
    low, high = bootstrap_interval(
        table, groups=groups, generator=torch.Generator().manual_seed(1), statistic=resampled
    )
    bounds = zip(value.tolist(), low.tolist(), high.tolist(), strict=True)
    return [Estimate(*bound) for bound in bounds]
