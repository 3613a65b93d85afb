"""``upgrade``: queries of a new encoder search an index that an old encoder filled."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from align._display.interruption import saying_what_is_kept
from align._display.lines import count, one_line, percent, quoted
from align._display.panel import Folded, Panel, Table, Tile, render
from align._display.progress import progress_bar
from align.adapters.adapter import Adapter
from align.adapters.card import Card, installed_versions
from align.adapters.maps.linear import IdentityMap, directions
from align.adapters.recipes.moments import check_pairs
from align.adapters.training_items import TrainingItems
from align.data.embeddings import PairedEmbeddings, Vectors
from align.data.repeats import warn_of_repeats
from align.data.splits import group_codes
from align.fitting.migration.candidate_maps import candidate_maps, old_space_moments
from align.fitting.migration.held_out import OldIndex
from align.metrics.chance import NoBetterThanChance
from align.metrics.estimates import Estimate
from align.scoring.ties import first_best

MIN_ITEMS = 50
CLEAR = 4.0  # standard errors above chance: folds and the best of many do well by accident too


@dataclass(frozen=True, slots=True)
class MapTried:
    """One map from new queries to the old space, and how it did on held-out queries."""

    name: str  # method and settings, in words
    kept_at_1: float  # share of queries whose nearest item is still the nearest, in [0, 1]
    kept_at_10: float  # mean share of the ten nearest that are still among the ten nearest
    # share of queries with an item of their group among the ten nearest; None without groups
    recall_at_10: float | None = None
    chosen: bool = False  # whether the adapter is made of it

    def __repr__(self) -> str:
        return one_line(
            "MapTried",
            quoted(self.name, 60),
            f"kept@1 {percent(self.kept_at_1)}",
            f"kept@10 {percent(self.kept_at_10)}",
            "" if self.recall_at_10 is None else f"recall@10 {percent(self.recall_at_10)}",
            "chosen" if self.chosen else "",
        )


@dataclass(frozen=True, slots=True, eq=False)
class Upgrade:
    """An adapter from new queries to an old index, and what of the old index it keeps.

    Intervals are 95 % bootstrap intervals over the groups of held-out queries.

    Attributes:
        adapter: Source is the new encoder; target the old one, whose vectors stay as they are.
        kept_at_1: Share of queries whose first answer is that of the old encoder's query.
        kept_at_10: Mean share of the old query's ten answers that are among the ten, in [0, 1].
        recall_kept: Recall@10 of new queries in the old index over that of old queries, or ``None``
            where no groups are known; above 1 the upgrade is better than what it replaces.
        tried: Every map that was compared, best first.
        chance: What is kept at 1 and at 10, and recall at 10, of the chosen map where each query is
            scored by the answers of another one, by those names.
        index_size: Items that held-out queries searched: what is kept depends on it.
        queries: Held-out queries behind the estimates.
    """

    adapter: Adapter
    kept_at_1: Estimate
    kept_at_10: Estimate
    recall_kept: Estimate | None
    tried: tuple[MapTried, ...]
    chance: Mapping[str, float]
    index_size: int
    queries: int

    def __repr__(self) -> str:
        return one_line(
            "Upgrade",
            f"keeps {percent(self.kept_at_10.value)} of the ten nearest "
            f"(chance {percent(self.chance['kept_at_10'])})",
            f"{percent(self.kept_at_1.value)} of the first",
            f"{count(self.queries, 'query', 'queries')} in {self.index_size:,}",
        )

    def _repr_html_(self) -> str:
        return render(upgrade_panel(self))

    def to_dict(self) -> dict[str, Any]:
        """Everything but the adapter's weights, ready for JSON."""
        return {
            "kept_at_1": asdict(self.kept_at_1),
            "kept_at_10": asdict(self.kept_at_10),
            "recall_kept": self.recall_kept and asdict(self.recall_kept),
            "chance": dict(self.chance),
            "index_size": self.index_size,
            "queries": self.queries,
            "tried": [asdict(entry) for entry in self.tried],
            "card": self.adapter.card.to_dict(),
        }


