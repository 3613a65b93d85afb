"""``align.compare``: several adapters on the same held-out pairs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from align._checks import check_no_zero_rows
from align.adapters.multi_vector.meta_tokens import MetaTokens
from align.data.embeddings import PairedEmbeddings, Vectors, as_tensor
from align.data.paired_arguments import pairs_and_adapter
from align.data.sides import Side, directions_of
from align.data.token_pairs import TokenPairs
from align.metrics.bootstrap import randomisation_test, weighted_mean
from align.metrics.chance import SMALL_GALLERY
from align.metrics.comparison.document import Comparison
from align.metrics.comparison.holm import with_adjusted_p
from align.metrics.comparison.values import ComparisonRow, Difference, Score, check_systems
from align.metrics.estimates import MEANS, mean_of_parts, mean_values, values_with_bounds
from align.metrics.evaluation import (
    Direction,
    Evaluation,
    Maps,
    NotHeldOut,
    evaluate,
    not_held_out,
    stack,
)
from align.metrics.multi_vector import evaluate_meta_tokens

Data = PairedEmbeddings | TokenPairs
Searched = Maps | MetaTokens | None
System = Evaluation | Searched | tuple[Any, ...]
"""An evaluation; what maps both sides; ``None``, the raw cosine; or data and one of these two."""

PARTS = ("mean", "source_to_target", "target_to_source")
_LABELS = dict(zip(MEANS, ("Recall@1", "Recall@5", "Recall@10", "MRR"), strict=True))


class RawCosine:
    """Both sides as their encoders left them, at unit norm: what to beat where widths agree."""

    def queries(self, x: Vectors, /, *, side: Side) -> Tensor:
        """Unit-norm rows of ``x``, ``(n, d)``."""
        rows = as_tensor(x).float()
        check_no_zero_rows(side, rows)
        return F.normalize(rows, dim=1)

    def gallery(self, x: Vectors, /, *, side: Side) -> Tensor:
        """As ``queries``."""
        return self.queries(x, side=side)


def compare(
    systems: Mapping[str, System],
    pairs: Data | None = None,
    *,
    baseline: str | None = None,
    seed: int = 0,
) -> Comparison:
    """How well several adapters find held-out pairs, each beside the first of them.

    Recall@1, @5 and @10 and the mean reciprocal rank, in both directions and as their mean. Every
    difference from the baseline is taken query by query and comes with a 95 % paired bootstrap
    interval over groups and the p-value of a paired randomisation test over groups. The verdict
    rests on the means of both directions; their p-values are adjusted together by Holm's method.

    ``align.compare({"closed form": first, "trained": second}, test)`` is the usual call, and
    ``comparison.row("recall_at_10").differences["trained"]`` one number of what it gives.

    Adapters over vectors of other encoders are given as ``(pairs, adapter)``, the arguments of
    ``evaluate``, with the same pairs by id; pairs in another order are put in that of the first.

    Args:
        systems: By name, at least two: an ``Adapter`` or anything with ``queries`` and
            ``gallery``; ``MetaTokens``; ``None`` for the raw cosine of sides of one width; a tuple
            ``(pairs, system)`` or ``(source, target, system)`` of one of these and its own pairs;
            or an ``Evaluation`` that was made before, such as one of ``evaluate_meta_tokens`` at a
            smaller budget.
        pairs: Held-out pairs for the systems that bring none of their own; ``TokenPairs`` where
            one of them is ``MetaTokens``.
        baseline: Name of the system that the others are compared with; the first if left out.
        seed: Seeds the bootstrap and the random swaps.

    Raises:
        TypeError: A system is none of these, or a name is no text.
        ValueError: There are fewer than two systems, the baseline is none of them, a system has no
            pairs, its pairs are not those of the baseline, or an adapter refuses its vectors.

    Warns:
        NotHeldOut: A system was fitted on some of the pairs.

    Reference:
        Smucker, Allan and Carterette 2007, doi:10.1145/1321440.1321528, for the test; Holm 1979,
        Scandinavian Journal of Statistics 6:65-70, for many of them.

    Examples:
        >>> import numpy as np, align
        >>> rng = np.random.default_rng(0)
        >>> captions = rng.standard_normal((300, 8))
        >>> photos = captions @ rng.standard_normal((8, 12)) + 2 * rng.standard_normal((300, 12))
        >>> pairs = align.PairedEmbeddings.from_arrays(captions, photos)
        >>> train, test = pairs.split(test=0.3, seed=0)
        >>> few, many = (align.fit(train.take(range(n)), effort="fast") for n in (30, len(train)))
        >>> found = align.compare({"few pairs": few, "all pairs": many}, test)
        >>> found.verdict.split(":")[0]
        'all pairs finds more partners than few pairs'
    """
    names = list(systems)
    first = check_systems(names, baseline)
    evaluations = _evaluated(systems, pairs, seed)
    for name in names:
        _check_same_pairs(first, evaluations[first], name, evaluations[name])
    cautions = [
        f"{name} has seen the answers: {not_held_out(each.trained_on, each.pairs)}."
        for name, each in evaluations.items()
        if each.trained_on
    ]
    for caution in cautions:
        warnings.warn(
            f"{caution} Compare systems on pairs that were kept apart from all of them.",
            NotHeldOut,
            stacklevel=2,
        )
    rows = [row for part in PARTS for row in _rows(part, evaluations, first, seed)]
    size = min(_directions(evaluations[first], "mean"), key=lambda each: each.gallery_size)
    return Comparison(
        title=f"Retrieval, compared with {first}",
        systems=tuple(names),
        baseline=first,
        rows=with_adjusted_p(rows),
        parts=dict(
            zip(
                PARTS,
                ("Both directions, mean", *directions_of(evaluations[first].side_names)),
                strict=True,
            )
        ),
        lead="recall_at_1" if size.gallery_size < SMALL_GALLERY else "recall_at_10",
        cautions=tuple(cautions),
        notes=_notes(evaluations[first], seed),
    )


def _evaluated(
    systems: Mapping[str, System], pairs: Data | None, seed: int
) -> dict[str, Evaluation]:
    ids: tuple[str, ...] | None = None
    found = {}
    for name, system in systems.items():
        if isinstance(system, Evaluation):
            found[name] = system
            continue
        data, maps = _own_pairs(system) if isinstance(system, tuple) else (pairs, system)
        if not isinstance(data, PairedEmbeddings | TokenPairs):
            raise ValueError(
                f"a system needs held-out pairs, a PairedEmbeddings or TokenPairs; {name!r} has "
                f"{type(data).__name__}. Pass pairs as the second argument, or (pairs, adapter) as "
                "the system."
            )
        pooled = data.pooled if isinstance(data, TokenPairs) else data
        if ids is None:
            ids = pooled.ids
        elif pooled.ids != ids and set(pooled.ids) == set(ids):
            places = {each: row for row, each in enumerate(pooled.ids)}
            data = data.take([places[each] for each in ids])
        with warnings.catch_warnings():
            # Said once for the comparison, with the name of the system.
            warnings.simplefilter("ignore", NotHeldOut)
            found[name] = _evaluate(name, maps, data, seed)
    return found


def _own_pairs(system: tuple[Any, ...]) -> tuple[Data, Searched]:
    """Pairs and what maps them, of ``(pairs, system)`` or ``(source, target, system)``."""
    if len(system) not in (2, 3):
        raise TypeError(
            "a system with pairs of its own must be (pairs, adapter) or (source, target, adapter); "
            f"got a tuple of {len(system)}. Pass one of these."
        )
    if isinstance(system[0], TokenPairs):
        return system[0], system[1]
    paired, maps = pairs_and_adapter(system[0], system[1], system[2] if len(system) > 2 else None)
    return paired, maps


def _evaluate(name: str, maps: Searched, data: Data, seed: int) -> Evaluation:
    if isinstance(maps, MetaTokens):
        if not isinstance(data, TokenPairs):
            raise ValueError(
                f"MetaTokens draw on token states, which TokenPairs hold; {name!r} got "
                "PairedEmbeddings. Pass TokenPairs, or an Evaluation of evaluate_meta_tokens."
            )
        return evaluate_meta_tokens(data, maps, seed=seed)
    pooled = data.pooled if isinstance(data, TokenPairs) else data
    if maps is None:
        widths = pooled.source.shape[1], pooled.target.shape[1]
        if widths[0] != widths[1]:
            raise ValueError(
                f"a raw cosine needs sides of one width; {name!r}, which is None, has {widths[0]} "
                f"and {widths[1]} dimensions. Leave it out: no comparison without an adapter "
                "exists there."
            )
        return evaluate(pooled, RawCosine(), seed=seed)
    if not (hasattr(maps, "queries") and hasattr(maps, "gallery")):
        raise TypeError(
            "a system must be an Adapter, MetaTokens, an Evaluation, None for the raw cosine, or "
            f"(pairs, adapter); {name!r} is {type(maps).__name__}. Pass one of these."
        )
    return evaluate(pooled, maps, seed=seed)


def _check_same_pairs(first: str, a: Evaluation, name: str, b: Evaluation) -> None:
    directions = zip(_directions(a, "mean"), _directions(b, "mean"), strict=True)
    for (ours, theirs), part in zip(directions, ("source", "target"), strict=True):
        if (ours.ids, ours.gallery_size) != (theirs.ids, theirs.gallery_size) or not torch.equal(
            ours.groups.cpu(), theirs.groups.cpu()
        ):
            raise ValueError(
                f"only systems on the same pairs can be compared; queries of the {part} side: "
                f"{first!r} has {len(ours.ids)}, {list(ours.ids[:3])}..., among "
                f"{ours.gallery_size} items, and {name!r} {len(theirs.ids)}, "
                f"{list(theirs.ids[:3])}..., among {theirs.gallery_size}. Evaluate both on pairs "
                "with the same ids and groups. Where an encoder gives two items of a group one "
                "vector and another does not, keep one of the two."
            )


def _directions(evaluation: Evaluation, part: str) -> list[Direction]:
    if part == "mean":
        return [evaluation.source_to_target, evaluation.target_to_source]
    return [cast("Direction", getattr(evaluation, part))]


def _rows(
    part: str, evaluations: Mapping[str, Evaluation], baseline: str, seed: int
) -> list[ComparisonRow]:
    theirs = _directions(evaluations[baseline], part)
    differences = {
        name: _differences(_directions(each, part), theirs, seed)
        for name, each in evaluations.items()
        if name != baseline
    }
    return [
        ComparisonRow(
            metric,
            label,
            part,
            better="higher",
            is_share=True,
            decides=part == "mean",
            scores={name: _score(each, part, metric) for name, each in evaluations.items()},
            undefined={},
            differences={name: each[metric] for name, each in differences.items()},
        )
        for metric, label in _LABELS.items()
    ]


def _score(evaluation: Evaluation, part: str, metric: str) -> Score:
    if part == "mean":
        estimate, chance = evaluation.mean[metric], evaluation.chance[metric]
    else:
        (direction,) = _directions(evaluation, part)
        estimate, chance = direction.metrics[metric], direction.chance[metric]
    return Score(estimate.value, estimate.low, estimate.high, chance)


def _differences(
    ours: Sequence[Direction], theirs: Sequence[Direction], seed: int
) -> dict[str, Difference]:
    """``ours`` minus ``theirs`` for each of ``MEANS``, directions weighing the same."""
    a, groups, sizes = stack(*ours)
    b, _, _ = stack(*theirs)
    delta = mean_values(a) - mean_values(b.to(a.device))
    bounds = values_with_bounds(delta, groups, mean_of_parts(sizes, weighted_mean), seed)
    # The test sums over all queries: weigh each so that every direction counts the same.
    share = torch.cat([delta.new_full((size, 1), 1 / size) for size in sizes])
    generator = torch.Generator(delta.device).manual_seed(seed)
    p = randomisation_test(
        delta * share, torch.zeros_like(delta), groups=groups, generator=generator
    )
    return {
        name: Difference(*bound, chance)
        for name, bound, chance in zip(MEANS, bounds, p.tolist(), strict=True)
    }


def _notes(evaluation: Evaluation, seed: int) -> tuple[str, ...]:
    forth, back = evaluation.source_to_target, evaluation.target_to_source
    there, again = directions_of(evaluation.side_names)
    groups = len(torch.unique(torch.cat([forth.groups, back.groups])))
    return (
        f"{evaluation.pairs:,} pairs in {groups:,} groups. {there}: {len(forth.ranks):,} queries "
        f"among {forth.gallery_size:,} items; {again}: {len(back.ranks):,} among "
        f"{back.gallery_size:,}. Ties count against a system.",
        "Intervals: paired bootstrap of whole groups, the same 1,000 draws for all systems. p: "
        "paired randomisation test over groups, 10,000 swaps; adjusted by Holm's method over the "
        "means of both directions, and apart from them over the single directions. "
        f"Seed {seed}.",
    )
