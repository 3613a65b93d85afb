"""Fewer vectors per item: similar tokens of one item are replaced by their mean direction."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from align._checks import check_at_least, check_one_of
from align.data.multi_vector import MultiVector
from align.scoring.ties import COSINES, first_largest, first_smallest

# Step of the squared distances that Ward's method sees, so that equal ones are equal: rounding of
# float32 moves them by a thousandth of it. Fractions with a small denominator lie off its borders.
_GRID = 2.0**-13


@torch.no_grad()
def pool_tokens(
    documents: MultiVector,
    *,
    factor: int,
    method: Literal["ward", "kmeans"] = "ward",
    seed: int = 0,
) -> MultiVector:
    """Keep ``ceil(t / factor)`` vectors of each item of ``t`` tokens: the directions of clusters.

    Tokens of an item are clustered, and each cluster becomes the mean of its tokens at unit norm:
    the direction with the largest sum of cosines to them. Clusters stand in the order of their
    first tokens. Where the tokens of a cluster cancel, all directions serve equally and the first
    token stays. No match of a unit-norm query token changes by more than the largest distance from
    a token to the direction of its cluster; it may rise as well as fall.

    ``"ward"`` merges the two clusters that add least to the squared distances from tokens to
    means, until enough are gone; squared distances are rounded to 1.2e-4, so that rounding does not
    decide between equals. ``"kmeans"`` is spherical k-means from tokens far from each other
    (Gonzalez 1985, Theoretical Computer Science 38:293-306), where of tokens and centres equally
    near, up to ``align.scoring.ties.COSINES``, the first is taken; it is faster on long items and a
    little worse.

    Args:
        documents: Unit-norm tokens. Int8 tokens are clustered as the scaled numbers.
        factor: Tokens per vector that stays, >= 1; 1 returns ``documents``. The source reports 2
            as nearly free, and a loss below 5 % at 3 to 4.
        method: How to cluster.
        seed: Of the token that k-means starts from.

    Returns:
        As many items in the same dtype, int8 with new scales, on the same device. Clusters are
        found, and means taken, in float32 (float64 for float64) on the CPU.

    Raises:
        ValueError: ``factor`` is below 1, ``method`` is another, or a token has no unit norm.

    Reference:
        Clavié, Chaffin and Adams 2024, arXiv:2409.14683. Published code keeps ``t // factor``
        means and gives Ward's method cosine distances, for which its sums of squares do not hold;
        here it gets Euclidean ones.

    Examples:
        >>> import torch, align
        >>> documents = align.MultiVector.pack([torch.eye(8), torch.eye(8)[:3]])
        >>> align.pool_tokens(documents, factor=2).offsets.tolist()
        [0, 4, 6]
    """
    check_at_least("factor", factor, 1)
    check_one_of("method", method, ("ward", "kmeans"), "Choose one of them.")
    stored = documents.tokens.dtype
    wide = torch.float64 if stored == torch.float64 else torch.float32
    scaled = documents.to(dtype=wide, device=torch.device("cpu"))
    _check_unit_norm(scaled)
    if factor == 1:
        return documents
    sizes = (scaled.lengths + factor - 1).div(factor, rounding_mode="floor")
    ends = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    generator = torch.Generator().manual_seed(seed)
    cluster = torch.empty(len(scaled.tokens), dtype=torch.int64)
    for item, tokens in enumerate(scaled):
        k = int(sizes[item])
        labels = _ward(tokens, k) if method == "ward" else _kmeans(tokens, k, generator)
        rows = slice(int(scaled.offsets[item]), int(scaled.offsets[item + 1]))
        cluster[rows] = _by_first_token(labels) + ends[item]
    pooled = MultiVector(_directions(scaled.tokens, cluster, int(ends[-1])), ends)
    pooled = pooled.quantized() if stored == torch.int8 else pooled.to(dtype=stored)
    return pooled.to(device=documents.tokens.device)


def _check_unit_norm(documents: MultiVector) -> None:
    norms = torch.linalg.vector_norm(documents.tokens, dim=1)
    # Rounding to bfloat16 or int8 moves a norm by less; NaN is wrong too.
    wrong = ~((norms - 1).abs() <= 0.05)
    if wrong.any():
        rows = wrong.nonzero().flatten()
        items = sorted(set((torch.searchsorted(documents.offsets, rows, right=True) - 1).tolist()))
        raise ValueError(
            f"tokens must have unit norm; {len(rows)} of {len(norms)} have not, the first with "
            f"norm {norms[rows[0]].item():.4g}, in items {items[:5]}. "
            "Divide tokens by their norms, and drop those of norm zero."
        )


def _ward(tokens: Tensor, k: int) -> Tensor:
    """Cluster of each token, ``(t,)``, after the first ``t - k`` merges of Ward's method."""
    from scipy.cluster.hierarchy import linkage

    t = len(tokens)
    clusters = {token: [token] for token in range(t)}
    if k < t:
        # scipy's own cut by number keeps fewer than k where distances tie.
        apart = (torch.pdist(tokens).double().square() / _GRID).round().mul(_GRID).sqrt()
        merges = linkage(apart.numpy(), method="ward")[: t - k, :2]
        for new, (one, other) in enumerate(merges.astype(int).tolist(), start=t):
            clusters[new] = clusters.pop(one) + clusters.pop(other)
    cluster = torch.empty(t, dtype=torch.int64)
    for label, members in enumerate(clusters.values()):
        cluster[members] = label
    return cluster


