"""Document vectors moved towards the queries that they answer; queries and encoders stay."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from align._checks import check_matrix
from align.scoring.inner_products import check_scorable, inner_products
from align.scoring.ties import first_best

TURNS = tuple(number / 20 for number in range(29))  # chords, to just below a right angle
SHIFTS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.2, 1.6, 2.4, 3.2, 4.8, 6.4)


@dataclass(frozen=True, slots=True, eq=False)
class Nudged:
    """Documents that were moved, and what moving them did for the validation queries.

    Attributes:
        documents: ``(m, d)``, in the order in which they came.
        moved: Rows that have training queries and were moved, int64; none where ``step`` is 0.
        step: The distance moved, in units of a unit vector; 0 if no step helped.
        tried: Each step and the mean reciprocal rank of the validation queries after it.
    """

    documents: Tensor
    moved: Tensor
    step: float
    tried: tuple[tuple[float, float], ...]


@torch.no_grad()
def nudge(
    documents: Tensor,
    queries: Tensor,
    answers: Tensor,
    *,
    validation_queries: Tensor,
    validation_answers: Tensor,
    unit_norm: bool = True,
) -> Nudged:
    """Move each document towards the sum of its training queries, as far as validation likes.

    One step serves all documents. With ``unit_norm`` a document turns towards ``g``, the direction
    of the sum of its queries, along the sphere, until it is ``step`` away from where it was or has
    reached ``g``; without, ``d' = d + step g``. Both maximise the summed score of the training
    queries within that distance. Step 0 is among those tried and wins ties.

    Only documents with training queries move, and they then outrank the others: a query whose
    answer has none loses, and without ``unit_norm``, where what moves also grows longer, it may
    lose everything. So validation queries must be as future queries are, about documents with and
    without training queries in the same shares. Nothing is learned for documents added later.

    Args:
        documents: Gallery vectors, ``(m, d)``; unit norm if ``unit_norm``, as of an adapter.
        queries: Training queries in the same space, ``(q, d)``; a query with several answers comes
            once for each.
        answers: The document that answers each, ``(q,)`` int64 rows.
        validation_queries: Other queries, ``(v, d)``.
        validation_answers: Their documents, ``(v,)`` int64 rows.
        unit_norm: Keep documents at unit norm (NUDGE-N); otherwise move freely (NUDGE-M).

    Returns:
        New document vectors, for search by inner product, and the chosen step.

    Raises:
        ValueError: The matrices are not finite or not of one width and dtype, answers are no rows
            of ``documents``, or these are not of unit norm where ``unit_norm`` says so.

    Reference:
        Zeighami, Wellmer and Parameswaran 2024, arXiv:2409.02343. The step is chosen there exactly
        and for accuracy; here from a grid and by mean reciprocal rank.

    Examples:
        >>> import torch, align
        >>> rng = torch.Generator().manual_seed(0)
        >>> normalize = torch.nn.functional.normalize
        >>> documents = normalize(torch.randn(20, 8, generator=rng))
        >>> queries = normalize(documents + torch.eye(8)[0])  # to one side of their answers
        >>> answers = torch.arange(20)
        >>> moved = align.nudge(
        ...     documents, queries, answers, validation_queries=queries, validation_answers=answers
        ... )
        >>> moved.documents.shape
        torch.Size([20, 8])
    """
    check_matrix("documents", documents)
    for name, own, rows in (
        ("queries", queries, answers),
        ("validation_queries", validation_queries, validation_answers),
    ):
        check_matrix(name, own)
        check_scorable(own, documents)
        _check_answers(name, rows, len(own), len(documents))
    if unit_norm:
        _check_unit(documents)
    pull = torch.zeros_like(documents).index_add(0, answers, queries)
    moved = (pull != 0).any(dim=1).nonzero().flatten()
    start, goal = documents[moved], F.normalize(pull[moved], dim=1)
    cosine = (start * goal).sum(dim=1).clamp(-1, 1)
    steps = TURNS if unit_norm else SHIFTS
    shares = [_shares(cosine, step, unit_norm=unit_norm) for step in steps]
    sides = validation_queries, validation_answers
    blocks = zip(*(torch.split(side, 256) for side in sides), strict=True)
    ranks: list[Tensor] = []
    for block, rows in blocks:
        # The rank of the answer of each query after each step, ties against us.
        scores = inner_products(block, documents)
        at_start = scores[:, moved]
        at_goal = inner_products(block, goal) if len(moved) else at_start
        after = []
        for keep, turn in shares:
            scores[:, moved] = keep * at_start + turn * at_goal
            after.append((scores >= scores.gather(1, rows[:, None])).sum(dim=1))
        ranks.append(torch.stack(after))
    means = torch.cat(ranks, dim=1).double().reciprocal().mean(dim=1).tolist()
    tried = tuple(zip(steps, means, strict=True))
    step = steps[first_best(means)]
    if step == 0:
        return Nudged(documents, moved[:0], step, tried)
    keep, turn = shares[steps.index(step)]
    changed = documents.clone()
    changed[moved] = keep[:, None] * start + turn[:, None] * goal
    return Nudged(changed, moved, step, tried)


def _shares(cosine: Tensor, step: float, *, unit_norm: bool) -> tuple[Tensor, Tensor]:
    """``a`` and ``b``, ``(r,)`` each, so that ``a start + b goal`` is where a step ends."""
    if not unit_norm:
        return torch.ones_like(cosine), torch.full_like(cosine, step)
    # A chord of this length spans an angle with this cosine and sine.
    after, sine = 1 - step**2 / 2, step * math.sqrt(1 - step**2 / 4)
    across = (1 - cosine.square()).sqrt()
    stuck = across <= 1e-6  # no direction to turn to: it is there, or just opposite
    turn = sine / across.masked_fill(stuck, 1)
    keep = after - turn * cosine
    arrived = cosine >= after
    keep, turn = keep.masked_fill(arrived, 0), turn.masked_fill(arrived, 1)
    return keep.masked_fill(stuck, 1), turn.masked_fill(stuck, 0)


def _check_answers(name: str, rows: Tensor, q: int, m: int) -> None:
    fits = rows.shape == (q,) and rows.dtype == torch.int64
    if not fits or int(rows.min()) < 0 or int(rows.max()) >= m:
        spread = f", from {int(rows.min())} to {int(rows.max())}" if fits else ""
        raise ValueError(
            f"{name} need one answer each, ({q},) int64 rows in 0 .. {m - 1}; got {rows.dtype} of "
            f"shape {tuple(rows.shape)}{spread}. Pass the row of the document that answers."
        )


def _check_unit(documents: Tensor) -> None:
    lengths = torch.linalg.vector_norm(documents, dim=1)
    if (lengths - 1).abs().max() > 1e-3:
        raise ValueError(
            "documents must have unit norm to keep it; their lengths lie in "
            f"[{lengths.min():.4g}, {lengths.max():.4g}]. Normalise them, as adapter.target does, "
            "or pass unit_norm=False."
        )
