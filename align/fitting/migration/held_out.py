"""Held-out items query an old index through each map: which of its answers come back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from align.data.splits import deal
from align.fitting.migration.candidate_maps import Build, old_space_moments
from align.metrics.bootstrap import weighted_mean
from align.metrics.estimates import Estimate, values_with_bounds
from align.scoring.topk import nearest

K = 10
QUERIES = 2000  # held-out queries over all folds: bounds the cost


@dataclass(frozen=True, slots=True, eq=False)
class AnswersKept:
    """What held-out queries retrieve, candidate by candidate.

    The columns of ``values`` are whether the old first answer is still first, the share of the old
    ten that are among the ten, and whether the ten hold an item of the group, 0 where no groups are
    known. ``chance`` are their means where each query is scored by the answers of another one of
    its fold: what nearness to everything finds by itself.
    """

    values: Tensor  # (c, q, 3) float64
    old_hits: Tensor  # whether the old query's own ten hold an item of the group, (q,)
    codes: Tensor  # group code of each query, (q,)
    chance: Tensor  # (c, 3) float64

    def excess(self, candidate: int) -> float:
        """By how many standard errors over groups more of the old ten are kept than by chance."""
        above = self.values[candidate, :, 1] - self.chance[candidate, 1]
        sums = above.new_zeros(int(self.codes.max()) + 1).index_add(0, self.codes, above)
        error = sums.square().sum().sqrt() / len(above)
        return (above.mean() / error).item() if error > 0 else 0.0

    def estimates(self, candidate: int, seed: int) -> tuple[Estimate, Estimate, Estimate]:
        """The two shares kept, and the recall over that of the old queries."""
        table = torch.cat([self.values[candidate], self.old_hits[:, None]], dim=1)
        bounds = values_with_bounds(table, self.codes, _shares, seed)
        at_1, at_10, recall = (Estimate(*bound) for bound in bounds)
        return at_1, at_10, recall


def _shares(table: Tensor, weights: Tensor) -> Tensor:
    """Means of the shares kept, and the ratio of the two recalls; 0 where the old one is 0."""
    means = weighted_mean(table, weights)
    ratio = torch.where(means[:, 3] > 0, means[:, 2] / means[:, 3], 0.0)
    return torch.cat([means[:, :2], ratio[:, None]], dim=1)


@dataclass(frozen=True, slots=True, eq=False)
class OldIndex:
    """Items by both encoders, unit norm, and whether their groups are right answers."""

    x: Tensor
    y: Tensor
    codes: Tensor
    labelled: bool

    def cross_validated(
        self,
        candidates: Sequence[Build],
        groups: Sequence[str],
        folds: int,
        seed: int,
        *,
        step: Callable[[], object] = lambda: None,
    ) -> AnswersKept:
        """Fit on each fold's other folds, and query with the items inside; then call ``step``."""
        values, old_hits, rows, at_random = [], [], [], []
        for train, held_out in self._splits(groups, folds, seed):
            moments = old_space_moments(self.x[train], self.y[train], torch.float32)
            wanted = self._answers(self.y[held_out], held_out)
            old_hits.append(self._hits(wanted, held_out))
            answers = [
                self._answers(make(moments)(self.x[held_out]), held_out) for make in candidates
            ]
            values.append(torch.stack([self._values(each, wanted, held_out) for each in answers]))
            chance = torch.stack([self._at_random(each, wanted, held_out) for each in answers])
            at_random.append(chance * len(held_out))
            rows.append(held_out)
            step()
        order = torch.cat(rows)
        chance = torch.stack(at_random).sum(dim=0) / len(order)
        return AnswersKept(torch.cat(values, dim=1), torch.cat(old_hits), self.codes[order], chance)

    def _splits(
        self, groups: Sequence[str], folds: int, seed: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows to fit on, and rows that query, about ``QUERIES`` over all folds."""
        queries = torch.arange(len(self.x))
        if self.labelled:  # items with another one in their group
            queries = (self.codes.bincount()[self.codes] > 1).nonzero().flatten()
            if len(queries) == 0:
                raise ValueError(
                    "items of one group answer each other, so some group needs two; got "
                    f"{len(self.x)} groups of one item. Leave groups out to go by the old "
                    "encoder's neighbours."
                )
        generator = torch.Generator().manual_seed(seed)
        for train, held_out in deal(groups, folds, seed=seed):
            inside = held_out[torch.isin(held_out, queries)]
            order = torch.randperm(len(inside), generator=generator)
            yield train, inside[order[: QUERIES // folds]]

    def _answers(self, queries: Tensor, own: Tensor) -> Tensor:
        """The ten nearest of each query, best first, its own item left out; ``(q, 10)``."""
        columns = nearest(queries, self.y, k=K + 1).indices
        # A stable sort of "is my own" moves that item to the end and keeps the order of the rest.
        order = (columns == own[:, None]).long().sort(dim=1, stable=True).indices
        return columns.gather(1, order)[:, :K]

    def _values(self, answers: Tensor, wanted: Tensor, own: Tensor) -> Tensor:
        """The three columns of ``AnswersKept.values`` for one candidate, ``(q, 3)``."""
        first = (answers[:, 0] == wanted[:, 0]).double()
        among = (answers[:, :, None] == wanted[:, None]).any(dim=1).double().mean(dim=1)
        return torch.stack([first, among, self._hits(answers, own)], dim=1)

    def _at_random(self, answers: Tensor, wanted: Tensor, own: Tensor) -> Tensor:
        """Means of the three columns where each is scored by what another one wants, ``(3,)``."""
        groups = self.codes[answers].sort(dim=1).values
        is_new = torch.ones_like(groups, dtype=torch.bool)
        is_new[:, 1:] = groups[:, 1:] != groups[:, :-1]
        n_groups = int(self.codes.max()) + 1
        times = groups[is_new].bincount(minlength=n_groups).double()
        of_queries = self.codes[own].bincount(minlength=n_groups).double()
        with_itself = self._hits(answers, own).sum()
        at_1, at_10 = self._shared(answers[:, :1], wanted[:, :1]), self._shared(answers, wanted) / K
        total = torch.stack([at_1, at_10, times @ of_queries - with_itself])
        return total / max(1, len(own) * (len(own) - 1))

    def _shared(self, answers: Tensor, wanted: Tensor) -> Tensor:
        """Items that one query retrieves and another wants, over all pairs of two; float64."""
        n = len(self.y)
        either = [each.flatten().bincount(minlength=n).double() for each in (answers, wanted)]
        with_itself = (answers[:, :, None] == wanted[:, None]).sum()
        return either[0] @ either[1] - with_itself

    def _hits(self, answers: Tensor, own: Tensor) -> Tensor:
        """1 where an answer is of the query's group, ``(q,)`` float64; 0 without groups."""
        return (self.codes[answers] == self.codes[own, None]).any(dim=1).double()
