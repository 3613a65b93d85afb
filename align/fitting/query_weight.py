"""The weight of a modification in a composed query, chosen on triples whose answer is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from align._checks import as_list, check_length
from align._display.lines import count, one_line
from align.data.splits import deal, group_codes
from align.metrics.chance import RandomOrder
from align.metrics.estimates import Estimate, estimates
from align.retrieval.examples import EVEN, example_queries, modification_queries, one_vector_each
from align.retrieval.hits import Hit
from align.retrieval.retriever import Retriever
from align.scoring.inner_products import inner_products
from align.scoring.ties import MEANS, PRODUCTS, first_largest

WEIGHTS = tuple(sorted((tenth / 10 for tenth in range(11)), key=lambda each: abs(each - EVEN)))
"""Those that are tried, the even one first."""

MOST_FOLDS = 5
METRIC = "mean_reciprocal_rank"
_BLOCK = 4096  # items that are scored at a time


@dataclass(frozen=True, slots=True, eq=False)
class QueryWeight:
    """A weight for ``Retriever.search_like``, and the reciprocal rank of the right items.

    Attributes:
        weight: Chosen on all triples. It is even, 0.5, unless another gains more than a standard
            error of the paired difference.
        held_out: Mean reciprocal rank of each triple under the weight chosen without its fold.
        by_weight: The same of every weight on all triples. The highest of them was chosen, so it
            looks a little too good.
        chance: The same of a random order.
        held_out_ranks: Rank of each right item behind ``held_out``, ``(n,)`` int64, 1 is best.
        ranks: Those behind ``by_weight``.
    """

    weight: float
    held_out: Estimate
    by_weight: Mapping[float, Estimate]
    chance: float
    held_out_ranks: Tensor
    ranks: Mapping[float, Tensor]

    def __repr__(self) -> str:
        shown = f"{self.held_out.value:.3f} held out, {self.by_weight[EVEN].value:.3f} at {EVEN}"
        beside = f"MRR {shown}, {self.chance:.3f} by chance"
        return one_line(
            "QueryWeight", f"{self.weight:g}", count(len(self.held_out_ranks), "triple"), beside
        )


def fit_query_weight(
    retriever: Retriever,
    examples: Sequence[object],
    modification: Sequence[object],
    right: Sequence[str],
    *,
    groups: Sequence[str] | None = None,
    modality: str | Sequence[str] | None = None,
    seed: int = 0,
) -> QueryWeight:
    """Choose the weight of composed queries by cross-validation; nothing else is learned.

    All items of the index are candidates, so it should be like the one that will be searched, and
    its right items none that the adapter was fitted on. For pairs of composed query and answer by
    the thousand, ``align.fit`` on ``Composite`` sources learns a map for each part instead.

    Args:
        retriever: What will be searched, with one vector each item.
        examples: ``n`` items of the indexed side, or a ``Hit`` each for one of the index, which is
            then left out of the candidates.
        modification: ``n`` items of the other side, such as texts that say what is different.
        right: The id of the right item of each.
        groups: Triples of a group share a fold and are resampled together; those with one right
            item if left out.
        modality: Modality of the examples, as for ``Retriever.search_like``.
        seed: Of folds and intervals.

    Returns:
        The weight, and what it reaches on triples that did not choose it.

    Raises:
        KeyError: A right item, or that of a ``Hit``, is not in the index.
        TypeError: ``examples``, ``modification`` or ``right`` is one item.
        ValueError: Their numbers differ, there are fewer than two groups, a right item is its own
            example, items have several vectors, or as for ``Retriever.search_like``.

    Examples:
        >>> import numpy as np, align
        >>> rng = np.random.default_rng(0)
        >>> things, colours = rng.standard_normal((2, 60, 8)).astype("f4")
        >>> vectors = {(t, c): things[t] + 0.5 * colours[c] for t in range(60) for c in range(3)}
        >>> photo = align.CallableEncoder(lambda x: [vectors[i] for i in x], name="p", dim=8)
        >>> word = align.CallableEncoder(lambda x: colours[x], name="w", dim=8)
        >>> adapter = align.fit(photo.encode(list(vectors)), photo.encode(list(vectors)))
        >>> index = align.Index.create("idx", adapter)
        >>> retriever = align.Retriever(index, source=word, target=photo)
        >>> retriever.add([f"{t} in {c}" for t, c in vectors], list(vectors))
        >>> triples = [((t, 0), c, f"{t} in {c}") for t in range(60) for c in (1, 2)]
        >>> found = align.fit_query_weight(retriever, *zip(*triples, strict=True))
        >>> found.held_out.value > 10 * found.chance
        True
    """
    examples, right = as_list("examples", examples), as_list("right", right)
    words = as_list("modification", modification)
    check_length("right", right, len(examples))
    if groups is None:
        groups = right
    check_length("groups", groups, len(examples))
    if len(set(groups)) < 2:
        raise ValueError(
            "a weight is cross-validated over groups of triples, of which there must be two or "
            f"more; got {len(set(groups))} of {len(examples)} triples. Add some with other answers."
        )
    own = [str(each.id) if isinstance(each, Hit) else None for each in examples]
    same = [mine == answer for mine, answer in zip(own, right, strict=True)]
    if any(same):
        raise ValueError(
            "the right item must be another than the example, which never finds itself; triple "
            f"{same.index(True)} has {right[same.index(True)]!r} as both. Leave it out."
        )
    index, embedder = retriever.index, retriever.embedder
    shown = one_vector_each(example_queries(index, embedder, examples, modality))
    said = one_vector_each(modification_queries(index, embedder, words, len(examples)))
    ranks = _ranks(retriever, shown, said, right, own)
    codes = torch.from_numpy(group_codes(list(groups)))
    reciprocal = ranks.double().reciprocal()
    held_out = torch.empty_like(ranks[0])
    for outside, inside in deal(list(groups), min(MOST_FOLDS, len(set(groups))), seed=seed):
        held_out[inside] = ranks[best_weight(reciprocal[:, outside], codes[outside])][inside]
    by_weight = dict(sorted(zip(WEIGHTS, ranks, strict=True), key=lambda pair: pair[0]))
    left_out = any(each is not None for each in own)
    random = RandomOrder.of(torch.ones(len(examples), dtype=torch.int64), len(index) - left_out)
    return QueryWeight(
        WEIGHTS[best_weight(reciprocal, codes)],
        estimates(held_out, codes, [len(held_out)], seed)[METRIC],
        {w: estimates(each, codes, [len(each)], seed)[METRIC] for w, each in by_weight.items()},
        random.mean_reciprocal_rank,
        held_out,
        by_weight,
    )


def best_weight(reciprocal: Tensor, codes: Tensor) -> int:
    """Place in ``WEIGHTS`` of the best row of ``(weights, n)``, or of the even one; see above."""
    best = int(first_largest(reciprocal.mean(dim=1), within=MEANS))
    gains = reciprocal[best] - reciprocal[0]
    groups, own = torch.unique(codes, return_inverse=True)
    apart = torch.zeros(len(groups), dtype=torch.float64)
    apart.index_add_(0, own, gains - gains.mean())
    spread = apart.square().sum() * len(apart) / max(1, len(apart) - 1)
    error = spread.sqrt().item() / len(gains)  # triples of a group go together
    return best if gains.mean().item() > error + MEANS else 0


def _ranks(
    retriever: Retriever,
    examples: Tensor,
    words: Tensor,
    right: Sequence[str],
    own: Sequence[str | None],
) -> Tensor:
    """Rank of the right item of each query under each of ``WEIGHTS``, ``(weights, n)`` int64.

    Queries are not scaled here, which no ranking of one of them sees. A tie counts against us.
    """
    index, ids = retriever.index, list(retriever.index)
    answers = one_vector_each(index.get(right).vectors.to(dtype=torch.float32))
    lines = [_mixed(weight, *((each * answers).sum(dim=1) for each in (examples, words)))
             for weight in WEIGHTS]  # fmt: skip
    ahead = torch.zeros(len(WEIGHTS), len(right), dtype=torch.int64)
    for start in range(0, len(ids), _BLOCK):
        block = ids[start : start + _BLOCK]
        items = one_vector_each(index.get(block).vectors.to(dtype=torch.float32))
        place = {id: at for at, id in enumerate(block)}
        counted = torch.ones(len(right), len(block), dtype=torch.bool)
        for row, pair in enumerate(zip(right, own, strict=True)):
            for id in pair:
                if id in place:
                    counted[row, place[id]] = False
        products = inner_products(examples, items), inner_products(words, items)
        for at, weight in enumerate(WEIGHTS):
            scores = _mixed(weight, *products)
            ahead[at] += ((scores >= lines[at][:, None] - PRODUCTS) & counted).sum(dim=1)
    return ahead + 1


def _mixed(weight: float, example: Tensor, modification: Tensor) -> Tensor:
    """Scores of composed queries from those of their halves."""
    return (1 - weight) * example + weight * modification
