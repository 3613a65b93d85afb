"""Scores made comparable between modalities, so that none of them crowds out the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from align.retrieval.index.exact import Asked, score_blocks
from align.retrieval.storage.packed_strings import Array
from align.retrieval.storage.segments import Part
from align.scoring.topk import Neighbours, best_columns, merge_neighbours

_SPREAD = 1e-6
"""Standard deviations below this share of the mean size are rounding: the scores are all equal."""


@dataclass(eq=False)
class _Kind:
    """Scores of the items of one modality, as they go by.

    Sums are of differences from the first score, in float64: equal scores then have exactly no
    spread, and little is lost where the spread is small.
    """

    origin: Tensor
    count: int = 0
    total: Tensor | float = 0.0
    squares: Tensor | float = 0.0
    best: list[Neighbours] = field(default_factory=list)

    def see(self, scores: Tensor) -> None:
        apart = scores.double() - self.origin[:, None]
        self.count += scores.shape[1]
        self.total = self.total + apart.sum(dim=1)
        self.squares = self.squares + apart.square().sum(dim=1)

    def standardized(self) -> Neighbours:
        shift = self.total / self.count
        variance = torch.as_tensor(self.squares / self.count - shift * shift)
        mean = self.origin + shift
        spread = variance.clamp_min(0).sqrt()
        size = (self.squares / self.count + self.origin.square()).sqrt()
        (found,) = self.best
        apart = found.values.double() - mean[:, None]
        flat = (spread <= _SPREAD * size)[:, None]
        z = torch.where(flat, 0.0, apart / torch.where(flat, 1.0, spread[:, None]))
        return Neighbours(z.float(), found.indices)


def best_standardized(
    asked: Asked, parts: Sequence[Part], keeps: Sequence[Array | None], *, k: int
) -> Neighbours:
    """The best items by standardized score, and those scores; ``(q, k')`` with ``k' <= k``.

    The standardized score of an item for a query is its score minus the mean, over the standard
    deviation (of the population), of the scores of that query with all items of the item's modality
    that are not deleted; items without one are a kind of their own. It is 0 where all scores of a
    modality are equal. Both moments come from the scores themselves, every one of which is computed
    anyway: that is exact for items of several vectors too, and deletions leave nothing behind.

    Args:
        asked: ``q`` queries.
        parts: The index.
        keeps: Of each part the items that may be found, ``None`` for all; the moments are over all
            items that are not deleted whatever is here.
        k: Items per query.
    """
    kinds: dict[int, _Kind] = {}
    start = 0
    for part, keep in zip(parts, keeps, strict=True):
        codes = part.segment.records.modality
        for first, scores in score_blocks(asked, part.segment.vectors):
            columns = slice(first, first + scores.shape[1])
            alive = None if part.dead is None else ~part.dead[columns]
            for code in np.unique(codes[columns]).tolist():
                own = codes[columns] == code
                own = own if alive is None else own & alive
                if not own.any():
                    continue
                rows = torch.from_numpy(np.flatnonzero(own))
                mine = scores if len(rows) == scores.shape[1] else scores[:, rows]
                kind = kinds.setdefault(code, _Kind(mine[:, 0].double()))
                kind.see(mine)
                if keep is not None:
                    kept = torch.from_numpy(np.flatnonzero(keep[columns][rows.numpy()]))
                    mine, rows = mine[:, kept], rows[kept]
                if len(rows):
                    found = best_columns(mine, min(k, len(rows)))
                    there = Neighbours(found.values, rows[found.indices] + first + start)
                    kind.best = [merge_neighbours([*kind.best, there], k=k)]
        start += len(part.segment)
    return _merged([kind.standardized() for kind in kinds.values() if kind.best], k)


def _merged(found: Sequence[Neighbours], k: int) -> Neighbours:
    """The best of several answers over the same rows: of equal scores the lower row first."""
    values = torch.cat([each.values for each in found], dim=1)
    indices, order = torch.cat([each.indices for each in found], dim=1).sort(dim=1)
    return merge_neighbours([Neighbours(values.gather(1, order), indices)], k=k)
