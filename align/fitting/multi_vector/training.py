"""Matryoshka training of meta tokens over first vectors that are frozen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from align.adapters.adapter import Adapter
from align.adapters.multi_vector.aspects import Aspects, Heads
from align.adapters.multi_vector.meta_tokens import MetaTokens
from align.data.splits import group_codes
from align.fitting.losses.matryoshka import Group, matryoshka_multi_vector
from align.fitting.multi_vector.initialization import Reduced
from align.fitting.training.adamw import AdamW, RateGroup

BATCH = 256
LEARNING_RATE = 1e-3
TEMPERATURE, TEMPERATURE_RATE = 0.05, 1e-2  # per query vector, where learning starts; its own rate
ROWS = 64  # queries scored at a time: bounds what is held


@dataclass(frozen=True, slots=True, eq=False)
class Firsts:
    """First vectors of the pairs at ``rows``, from an adapter that has not seen these pairs.

    Had it seen them, its scores would be too good to learn beside: the aspects would be taught
    that the first vector needs no help. ``queries`` and ``gallery`` are of the source and the
    target side, ``(n, d)`` each.
    """

    rows: Tensor
    queries: tuple[Tensor, Tensor]
    gallery: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, adapter: Adapter, data: Reduced, rows: Tensor) -> Firsts:
        """The adapter's vectors of the pairs at ``rows``."""
        x, y = data.pooled(0)[rows], data.pooled(1)[rows]
        # Out of inference mode, so that a loss can be taken of them.
        return cls(
            rows,
            (adapter.queries(x, side="source").clone(), adapter.queries(y, side="target").clone()),
            (adapter.gallery(x, side="source").clone(), adapter.gallery(y, side="target").clone()),
        )

    def scores(self, asking: int, at: Tensor, among: Tensor) -> Tensor:
        """The adapter's scores of queries ``at`` of side ``asking`` with the items ``among``."""
        return self.queries[asking][at] @ self.gallery[1 - asking][among].T


def similarities(mix: Tensor, first: Tensor, queries: Tensor, items: Tensor) -> Tensor:
    """Inner products of all vectors of queries and items, ``(q, 1 + r, m, 1 + s)``.

    The same as those of ``MetaTokens.join``, without building its vectors, from inner products of
    first vectors ``(q, m)`` and aspects of both, ``(q, r, d)`` and ``(m, s, d)``.
    """
    inner = torch.einsum("qrd,msd->qrms", queries, items) * mix
    left = torch.cat([mix.new_ones(1), (1 - mix).sqrt().expand(queries.shape[1])])
    right = torch.cat([mix.new_ones(1), (1 - mix).sqrt().expand(items.shape[1])])
    share = left[:, None, None] * right
    return first[:, None, :, None] * share + F.pad(inner, (1, 0, 0, 0, 1, 0))


def parts(head: MetaTokens) -> tuple[Aspects, Aspects]:
    """The aspects of the source and the target side of a head that has some."""
    assert head.source_aspects is not None and head.target_aspects is not None
    return head.source_aspects, head.target_aspects


def aspects_of(part: Aspects, data: Reduced, side: int, rows: Tensor) -> Tensor:
    """Aspects of the pairs at ``rows`` on one side, ``(n, r, d)``, from reduced token states."""
    if isinstance(part, Heads):
        return part(data.pooled(side)[rows])  # type: ignore[no-any-return]
    tokens = data.taken(side, rows)
    assert tokens is not None, "aspects of tokens are made from tokens"
    return part.resampler(tokens)  # type: ignore[no-any-return]


def best_aspects(queries: Tensor, items: Tensor) -> Tensor:
    """Best inner product of each query aspect with the aspects of each item, ``(r, q, m)``."""
    blocks = [
        torch.einsum("qrd,msd->rqms", block, items).amax(dim=3)
        for block in torch.split(queries, ROWS)
    ]
    return torch.cat(blocks, dim=1)


def late_scores(mix: Tensor, first: Tensor, best: Tensor) -> Tensor:
    """MaxSim of the joined vectors, ``(q, m)``, from the parts that do not depend on ``mix``.

    ``first`` are inner products of first vectors, ``(q, m)``, ``best`` those of ``best_aspects``.
    """
    beside = (1 - mix).sqrt() * first
    further = torch.maximum((1 - mix) * first + mix * best, beside)
    return torch.maximum(first, beside) + further.sum(dim=0)


def train(
    head: MetaTokens,
    data: Reduced,
    folds: Sequence[Firsts],
    groups: Sequence[Group],
    *,
    epochs: int,
    generator: torch.Generator,
    after_epoch: Callable[[int], None],
) -> None:
    """Train the aspects and the mix of ``head`` in place; its first vectors stay as they are.

    Both directions of search are trained at once, each over all groups. A batch holds pairs of one
    entry of ``folds``, since first vectors of different adapters share no space. ``after_epoch`` is
    called with the number of epochs done.
    """
    scale = torch.tensor([TEMPERATURE * group.queries for group in groups])
    temperatures = nn.Parameter(scale.log())
    learned = [parameter for part in parts(head) for parameter in part.parameters()]
    rates = (
        RateGroup(learned, LEARNING_RATE),
        RateGroup([head.mix_logit, temperatures], TEMPERATURE_RATE),
    )
    optimizer = AdamW(rates)
    codes = torch.from_numpy(group_codes(data.pairs.pooled.groups))
    for epoch in range(epochs):
        batches = [
            (firsts, at)
            for firsts in folds
            for at in torch.randperm(len(firsts.rows), generator=generator).tensor_split(
                -(-len(firsts.rows) // BATCH)
            )
        ]
        for number in torch.randperm(len(batches), generator=generator).tolist():
            firsts, at = batches[number]
            rows = firsts.rows[at]
            each = [aspects_of(part, data, side, rows) for side, part in enumerate(parts(head))]
            loss = temperatures.new_zeros(())
            for asking in (0, 1):
                queries = each[asking][:, : head.asking - 1]
                first = firsts.scores(asking, at, at)
                loss = loss + matryoshka_multi_vector(
                    similarities(head.mix, first, queries, each[1 - asking]),
                    groups,
                    temperature=temperatures.exp(),
                    codes=codes[rows],
                )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        after_epoch(epoch + 1)
