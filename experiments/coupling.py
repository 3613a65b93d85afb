"""Pairs for data that are paired only loosely: by bags, by a few known pairs, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from align._checks import check_matrix, check_no_zero_rows, check_positive
from align.adapters.recipes.formulas import rcca_maps
from align.adapters.recipes.moments import Paired, Spectrum, prepare
from align.data.splits import row_index
from align.scoring.ties import first_largest
from experiments.optimal_transport import gromov_wasserstein_plan, log_sinkhorn_plan

_RIDGE, _POWER = (1.0, 1.0), 1.0
"""Regularisation of the maps between which a coupling is found, as ``rcca`` has by default."""

_FOLDS = 5
"""A bag is judged by maps that were fitted to the bags of other folds. Maps that were fitted to
their own judgement confirm it, and stay at what the first round got wrong."""

_ROUNDS = 10

_SAME = 1e-3
"""Angles below this, in radians, are the rounding of float32 directions."""

_EQUAL = 1e-4
"""Part of what an item sends to its first choice by which another may lie below and count as equal:
items that repeat are sent equally much but for rounding."""
_TOLERANCE = 1e-2
"""Share of the mass that a plan may leave in a wrong column; it is only to rank partners."""


@dataclass(frozen=True, slots=True, eq=False)
class Coupling:
    """Pairs found where none, or only bags of them, were given.

    Attributes:
        source: Rows of the source, rising, int64 ``(k,)``.
        target: Their partners' rows in the target, int64 ``(k,)``; none occurs twice.
        confidence: Share in ``(0, 1]`` of the mass of both partners that goes to each other; 1 for
            known pairs. It says how sharp the coupling is, not how likely it is to be right.
    """

    source: Tensor
    target: Tensor
    confidence: Tensor

    def __len__(self) -> int:
        return len(self.source)

    def same_as(self, other: Coupling) -> bool:
        """Whether both have the same pairs, however confident they are."""
        return self.source.equal(other.source) and self.target.equal(other.target)


def couple(
    source: Tensor,
    target: Tensor,
    *,
    bags: tuple[Tensor, Tensor] | None = None,
    known: Tensor | None = None,
    epsilon: float = 0.05,
    seed: int = 0,
) -> Coupling:
    """Pairs that are most likely partners, from bags, from a few known pairs, or from nothing.

    In turn, maps into a common space are fitted to the plan in hand, and the items of each bag are
    transported to each other under maps that were fitted to known pairs and other bags, until the
    pairs stay the same or ten times. The first plan spreads evenly within each bag, so it sees what
    the means of bags have in common: there should be several times as many bags, or known pairs,
    as dimensions that matter. Known pairs without bags are used once. With neither, the first plan
    is that of Gromov-Wasserstein between angles, and later ones are judged by maps fitted to
    themselves: this can find its way only where both clouds have very nearly one shape.

    Every item is taken to have a partner in its bag, so those without one are paired all the same.
    Confidence depends on ``epsilon``, and unrelated clouds come out with some as well: check the
    result on pairs that you know and left out. Bags are solved one by one; a bag of ``n`` and
    ``m`` items takes memory ``O(n m)``.

    Args:
        source: Embeddings without zero rows, ``(n, d_source)``.
        target: Embeddings without zero rows, ``(m, d_target)``.
        bags: Codes of the bag of each source and of each target, int64 ``(n,)`` and ``(m,)``:
            partners share a bag, as a document's sentences and those of its translation do. Items
            whose bag has nothing on the other side stay alone. One bag of all if left out.
        known: Rows of pairs that are known, int64 ``(k, 2)``, source first.
        epsilon: Strength of the entropy, in units of cosine, > 0; less is sharper.
        seed: Seeds the random starts where there are neither bags nor known pairs.

    Returns:
        Items that prefer each other most, as rows to give to ``align.fit`` as pairs, perhaps only
        those above some confidence.

    Raises:
        ValueError: A side is not a finite matrix without zero rows, bags or known pairs do not
            fit, no bag has items of both sides, or ``epsilon`` is not positive and finite.
        IndexError: A known row is out of range.
        RuntimeError: A plan was not found within the steps that are allowed.

    Reference:
        Alternating transport and maps is Grave et al. 2019, arXiv:1805.11222, there with rotations
        and one bag; here the maps are regularised canonical correlations.
    """
    for name, x in (("source", source), ("target", target)):
        check_matrix(name, x)
        check_no_zero_rows(name, x)
    check_positive("epsilon", epsilon)
    blocks = _blocks(len(source), len(target), bags, _known(known, len(source), len(target)))
    (source_mean, x), (target_mean, y) = prepare(source.float()), prepare(target.float())
    sides = Spectrum.of_rows(x), Spectrum.of_rows(y)
    plans = [torch.full((len(i), len(j)), 1 / (len(i) * len(j))).to(x) for i, j in blocks]
    unsure = [at for at, plan in enumerate(plans) if plan.numel() > 1]
    folds = [unsure[fold::_FOLDS] for fold in range(min(_FOLDS, len(unsure)))]
    if len(blocks) == len(unsure) == 1:
        plans = [_by_shape(x[blocks[0][0]], y[blocks[0][1]], seed)]
        judged_by: list[Sequence[int]] = [unsure]
    else:
        judged_by = [sorted(set(range(len(blocks))) - set(fold)) for fold in folds]
    found = _best(plans, blocks)
    for _ in range(_ROUNDS):
        fresh = list(plans)
        for fold, others in zip(folds, judged_by, strict=True):
            moment = _moment(x, y, [(plans[at], blocks[at]) for at in others])
            cross = sides[0].vectors.T @ moment @ sides[1].vectors
            paired = Paired((source_mean, target_mean), (False, False), *sides, cross, len(others))
            to_source, to_target = rcca_maps(paired, _RIDGE, _POWER)
            u, v = to_source(source.float()), to_target(target.float())
            for at in fold:
                i, j = blocks[at]
                cost = 1 - u[i] @ v[j].T
                fresh[at] = log_sinkhorn_plan(cost, epsilon=epsilon, tolerance=_TOLERANCE).exp()
        plans = fresh
        before, found = found, _best(plans, blocks)
        if before.same_as(found):
            break
    return found


Block = tuple[Tensor, Tensor]
"""Rows of the source and of the target that may be partners of each other."""


def _blocks(
    n: int, m: int, bags: tuple[Tensor, Tensor] | None, known: list[tuple[int, int]]
) -> list[Block]:
    if bags is None:
        bags = torch.zeros(n, dtype=torch.int64), torch.zeros(m, dtype=torch.int64)
    free: list[dict[int, list[int]]] = []
    for name, codes, size, taken in (
        ("sources", bags[0], n, {i for i, _ in known}),
        ("targets", bags[1], m, {j for _, j in known}),
    ):
        if codes.shape != (size,) or codes.dtype != torch.int64:
            raise ValueError(
                f"bags of the {name} must be one code per row, int64 of shape ({size},); "
                f"got {codes.dtype} of shape {tuple(codes.shape)}. Number the bags, alike on both "
                "sides."
            )
        rows: dict[int, list[int]] = {}
        for row, code in enumerate(codes.tolist()):
            if row not in taken:
                rows.setdefault(code, []).append(row)
        free.append(rows)
    shared = [code for code in free[0] if code in free[1]]
    pairs = [([i], [j]) for i, j in known] + [(free[0][code], free[1][code]) for code in shared]
    if not pairs:
        raise ValueError(
            f"partners share a bag, so some bag must have items of both sides; got {len(free[0])} "
            f"bags of sources and {len(free[1])} of targets, none in common. "
            "Give a document and its translation one code."
        )
    return [(torch.tensor(i), torch.tensor(j)) for i, j in pairs]


def _known(known: Tensor | None, n: int, m: int) -> list[tuple[int, int]]:
    if known is None:
        return []
    if known.ndim != 2 or known.shape[1] != 2 or known.dtype != torch.int64:
        raise ValueError(
            "known must be rows of pairs, source first, int64 of shape (k, 2); "
            f"got {known.dtype} of shape {tuple(known.shape)}. Stack both columns of rows."
        )
    for name, column, size in (("source", known[:, 0], n), ("target", known[:, 1], m)):
        rows = row_index(column.cpu().numpy(), size).tolist()
        if len(set(rows)) < len(rows):
            raise ValueError(
                f"an item has one partner, so known pairs may name a {name} once; got "
                f"{len(rows)} pairs of {len(set(rows))} {name} rows. Keep one pair of each."
            )
    return [(i, j) for i, j in known.tolist()]


def _best(plans: list[Tensor], blocks: list[Block]) -> Coupling:
    """Pairs that are each other's first choice."""
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for plan, (i, j) in zip(plans, blocks, strict=True):
        choice, back = _first_choices(plan), _first_choices(plan.T)
        own = torch.arange(len(i))
        mutual = back[choice] == own
        most = torch.maximum(plan.sum(dim=1), plan.sum(dim=0)[choice])
        share = plan[own, choice] / most
        found.append((i[mutual], j[choice[mutual]], share[mutual]))
    source, target, confidence = map(torch.cat, zip(*found, strict=True))
    order = source.argsort()
    return Coupling(source[order], target[order], confidence[order])