@torch.no_grad()
def upgrade(
    new: Vectors,
    old: Vectors,
    *,
    groups: Sequence[str] | None = None,
    folds: int = 5,
    seed: int = 0,
    progress: bool | None = None,
) -> Upgrade:
    """A map from a new encoder's queries into the space of an index that stays untouched.

    Both encoders see the same items: those of the index or a sample of them, and better of the
    kind that queries are. Orthogonal Procrustes, ridge regression and its low-rank form, each with
    an offset, and regularised CCA folded into one map are fitted on four of five folds. The items
    of the fifth are queries through the map, among the old vectors of all other items.

    With ``groups``, whose items are each other's right answers, the map with the best recall@10 is
    chosen; without, the one that keeps most of the ten nearest of the old vectors, so that a new
    encoder that knows better loses what it disagrees with. The estimates are of the queries that
    the choice was made on. The chosen map is refitted on all items.

    Args:
        new: Vectors of ``n`` items by the new encoder, ``(n, d_new)``.
        old: Vectors of the same items by the old encoder, ``(n, d_old)``; the index is searched by
            cosine, or holds unit vectors.
        groups: ``n`` names; no group is both fitted on and queried. Some group needs two items.
        folds: Parts that the groups are dealt into, >= 2.
        seed: Seeds folds and bootstrap.
        progress: Whether to draw a progress bar; by default in a terminal or notebook.

    Returns:
        The adapter, whose ``queries(new)`` search the old index, and what it keeps.

    Raises:
        ValueError: There are under 50 items, the sides are not row-matched finite matrices without
            zero rows, no group has two items, or ``folds`` is out of range.

    Warns:
        NoBetterThanChance: No more of the old answers is kept than other queries' answers are.
        RepeatedItems: Many items are there twice and no groups say so.

    Reference:
        The task and the Procrustes and low-rank affine maps are those of Drift-Adapter (Vejendla
        2025, EMNLP); penalties, offsets, the CCA and the choice by what is kept are ours.

    Examples:
        >>> import numpy as np, align
        >>> rng = np.random.default_rng(0)
        >>> old = rng.standard_normal((300, 12))
        >>> new = old @ rng.standard_normal((12, 16))  # a new model that knows the same
        >>> upgraded = align.upgrade(new, old)
        >>> upgraded.kept_at_10.value > 0.9
        True
    """
    pairs = PairedEmbeddings.from_arrays(new, old, groups=groups, side_names=("new", "old"))
    check_pairs(pairs.source, pairs.target)
    if len(pairs) < MIN_ITEMS:
        raise ValueError(
            f"upgrade needs at least {MIN_ITEMS} items to cross-validate, and better some "
            f"thousands; got {len(pairs)}. Encode more items with both encoders."
        )
    warn_of_repeats((pairs.source, pairs.target), pairs.groups, "upgrade", stacklevel=3)
    x, y = directions(pairs.source.float()), directions(pairs.target.float())
    labelled = groups is not None
    index = OldIndex(x, y, torch.from_numpy(group_codes(pairs.groups)), labelled)
    candidates = candidate_maps(x.shape[1], y.shape[1])
    with (
        saying_what_is_kept(lambda: "Nothing of the upgrade is kept; run it again to start anew."),
        progress_bar(progress, total=folds, unit="fold") as bar,
    ):
        kept = index.cross_validated(
            list(candidates.values()), pairs.groups, folds, seed, step=bar.update
        )
    means = kept.values.mean(dim=1)
    best = first_best(means[:, 2 if labelled else 1].tolist())
    name = list(candidates)[best]
    at_1, at_10, recall = kept.estimates(best, seed)
    words = f"{100 * at_10.value:.1f} % of the old encoder's ten nearest"
    if labelled:
        words = f"{100 * recall.value:.1f} % of the old encoder's recall@10 and {words}"
    names = ("kept_at_1", "kept_at_10", "recall_at_10")[: 3 if labelled else 2]
    chance = dict(zip(names, kept.chance[best].tolist(), strict=False))
    better = kept.excess(best) > CLEAR
    ratio = f"{at_10.value / max(chance['kept_at_10'], 1 / len(x)):.1f} times as many as by chance"
    if not better:
        ratio = "no better than chance: are the rows matched?"
        warnings.warn(
            f"this upgrade is {ratio} It keeps {words}, and {100 * chance['kept_at_10']:.1f} % "
            "where queries are scored by the answers of others. Look at whether row i of both "
            "sides is of one item.",
            NoBetterThanChance,
            stacklevel=3,
        )
    card = Card(
        method=f"upgrade: {name}",
        n_pairs=len(x),
        d_source=x.shape[1],
        d_target=y.shape[1],
        n_groups=len(set(pairs.groups)),
        source_fingerprint=pairs.source_fingerprint,
        target_fingerprint=pairs.target_fingerprint,
        encoders=pairs.encoders,
        side_names=pairs.side_names,
        seed=seed,
        folds=(folds, 1),
        fold_gallery=len(x) - 1,
        verdict=f"{ratio}; {name}, the best of {len(candidates)} maps, kept {words}",
        better_than_chance=better,
        versions=installed_versions(),
    )
    tried = [
        MapTried(label, first, ten, hits if labelled else None, label == name)
        for label, (first, ten, hits) in zip(candidates, means.tolist(), strict=True)
    ]
    tried.sort(key=lambda entry: (entry.recall_at_10 or 0, entry.kept_at_10), reverse=True)
    items = TrainingItems.of(pairs.source, pairs.target)
    refitted = candidates[name](old_space_moments(x, y, torch.float64))
    return Upgrade(
        Adapter(refitted, IdentityMap(y.shape[1]), card, training_items=items),
        at_1,
        at_10,
        recall if labelled else None,
        tuple(tried),
        chance,
        len(x) - 1,
        kept.values.shape[1],
    )


def upgrade_panel(upgraded: Upgrade) -> Panel:
    """What new queries keep of the old index, beside chance, and every map that was tried."""
    chance = {name: f"chance {percent(value)}" for name, value in upgraded.chance.items()}
    tiles = [
        Tile("ten nearest kept", percent(upgraded.kept_at_10.value), chance.get("kept_at_10", "")),
        Tile("first kept", percent(upgraded.kept_at_1.value), chance.get("kept_at_1", "")),
    ]
    if upgraded.recall_kept is not None:
        tiles.append(Tile("recall@10 kept", percent(upgraded.recall_kept.value), "of old queries"))
    tiles.append(Tile("held-out queries", f"{upgraded.queries:,}", f"in {upgraded.index_size:,}"))
    rows = [
        [
            each.name,
            percent(each.kept_at_1),
            percent(each.kept_at_10),
            "" if each.recall_at_10 is None else percent(each.recall_at_10),
            "yes" if each.chosen else "",
        ]
        for each in upgraded.tried
    ]
    columns = ["map", "first kept", "ten kept", "recall@10", "chosen"]
    failed = upgraded.adapter.card.better_than_chance is False
    verdict = upgraded.adapter.card.verdict
    return Panel(
        "Upgrade",
        sentence="" if failed else verdict,
        warning=verdict if failed else "",
        tiles=tiles,
        facts={"adapter": repr(upgraded.adapter)},
        folded=[
            Folded(
                f"{count(len(rows), 'map was', 'maps were')} tried",
                [Table(columns, rows, numeric=(1, 2, 3))],
            )
        ],
    )
