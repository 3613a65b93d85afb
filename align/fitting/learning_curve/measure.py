"""``learning_curve``: recall by the number of pairs, and what more of them would bring."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from align._checks import check_at_least
from align._display.interruption import saying_what_is_kept
from align._display.progress import progress_bar
from align.data.embeddings import PairedEmbeddings, Vectors
from align.data.paired_arguments import as_pairs
from align.data.repeats import warn_of_repeats
from align.data.splits import group_codes
from align.fitting.learning_curve.curve import LearningCurve
from align.fitting.learning_curve.extrapolation import Extrapolation
from align.fitting.learning_curve.point import METRICS, CurvePoint
from align.fitting.learning_curve.readings import Readings
from align.fitting.learning_curve.rounds import Round, deal_rounds
from align.fitting.model_selection.cross_validation import CrossValidation
from align.fitting.model_selection.fit import fit
from align.fitting.model_selection.shuffled_pairs import NEVER, SURE, beats_shuffled
from align.metrics.bootstrap import bootstrap_interval
from align.metrics.chance import HeldOutRanks, without_chance_warnings
from align.metrics.comparison.compare import RawCosine
from align.metrics.estimates import Estimate
from align.metrics.evaluation import Maps
from align.metrics.ranks import ranks_of_partners

FEWEST = 100  # pairs, of which a fold leaves enough for three points
FEWEST_GROUPS = 50  # of which an eighth can be dealt into folds


@torch.no_grad()
def learning_curve(
    train: PairedEmbeddings | Vectors,
    target: Vectors | None = None,
    *,
    folds: int = 5,
    seed: int = 0,
    resume: str | Path | None = None,
    progress: bool | None = None,
) -> LearningCurve:
    """Recall of ``align.fit`` at n/8 to n pairs, and what twice and four times as many would give.

    The recipe is ``align.fit(..., effort="fast")``, with every setting chosen anew at each number
    of pairs. It is judged on folds of ``train`` that hold whole groups out, in galleries of one
    size, at most 1,000 pairs and one per group, so that points of the curve differ by their pairs
    alone. Recall in a larger gallery is lower; the shape is what counts. Samples are nested, and
    the largest is what a fold leaves: four fifths of the pairs with five folds. Where a fold has a
    large gallery, only as many folds are used as hold out 2,000 pairs.

    Nothing outside ``train`` is looked at. It takes some twenty fits, most of
    them of fewer pairs.

    Args:
        train: Pairs, 100 or more in 50 groups or more; or their sources, ``(n, d_source)``, in any
            form that ``PairedEmbeddings.from_arrays`` takes.
        target: Their targets, ``(n, d_target)``, unless ``train`` holds both sides.
        folds: Parts that the groups are dealt into, >= 3. More folds reach closer to all pairs, in
            a smaller gallery.
        seed: Seeds folds, samples and resamples.
        resume: A file in which what was measured is kept after each fit; the same call goes on
            from there.
        progress: Whether to draw a progress bar; by default in a terminal or notebook.

    Returns:
        The points with 95 % intervals, beside chance and the raw cosine, a fitted curve with 90 %
        prediction intervals, and a verdict.

    Raises:
        TypeError: There is one side alone, or a side does not hold numbers.
        ValueError: There are under 100 pairs, 50 groups or 3 folds, the sides do not fit together,
            or the file to resume from is of another call.

    Warns:
        RepeatedItems: Many pairs share an item and no groups say so.

    Examples:
        >>> import numpy as np, align
        >>> rng = np.random.default_rng(0)
        >>> captions = rng.standard_normal((100, 8))
        >>> photos = captions @ rng.standard_normal((8, 12)) + 2 * rng.standard_normal((100, 12))
        >>> curve = align.learning_curve(captions, photos, folds=3)
        >>> [point.n_pairs for point in curve.points], curve.gallery_size
        ([25, 50, 67], 33)
        >>> curve.at(400)["recall_at_1"].value > curve.points[0].metrics["recall_at_1"].value
        True
    """
    pairs = as_pairs(train, target)
    check_at_least("folds", folds, 3)
    if len(pairs) < FEWEST:
        raise ValueError(
            f"a learning curve needs at least {FEWEST} pairs, to fit on an eighth of them; got "
            f"{len(pairs)}. Add pairs, or fit on these and look at the card."
        )
    groups = len(set(pairs.group_key))
    if groups < FEWEST_GROUPS:
        raise ValueError(
            f"a learning curve needs at least {FEWEST_GROUPS} groups, which are fitted on or held "
            f"out whole; got {groups}. Add pairs of other groups."
        )
    warn_of_repeats((pairs.source, pairs.target), pairs.group_key, "learning_curve", stacklevel=3)
    rounds = deal_rounds(pairs, folds=folds, seed=seed)
    readings = Readings(resume, pairs, folds=folds, seed=seed)
    _measure(pairs, rounds, readings, seed=seed, progress=progress)
    samples = range(len(rounds[0].samples))
    by_sample = [
        torch.cat([readings.ranks[_name(number, at)] for number in range(len(rounds))])
        for at in samples
    ]
    held_out = torch.cat([each.held_out for each in rounds])
    codes = torch.from_numpy(group_codes(pairs.group_key))[held_out]
    units = torch.unique(codes, return_inverse=True)[1]
    sizes = [sum(len(each.samples[at]) for each in rounds) / len(rounds) for at in samples]
    gallery = len(rounds[0].held_out)
    last = HeldOutRanks(by_sample[-1], torch.full((len(held_out),), gallery))
    raw = None
    if pairs.source.shape[1] == pairs.target.shape[1]:
        raw = torch.cat([_ranks(RawCosine(), pairs.take(each.held_out)) for each in rounds])
    generator = torch.Generator().manual_seed(seed)
    values = torch.stack([_values(each) for each in by_sample], dim=1)
    return LearningCurve(
        n_pairs=len(pairs),
        n_groups=len(set(pairs.groups)),
        folds=folds,
        rounds=len(rounds),
        gallery_size=gallery,
        points=tuple(
            CurvePoint(round(size), _estimates(values[:, at], units, seed))
            for at, size in enumerate(sizes)
        ),
        extrapolation=Extrapolation.of(
            torch.tensor(sizes, dtype=torch.float64), values, units, generator
        ),
        chance={
            "recall_at_1": last.recall_at_random(1),
            "recall_at_10": last.recall_at_random(10),
            "mean_reciprocal_rank": last.mean_reciprocal_rank_at_random,
        },
        better_than_chance=_is_better(last.standard_errors(), pairs, folds, seed),
        raw=None if raw is None else _estimates(_values(raw), units, seed),
        over_raw=None if raw is None else _estimates(values[:, -1] - _values(raw), units, seed),
    )


def _measure(
    pairs: PairedEmbeddings,
    rounds: list[Round],
    readings: Readings,
    *,
    seed: int,
    progress: bool | None,
) -> None:
    """Fill ``readings`` with the ranks of every round after every sample."""
    todo = [
        (number, at)
        for number, each in enumerate(rounds)
        for at in range(len(each.samples))
        if _name(number, at) not in readings.ranks
    ]
    total = sum(len(each.samples) for each in rounds)

    def kept() -> str:
        if readings.path is None:
            return "Nothing of the curve is kept; with resume=FILE every finished fit is."
        return f"{len(readings.ranks)} of {total} fits are kept in {readings.path}: call it again."

    with (
        saying_what_is_kept(kept),
        without_chance_warnings(),
        progress_bar(
            progress, total=total, unit="fit", label="learning curve", initial=total - len(todo)
        ) as bar,
    ):
        for number, at in todo:
            each = rounds[number]
            adapter = fit(pairs.take(each.samples[at]), effort="fast", seed=seed, progress=False)
            readings.add(_name(number, at), _ranks(adapter, pairs.take(each.held_out)))
            bar.update()


def _is_better(above: float, pairs: PairedEmbeddings, folds: int, seed: int) -> bool:
    """Whether so many standard errors above a random order are beyond doubt, as ``fit`` decides."""
    if not NEVER < above < SURE:
        return above >= SURE
    return beats_shuffled(CrossValidation(pairs, folds_wanted=folds, seed=seed))


def _name(number: int, at: int) -> str:
    return f"{number}.{at}"


def _ranks(maps: Maps, pairs: PairedEmbeddings) -> Tensor:
    """Rank of each target among all targets, and of each source likewise, ``(m, 2)`` int64."""
    x, y = pairs.source, pairs.target
    there = maps.queries(x, side="source") @ maps.gallery(y, side="target").T
    back = maps.queries(y, side="target") @ maps.gallery(x, side="source").T
    return torch.stack([ranks_of_partners(there), ranks_of_partners(back)], dim=1)


def _values(ranks: Tensor) -> Tensor:
    """``METRICS`` of each pair, the mean of both directions, ``(q, 3)`` float64."""
    first = ranks.double()
    columns = (first <= 1).double(), (first <= 10).double(), first.reciprocal()
    return torch.stack([column.mean(dim=1) for column in columns], dim=1)


def _estimates(values: Tensor, units: Tensor, seed: int) -> dict[str, Estimate]:
    generator = torch.Generator().manual_seed(seed)
    low, high = bootstrap_interval(values, groups=units, generator=generator)
    rows = zip(values.mean(dim=0).tolist(), low.tolist(), high.tolist(), strict=True)
    return {name: Estimate(*row) for name, row in zip(METRICS, rows, strict=True)}
