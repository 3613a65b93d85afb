"""Scores made comparable between modalities, so that none of them crowds out the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from align.retrieval.index.exact import Queries, score_blocks
from align.retrieval.index.filters import Searchable
from align.scoring.topk import Neighbours, best_columns, merge_neighbours


@dataclass(eq=False)
class _Modality:
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
        square = torch.as_tensor(self.squares / self.count)
        spread = (square - shift * shift).clamp_min(0).sqrt()
        size = (square + self.origin.square()).sqrt()
        (best,) = self.best
        apart = best.values.double() - (self.origin + shift)[:, None]
        # A spread below this share of the mean size is rounding: the scores are all equal.
        flat = (spread <= 1e-6 * size)[:, None]
        z = torch.where(flat, 0.0, apart / torch.where(flat, 1.0, spread[:, None]))
        return Neighbours(z.float(), best.indices)


def best_standardized(queries: Queries, among: Sequence[Searchable], *, k: int) -> Neighbours:
    """The best items by standardized score, and those scores; ``(q, k')`` with ``k' <= k``.

    The standardized score of an item for a query is its score minus the mean, over the standard
    deviation (of the population), of the scores of that query with all items of the item's modality
    that are not deleted, whether or not they may be found; items without one are a kind of their
    own. It is 0 where all scores of a modality are equal. Both moments come from the scores
    themselves, every one of which is computed anyway: that is exact for items of several vectors
    too, and deletions leave nothing behind.
    """
    modalities: dict[int, _Modality] = {}
    for part in among:
        codes, alive = part.segment.records.modality, part.alive
        for first, scores in score_blocks(queries, part.segment.vectors):
            columns = slice(first, first + scores.shape[1])
            for code in np.unique(codes[columns]).tolist():
                own = codes[columns] == code
                own = own if alive is None else own & alive[columns]
                if not own.any():
                    continue
                rows = torch.from_numpy(np.flatnonzero(own))
                mine = scores if len(rows) == scores.shape[1] else scores[:, rows]
                modality = modalities.setdefault(code, _Modality(mine[:, 0].double()))
                modality.see(mine)
                if part.keep is not None:
                    kept = torch.from_numpy(np.flatnonzero(part.keep[columns][rows.numpy()]))
                    mine, rows = mine[:, kept], rows[kept]
                if len(rows):
                    best = best_columns(mine, min(k, len(rows)))
                    best = Neighbours(best.values, rows[best.indices] + first)
                    modality.best = [merge_neighbours([*modality.best, part.numbered(best)], k=k)]
    answers = [each.standardized() for each in modalities.values() if each.best]
    # Of equal scores the lower row comes first, whatever its modality.
    indices, order = torch.cat([each.indices for each in answers], dim=1).sort(dim=1)
    values = torch.cat([each.values for each in answers], dim=1).gather(1, order)
    return merge_neighbours([Neighbours(values, indices)], k=k)