def _kmeans(tokens: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Cluster of each token, ``(t,)``, by spherical k-means; none of the ``k`` is empty."""
    centres = tokens[_far_apart(tokens, k, generator)]
    cluster = torch.full((len(tokens),), -1)
    for _ in range(50):  # 10 are usual
        cosines = tokens @ centres.T
        nearest = first_largest(cosines, within=COSINES)
        nearness = cosines.gather(1, nearest[:, None])[:, 0]
        nearest = _fill_empty(nearest, nearness, k)
        if torch.equal(nearest, cluster):
            break
        cluster = nearest
        centres = _directions(tokens, cluster, k)
    return cluster


def _far_apart(tokens: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """``k`` different tokens: a drawn one, then always the one farthest from those chosen."""
    cosines = tokens @ tokens.T
    token = int(torch.randint(len(tokens), (1,), generator=generator))
    chosen = [token]
    nearness = cosines[token]
    for _ in range(k - 1):
        nearness = nearness.index_fill(0, torch.tensor(token), torch.inf)
        token = int(first_smallest(nearness, within=COSINES))
        chosen.append(token)
        nearness = torch.maximum(nearness, cosines[token])
    return torch.tensor(chosen)


def _fill_empty(cluster: Tensor, nearness: Tensor, k: int) -> Tensor:
    """Give each empty cluster the token that fits its own worst and is not alone there."""
    sizes = torch.bincount(cluster, minlength=k)
    for empty in (sizes == 0).nonzero().flatten().tolist():
        among = nearness.masked_fill(sizes[cluster] < 2, torch.inf)
        token = int(first_smallest(among, within=COSINES))
        sizes[cluster[token]] -= 1
        sizes[empty] = 1
        cluster[token] = empty
    return cluster


def _by_first_token(cluster: Tensor) -> Tensor:
    """The same clusters, numbered in the order in which they first occur."""
    order: dict[int, int] = {}
    return torch.tensor([order.setdefault(label, len(order)) for label in cluster.tolist()])


def _directions(tokens: Tensor, cluster: Tensor, k: int) -> Tensor:
    """Unit-norm mean of each of ``k`` clusters, ``(k, d)``, or its first token if they cancel."""
    sums = tokens.new_zeros(k, tokens.shape[1]).index_add(0, cluster, tokens)
    means = sums / torch.bincount(cluster, minlength=k)[:, None]
    norms = torch.linalg.vector_norm(means, dim=1, keepdim=True)
    # Below this, the direction of a mean of unit vectors is rounding noise of float32.
    for lost in (norms[:, 0] < 1e-5).nonzero().flatten().tolist():
        means[lost] = tokens[int((cluster == lost).nonzero()[0])]
        norms[lost] = torch.linalg.vector_norm(means[lost])
    return means.div(norms)
