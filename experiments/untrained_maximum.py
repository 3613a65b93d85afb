"""Several vectors an item without any training: the best of its parts by a score that is there.

What a head of meta tokens must beat. A query stays one vector; an item is the parts that it has,
each scored by the raw cosine, by the cosine less the means, or by the adapter that was fitted on
the pooled vectors, mapped part by part; the best part counts. A correction of hubness is the same
as for any adapter: a bias an item, against the training queries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from align.adapters.adapter import Adapter
from align.adapters.corrections.hubness import NNN
from align.adapters.maps.linear import centred, mean_directions
from align.data.multi_vector import MultiVector
from align.data.token_pairs import TokenPairs
from align.metrics.evaluation import DistinctItems, Evaluation, evaluate_ranks
from align.metrics.ranks import rank_scores
from align.scoring.late_interaction import maxsim

RAW, CENTRED, MAPPED = "raw cosine", "centred cosine", "closed form"
BEST_PART = "best of its parts, untrained"
CORRECTION = NNN(32, 0.5)

SideMap = Callable[[Tensor], Tensor]


def untrained(
    train: TokenPairs, gallery: TokenPairs, adapter: Adapter
) -> dict[tuple[str, bool], Evaluation]:
    """Every score that is defined, with and without a correction.

    Args:
        train: Training pairs, for means and for the correction.
        gallery: Judges; its targets must have several vectors of the width of the pooled ones.
        adapter: Fitted on the pooled training pairs.

    Returns:
        Evaluations by the name of the score and whether it is corrected. A cosine of encoders is
        there only where both sides are of one width.
    """
    found = {}
    for name, maps in _maps(train, adapter).items():
        for corrected in (False, True):
            found[name, corrected] = _evaluate(train, gallery, maps, corrected=corrected)
    return found


def _maps(train: TokenPairs, adapter: Adapter) -> Mapping[str, tuple[SideMap, SideMap]]:
    source, target = train.pooled.source.float(), train.pooled.target.float()
    found: dict[str, tuple[SideMap, SideMap]] = {}
    if source.shape[1] == target.shape[1]:
        found[RAW] = _unit, _unit
        means = mean_directions(source), mean_directions(target)
        found[CENTRED] = (lambda x: centred(x, means[0])), (lambda y: centred(y, means[1]))
    found[MAPPED] = adapter.source, adapter.target
    return found


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x.float(), dim=1)


def _evaluate(
    train: TokenPairs,
    gallery: TokenPairs,
    maps: tuple[SideMap, SideMap],
    *,
    corrected: bool,
) -> Evaluation:
    """Pooled sources and parts of targets, both ways: the score of a pair is its best part's."""
    of_source, of_target = maps
    parts = gallery.target
    assert parts is not None
    mapped = MultiVector(of_target(parts.tokens.float()), parts.offsets)
    asking = of_source(gallery.pooled.source.float())

    def scores(sources: Tensor, targets: MultiVector) -> Tensor:
        return maxsim(MultiVector.from_equal(sources[:, None]), targets)

    def rank(queries: DistinctItems, items: DistinctItems) -> Tensor:
        rows = {queries.side: queries.rows, items.side: items.rows}
        table = scores(asking[rows["source"]], mapped.take(rows["target"]))
        if corrected:
            table = table - _bias(queries.side, rows, table)
        if queries.side == "target":
            table = table.T
        return rank_scores(table.contiguous(), queries.codes, items.codes).first

    def _bias(side: str, rows: Mapping[str, Tensor], table: Tensor) -> Tensor:
        """Of the side that is searched, against training items of the side that asks."""
        if side == "source":
            known = scores(of_source(train.pooled.source.float()), mapped.take(rows["target"]))
            return CORRECTION(known.T.contiguous())[None]
        assert train.target is not None
        trained = MultiVector(of_target(train.target.tokens.float()), train.target.offsets)
        return CORRECTION(scores(asking[rows["source"]], trained).clone())[:, None]

    with torch.inference_mode():
        return evaluate_ranks(gallery.pooled, rank)
