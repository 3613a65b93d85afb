"""How well an adapter retrieves held-out pairs, in both directions.

Recall depends on the size of the gallery, so every result carries it, and what chance would give.
Rows of one group with the same raw vector are one item: five captions of one photo make five
queries and one gallery photo.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol, overload

import torch
from torch import Tensor

from align._advice import Advised
from align._display.panel import render
from align.adapters.adapter import Adapter
from align.data.embeddings import Embeddings, PairedEmbeddings, Vectors
from align.data.paired_arguments import pairs_and_adapter
from align.data.repeats import warn_of_repeats
from align.data.sides import SIDE_NAMES, Side, SideNames
from align.data.splits import group_codes
from align.metrics.chance import RandomOrder
from align.metrics.estimates import CUT_OFFS, METRICS, Estimate, estimates
from align.metrics.panels import (
    direction_line,
    direction_panel,
    evaluation_line,
    evaluation_panel,
    evaluation_text,
)
from align.metrics.ranks import rank_positives
from align.metrics.subgroups import RankedQueries, Subgroup, checked_labels, subgroups


class NotHeldOut(UserWarning):
    """An adapter was evaluated on pairs that it was fitted on.

    Examples:
        >>> import warnings, numpy as np, align
        >>> x = np.random.default_rng(0).standard_normal((60, 4))
        >>> adapter = align.fit(x, x, effort="fast")
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     found = align.evaluate(x, x, adapter)
        >>> caught[0].category.__name__
        'NotHeldOut'
    """


class Maps(Protocol):
    """Both sides mapped so that an inner product of a query and a gallery row is the score."""

    def queries(self, x: Vectors, /, *, side: Side) -> Tensor:
        """Queries of one side, ``(n, d_side)`` to ``(n, d)``."""

    def gallery(self, x: Vectors, /, *, side: Side) -> Tensor:
        """Gallery rows of one side, ``(n, d_side)`` to ``(n, d)``."""


@dataclass(frozen=True, slots=True, eq=False)
class DistinctItems:
    """The distinct items of one side of held-out pairs, with their raw vectors."""

    side: Side
    rows: Tensor  # the row of the pairs that each was taken from, (n,) int64
    embeddings: Embeddings
    codes: Tensor  # group code of each, (n,) int64, shared by both sides
    of_pairs: Tensor  # the item of each pair, (pairs,) int64


Rank = Callable[[DistinctItems, DistinctItems], Tensor]
"""Queries and gallery in, the rank of the best match of each query out, ``(q,)`` int64."""


@dataclass(frozen=True, slots=True, eq=False)
class Direction:
    """Retrieval of one side by queries of the other.

    Attributes:
        metrics: Those of ``METRICS``, by name.
        ranks: Rank of the best match of each query, ``(q,)`` int64, 1 is best.
        groups: Group code of each query, ``(q,)`` int64, shared by both directions.
        ids: Pair id of each query; of the first pair where several share the query item.
        gallery_size: Items searched.
        chance: The same metrics where the gallery is in a random order, exactly.
    """

    metrics: dict[str, Estimate]
    ranks: Tensor
    groups: Tensor
    ids: tuple[str, ...]
    gallery_size: int
    chance: dict[str, float]

    def __repr__(self) -> str:
        return direction_line(self)

    def _repr_html_(self) -> str:
        return render(direction_panel(self))

    def to_dict(self) -> dict[str, Any]:
        """Sizes, metrics and their chance values, ready for JSON; without the per-query ranks."""
        sizes = {"queries": len(self.ranks), "gallery": self.gallery_size}
        return {**sizes, **_beside_chance(self.metrics, self.chance)}


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Both directions, and their mean with equal weight.

    Attributes:
        source_to_target: Target items retrieved by source queries.
        target_to_source: Source items retrieved by target queries.
        mean: The metrics of ``Direction``, averaged over both directions.
        pairs: Pairs evaluated.
        trained_on: How many of them the adapter was fitted on or holds an item of, as
            ``Adapter.trained_on`` counts; ``None`` where the adapter does not remember.
        side_names: What people call the sides: those of the pairs.
        subgroups: The pairs of each label of ``by``, the largest first; empty without.
    """

    source_to_target: Direction
    target_to_source: Direction
    mean: dict[str, Estimate]
    pairs: int
    trained_on: int | None = None
    side_names: SideNames = SIDE_NAMES
    subgroups: tuple[Subgroup, ...] = ()

    def __repr__(self) -> str:
        return evaluation_line(self)

    def __str__(self) -> str:
        return evaluation_text(self, warning=self._warning)

    def _repr_html_(self) -> str:
        return render(evaluation_panel(self, warning=self._warning))

    @property
    def _warning(self) -> str:
        return f"{not_held_out(self.trained_on, self.pairs)}." if self.trained_on else ""

    @property
    def chance(self) -> dict[str, float]:
        """The metrics of a random order, averaged over both directions."""
        forth, back = self.source_to_target.chance, self.target_to_source.chance
        return {name: (forth[name] + back[name]) / 2 for name in forth}

    def to_dict(self) -> dict[str, Any]:
        """Everything but the per-query ranks, ready for JSON."""
        return {
            "pairs": self.pairs,
            "trained_on": self.trained_on,
            "side_names": list(self.side_names),
            "source_to_target": self.source_to_target.to_dict(),
            "target_to_source": self.target_to_source.to_dict(),
            "mean": _beside_chance(self.mean, self.chance),
            "subgroups": [each.to_dict() for each in self.subgroups],
        }