def _first_choices(plan: Tensor) -> Tensor:
    """Where each row sends most, up to rounding; items that repeat are sent equally much."""
    return first_largest(plan, within=_EQUAL * plan.amax(dim=1, keepdim=True))


def _moment(x: Tensor, y: Tensor, seen: Sequence[tuple[Tensor, Block]]) -> Tensor:
    """Mean of ``x_i y_j^T`` over the pairs that plans see, ``(d_source, d_target)`` float64.

    A block counts by the pairs it can hold.
    """
    total = torch.zeros(x.shape[1], y.shape[1], dtype=torch.float64, device=x.device)
    pairs = 0
    for plan, (i, j) in seen:
        total += min(plan.shape) * (x[i].T @ plan @ y[j])
        pairs += min(plan.shape)
    return total / pairs


def _by_shape(x: Tensor, y: Tensor, seed: int) -> Tensor:
    plan = gromov_wasserstein_plan(_angles("source", x), _angles("target", y), seed=seed)
    return plan.to(x)


def _angles(name: str, x: Tensor) -> Tensor:
    """Angles between unit rows divided by their median, ``(n, n)`` float64."""
    # Rounding takes the cosine of equal rows beyond 1, where no angle exists.
    angles = (x.double() @ x.double().T).clamp_(-1, 1).arccos_().fill_diagonal_(0)
    angles = (angles + angles.T) / 2
    within = angles[torch.ones_like(angles, dtype=torch.bool).triu_(1)]
    if len(x) < 3 or within.median() < _SAME:
        raise ValueError(
            "without bags or known pairs, items are told apart by angles within a side: there must "
            f"be 3 items, and most angles above 0; {name} has {len(x)} items. "
            "Drop repeated items, or give bags or known pairs."
        )
    return angles / within.median()
