"""Matryoshka losses: a loss summed over nested prefixes, of dimensions or of vectors."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from align._checks import check_codes, check_positive
from align.fitting.losses.in_batch import check_batch


@dataclass(frozen=True, slots=True)
class Group:
    """One budget that a Matryoshka multi-vector head is trained at."""

    queries: int  # r_q, the first vectors of a query that count, >= 1
    documents: int  # r_c, the first vectors of a document that count, >= 1
    weight: float = 1.0  # of this group's loss, > 0


def check_groups(groups: Sequence[Group], *, queries: int, documents: int) -> None:
    """Raise ``ValueError`` unless ``groups`` are nested and end within the vectors there are."""
    sizes = [(group.queries, group.documents) for group in groups]
    nested = all(a != b and a[0] <= b[0] and a[1] <= b[1] for a, b in itertools.pairwise(sizes))
    if not (
        sizes and nested and min(sizes[0]) >= 1 and sizes[-1][0] <= queries
        and sizes[-1][1] <= documents
    ):  # fmt: skip
        raise ValueError(
            "groups must be nested budgets (r_q, r_c), each at least as large as the one before "
            f"and not the same, within (1, 1) and ({queries}, {documents}); got {sizes}. "
            "Order them from coarse to fine, as (1, 1), (2, 4), (4, 16)."
        )
    for group in groups:
        check_positive("the weight of a group", group.weight)


def matryoshka_multi_vector(
    similarities: Tensor,
    groups: Sequence[Group],
    *,
    temperature: float | Tensor,
    codes: Tensor | None = None,
    hard_negatives: Tensor | None = None,
) -> Tensor:
    """InfoNCE of late-interaction scores, summed over nested budgets; in nats.

    Group ``g`` scores with the first ``r_q`` vectors of a query and the first ``r_c`` of a
    document, ``s_g(u, v) = sum_{i <= r_q} max_{j <= r_c} <q_ui, c_vj>``, and adds
    ``w_g`` times the mean over ``u`` of ``-log softmax_v(s_g(u, v) / temperature)`` at ``v = u``.

    Args:
        similarities: Inner products of all query vectors with all document vectors of a batch,
            ``(n, r_q, n, r_c)``, float32 or wider; document ``u`` answers query ``u``.
        groups: Nested budgets, coarse to fine, within ``(r_q, r_c)``.
        temperature: Divides scores, > 0: one number, 0.03 in the paper, or one per group, ``(g,)``.
            Scores are sums, so with one number they sharpen as ``r_q`` grows.
        codes: Group codes ``(n,)``: documents of the query's own group are no negatives of it. By
            default every document is its own group.
        hard_negatives: Inner products of each query's vectors with those of its own wrong
            documents, ``(n, r_q, h, r_c)``, or ``None``.

    Raises:
        ValueError: There are no pairs, shapes do not fit, the groups are not nested, or a
            temperature is not positive and finite.

    Reference:
        Xiao et al. 2025, arXiv:2509.18095 (MetaEmbed), Matryoshka multi-vector retrieval; there
        ``h = 1``.
    """
    n, r_q, m, r_c = similarities.shape if similarities.ndim == 4 else (0, 0, -1, 0)
    if n != m or n == 0:
        raise ValueError(
            "similarities must be (n, r_q, n, r_c), all queries of a batch with all its documents; "
            f"got {tuple(similarities.shape)}. Take them from one batch of pairs."
        )
    hard = hard_negatives
    if hard is not None and (hard.ndim != 4 or hard.shape[:2] != (n, r_q) or hard.shape[3] != r_c):
        raise ValueError(
            f"hard_negatives must be ({n}, {r_q}, h, {r_c}), each query with its own wrong "
            f"documents; got {tuple(hard.shape)}. Give all documents equally many vectors."
        )
    if codes is not None:
        check_codes("codes", codes, n)
    check_groups(groups, queries=r_q, documents=r_c)
    divisors = torch.as_tensor(temperature, dtype=similarities.dtype, device=similarities.device)
    if divisors.shape not in ((), (len(groups),)):
        raise ValueError(
            f"temperature must be one number or one per group, ({len(groups)},); "
            f"got {tuple(divisors.shape)}. Give each group its own, in their order."
        )
    for value in divisors.detach().flatten().tolist():
        check_positive("temperature", value)
    own = torch.arange(n, device=similarities.device)
    mask = None if codes is None else (codes[:, None] == codes).fill_diagonal_(False)
    total = similarities.new_zeros(())
    for group, divisor in zip(groups, divisors.expand(len(groups)), strict=True):
        logits = _prefix_score(similarities, group) / divisor
        if mask is not None:
            # After the division: infinity divided would make the temperature's gradient NaN.
            logits = logits.masked_fill(mask, -torch.inf)
        if hard is not None:
            logits = torch.cat([logits, _prefix_score(hard, group) / divisor], dim=1)
        total = total + group.weight * F.cross_entropy(logits, own)
    return total


def _prefix_score(similarities: Tensor, group: Group) -> Tensor:
    """Late-interaction scores at one budget, ``(n, m)`` from ``(n, r_q, m, r_c)``."""
    return similarities[:, : group.queries, :, : group.documents].amax(dim=3).sum(dim=1)


def matryoshka(
    loss: Callable[[Tensor, Tensor], Tensor],
    source: Tensor,
    target: Tensor,
    dims: Sequence[int],
    weights: Sequence[float] | None = None,
) -> Tensor:
    """A loss of pairs, summed over nested prefixes of their dimensions.

    ``sum_k weights_k loss(source[:, :dims_k], target[:, :dims_k])`` for sides of ``(n, d)`` with
    each prefix scaled to unit norm again, so that embeddings can be cut at any of ``dims``, which
    rise within ``[1, d]``. Weights are above 0, and all 1 if left out.

    Raises:
        ValueError: The sides are not row-matched in one space, or ``dims`` or ``weights`` do not
            fit.

    Reference:
        Kusupati et al. 2022, arXiv:2205.13147.
    """
    check_batch(source, target)
    rising = all(a < b for a, b in itertools.pairwise(dims))
    if not (dims and rising and dims[0] >= 1 and dims[-1] <= source.shape[1]):
        raise ValueError(
            f"dims must rise within 1 and {source.shape[1]}, the width of both sides; "
            f"got {list(dims)}. Order them from short to long, as 32, 64, 128."
        )
    shares = [1.0] * len(dims) if weights is None else weights
    if len(shares) != len(dims):
        raise ValueError(
            f"weights must be one per prefix, {len(dims)}; got {len(shares)}. "
            "Give them in the order of dims, or leave them out."
        )
    total = source.new_zeros(())
    for dim, share in zip(dims, shares, strict=True):
        check_positive("the weight of a prefix", share)
        prefixes = (F.normalize(side[:, :dim], dim=1) for side in (source, target))
        total = total + share * loss(*prefixes)
    return total