@overload
def evaluate(
    pairs: PairedEmbeddings, adapter: Maps, /, *, by: Iterable[object] | None = None, seed: int = 0
) -> Evaluation: ...
@overload
def evaluate(
    source: Vectors,
    target: Vectors,
    adapter: Maps,
    /,
    *,
    by: Iterable[object] | None = None,
    seed: int = 0,
) -> Evaluation: ...
def evaluate(
    pairs: PairedEmbeddings | Vectors,
    target: Vectors | Maps,
    adapter: Maps | None = None,
    /,
    *,
    by: Iterable[object] | None = None,
    seed: int = 0,
) -> Evaluation:
    """Recall@1, @5 and @10, mean reciprocal rank and median rank, in both directions.

    A query counts as answered by any gallery item of its group. Ties count against the adapter.
    Each value stands beside that of a random order of the gallery.

    Call it as ``evaluate(pairs, adapter)``, or as ``evaluate(source, target, adapter)`` with two
    sides in any form that ``PairedEmbeddings.from_arrays`` takes: arrays, tensors, data frames,
    series or lists of vectors, ``Embeddings``.

    Args:
        pairs: Held-out pairs, or their sources; ``n`` sets the gallery size, so compare only equal
            ones.
        target: Their targets, ``(n, d_target)``, unless ``pairs`` holds both sides.
        adapter: Maps both sides; an ``Adapter``, or anything with ``queries`` and ``gallery``.
        by: What kind each pair is, ``n`` labels such as a category or a language, 2 to 100
            different ones: recall of each kind by itself is in ``subgroups``.
        seed: Seeds the bootstrap of the intervals.

    Raises:
        TypeError: There is one side alone, or no adapter.
        ValueError: The sides do not fit together, a mapped vector is not finite, the adapter
            refuses an encoder, or ``by`` is not a label for each pair.

    Warns:
        NotHeldOut: The adapter was fitted on some of the pairs.
        RepeatedItems: Many pairs repeat an item and no groups say which of them belong together.

    Examples:
        >>> import numpy as np, align
        >>> rng = np.random.default_rng(0)
        >>> captions = rng.standard_normal((300, 8))
        >>> photos = captions @ rng.standard_normal((8, 12)) + rng.standard_normal((300, 12))
        >>> pairs = align.PairedEmbeddings.from_arrays(captions, photos)
        >>> train, test = pairs.split(test=0.3, seed=0)
        >>> found = align.evaluate(test, align.fit(train, effort="fast"))
        >>> found.mean["recall_at_10"].value > 5 * found.chance["recall_at_10"]
        True
        >>> kinds = ["long" if row % 3 else "short" for row in range(len(test))]
        >>> [kind.label for kind in align.evaluate(test, align.fit(train), by=kinds).subgroups]
        ['long', 'short']
    """
    paired, maps = pairs_and_adapter(pairs, target, adapter)
    if not (hasattr(maps, "queries") and hasattr(maps, "gallery")):
        raise TypeError(
            "an adapter is what has queries and gallery, as align.Adapter; got "
            f"{type(maps).__name__}. Pass it last: evaluate(source, target, adapter)."
        )
    sides = paired.source, paired.target
    warn_of_repeats(sides, paired.groups, "evaluate", stacklevel=2)
    seen = seen_in_training(maps, paired, stacklevel=2)

    def rank(queries: DistinctItems, gallery: DistinctItems) -> Tensor:
        query_vectors = maps.queries(queries.embeddings, side=queries.side)
        gallery_vectors = maps.gallery(gallery.embeddings, side=gallery.side)
        codes = queries.codes.to(query_vectors.device), gallery.codes.to(gallery_vectors.device)
        return rank_positives(query_vectors, gallery_vectors, *codes).first

    return replace(evaluate_ranks(paired, rank, by=by, seed=seed), trained_on=seen)


def seen_in_training(adapter: object, paired: PairedEmbeddings, *, stacklevel: int) -> int | None:
    """How many of the pairs an adapter was fitted on, with a warning if any.

    It is ``None`` for what does not remember its training, as anything else that maps.
    ``stacklevel`` is that of ``warnings.warn``, from the caller of this.
    """
    if not isinstance(adapter, Adapter) or adapter.training_items is None:
        return None
    seen = int(adapter.trained_on(paired).sum())
    if seen:
        warnings.warn(
            Advised(
                f"{not_held_out(seen, len(paired))}. Evaluate pairs that were kept apart",
                python="before fitting, with train, test = pairs.split(test=0.2).",
                command="before align fit, in a table of their own.",
            ),
            NotHeldOut,
            stacklevel=stacklevel + 1,
        )
    return seen


def not_held_out(seen: int, n: int) -> str:
    """The sentence for ``seen`` of ``n`` pairs, at least one, that were trained on."""
    verb = "was" if seen == 1 else "were"
    return f"{seen:,} of the {n:,} pairs {verb} trained on; these values are not held out"


def evaluate_ranks(
    paired: PairedEmbeddings, rank: Rank, *, by: Iterable[object] | None = None, seed: int = 0
) -> Evaluation:
    """``evaluate`` for anything that can rank the distinct items of both sides."""
    labels = None if by is None else checked_labels(by, len(paired))
    source, target = _distinct(paired, "source"), _distinct(paired, "target")
    forth = _direction(rank(source, target), source, target, seed)
    back = _direction(rank(target, source), target, source, seed)
    ranks, groups, sizes = stack(forth, back)
    mean = estimates(ranks, groups, sizes, seed)
    found = Evaluation(forth, back, mean, len(paired), side_names=paired.side_names)
    if labels is None:
        return found
    queries = _queries(forth, source, target), _queries(back, target, source)
    return replace(found, subgroups=subgroups(labels, *queries, seed=seed))


def _queries(found: Direction, queries: DistinctItems, gallery: DistinctItems) -> RankedQueries:
    right = _right_items(queries, gallery)
    return RankedQueries(found.ranks, queries.codes, right, found.gallery_size, queries.of_pairs)


def _distinct(paired: PairedEmbeddings, side: Side) -> DistinctItems:
    """First row of each distinct raw vector within each group, in the order of the pairs."""
    vectors = getattr(paired, side)
    codes = group_codes(paired.groups)
    raw = vectors.detach().cpu().contiguous().view(torch.uint8).numpy()
    seen: dict[tuple[int, bytes], int] = {}  # the place of each item
    rows: list[int] = []
    of_pairs: list[int] = []
    for row, code in enumerate(codes.tolist()):
        place = seen.setdefault((code, raw[row].tobytes()), len(rows))
        if place == len(rows):
            rows.append(row)
        of_pairs.append(place)
    ids = tuple(paired.ids[row] for row in rows)
    embeddings = Embeddings(vectors[rows], getattr(paired, f"{side}_fingerprint"), ids)
    where = torch.tensor(rows), embeddings, torch.from_numpy(codes[rows]), torch.tensor(of_pairs)
    return DistinctItems(side, *where)


def _direction(
    ranks: Tensor, queries: DistinctItems, gallery: DistinctItems, seed: int
) -> Direction:
    groups = queries.codes.to(ranks.device)
    metrics = estimates(ranks, groups, [len(ranks)], seed)
    order = RandomOrder.of(_right_items(queries, gallery), len(gallery.rows))
    recalls = (order.recall_at_k(k) for k in CUT_OFFS)
    values = (*recalls, order.mean_reciprocal_rank, order.median_rank)
    chance = dict(zip(METRICS, values, strict=True))
    return Direction(metrics, ranks, groups, queries.embeddings.ids, len(gallery.rows), chance)


def _right_items(queries: DistinctItems, gallery: DistinctItems) -> Tensor:
    """How many items of the gallery each query is right with, ``(q,)`` int64."""
    counts = torch.bincount(gallery.codes, minlength=int(queries.codes.max()) + 1)
    return counts[queries.codes]


def _beside_chance(
    metrics: dict[str, Estimate], chance: dict[str, float]
) -> dict[str, dict[str, float]]:
    return {name: {**value.to_dict(), "chance": chance[name]} for name, value in metrics.items()}


def stack(*directions: Direction) -> tuple[Tensor, Tensor, list[int]]:
    """Ranks and groups end to end, and the number of queries in each direction."""
    ranks = torch.cat([direction.ranks for direction in directions])
    groups = torch.cat([direction.groups for direction in directions])
    return ranks, groups, [len(direction.ranks) for direction in directions]
