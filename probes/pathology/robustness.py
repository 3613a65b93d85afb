"""Whether the best answer to a query stays when the vectors are disturbed or compressed."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from align._checks import check_at_least, check_k, check_no_zero_rows, check_paired, check_positive
from align.scoring.ties import PRODUCTS, first_largest
from probes.estimates import Measured, Null, mean_of
from probes.inputs import Matrix, announce, queries_and_gallery
from probes.neighbours import closest
from probes.space import Probe, SearchSides, Space

SAMPLE = 2000
"""Pairs measured on: the cost grows with the square, and a share is then known to 0.02."""

SIGMA = 0.1  # length of the noise of the standard report, relative to the vector

WIDTH, CODES = 4, 16
"""Coordinates per code and centroids per codebook of the standard report: 1 bit per coordinate."""

_ENTRIES = 1 << 21  # scores of vectors against centroids held at a time; about what a cache holds


def top_1_agreement(
    queries: Matrix, gallery: Matrix, changed_queries: Matrix, changed_gallery: Matrix
) -> float:
    """Share of queries whose best gallery row stays after a change, in [0, 1]; higher is better.

    1 means that nobody would notice; an unrelated order agrees for ``1 / m``. Of rows that score
    equally the one with the lower index is the best; rows that are equal are still two rows, so
    pass each item once. Costs two searches, O(q m d), in blocks.

    Args:
        queries: Embeddings of the side that searches, ``(q, d)``. The score is the inner product.
        gallery: Embeddings of the side that is searched, ``(m, d)``.
        changed_queries: The same queries after the change, ``(q, d')``.
        changed_gallery: The same gallery after the change, ``(m, d')``.

    Raises:
        ValueError: The matrices are not finite, or do not fit together.
    """
    before, after = _search(queries, gallery), _search(changed_queries, changed_gallery)
    check_paired(before.queries, after.queries)
    check_paired(before.gallery, after.gallery)
    return _agreement(before, after)


def noise_agreement(
    queries: Matrix, gallery: Matrix, *, sigma: float = SIGMA, seed: int = 0
) -> float:
    """Share of queries whose best gallery row stays when noise is added to all vectors.

    Each vector gets Gaussian noise of ``sigma`` times its own norm in expectation, ``sigma ||x|| /
    sqrt(d)`` per coordinate. Higher is better; an unrelated order agrees for ``1 / m``. Invariant
    to scale, and to rotation up to the draw. Costs two searches, O(q m d), in blocks.

    Norms: as they are; the score is the inner product, as in an index.

    Args:
        queries: Embeddings of the side that asks, ``(q, d)``. The score is the inner product.
        gallery: Embeddings of the side that is searched, ``(m, d)``.
        sigma: Length of the noise relative to the vector, > 0. 0.1 turns a vector by 6 degrees.
        seed: Seeds the noise.

    Returns:
        A share in [0, 1].

    Raises:
        ValueError: The matrices are not finite or do not fit together, or ``sigma`` is not
            positive.

    Meaning:
        How many first answers stay when noise is added to the vectors.

    Beware:
        It says that answers are stable, and not that they are right.

    Range:
        In [0, 1]; 1 / m with nothing there; higher is better.

    Reference:
        The test is ours.

    Examples:
        >>> import torch, probes
        >>> x = torch.eye(8)
        >>> probes.noise_agreement(x, x, sigma=0.01)
        1.0
    """
    search = _search(queries, gallery)
    return _agreement(search, _with_noise(search, sigma, seed))


def int8_agreement(queries: Matrix, gallery: Matrix) -> float:
    """Share of queries whose best gallery row stays when the gallery is stored in 8 bits.

    Each row is divided by its largest magnitude over 127 and rounded; queries stay as they are.
    Higher is better; an unrelated order agrees for ``1 / m``. Costs two searches, O(q m d), in
    blocks.

    Norms: as they are; the score is the inner product, as in an index.

    Args:
        queries: Embeddings of the side that asks, ``(q, d)``. The score is the inner product.
        gallery: Embeddings of the side that is searched, ``(m, d)``, no row all zeros.

    Returns:
        A share in [0, 1].

    Raises:
        ValueError: The matrices are not finite or do not fit together, or a gallery row is all
            zeros and so has no scale.

    Meaning:
        How many first answers stay when the vectors are kept in 8 bits.

    Beware:
        It says that answers are stable, and not that they are right.

    Range:
        In [0, 1]; 1 / m with nothing there; higher is better.

    Reference:
        The test is ours.

    Examples:
        >>> import torch, probes
        >>> x = torch.eye(8)
        >>> probes.int8_agreement(x, x)
        1.0
    """
    search = _search(queries, gallery)
    check_no_zero_rows("gallery", search.gallery)
    return _agreement(search, _in_int8(search))


def pq_agreement(
    queries: Matrix, gallery: Matrix, *, width: int = WIDTH, codes: int = CODES, seed: int = 0
) -> float:
    """Share of queries whose best gallery row stays when the gallery is product-quantised.

    As ``top_1_agreement``. The columns are cut into runs of ``width``, and in each run a row is
    replaced by the nearest of ``codes`` centroids, fitted to the gallery by k-means; queries stay
    as they are. The default keeps 1 bit per coordinate. Not invariant to rotation: that is what
    rotations learned before quantising are for. Costs O(q m d + m d codes).

    Norms: as they are; the score is the inner product, as in an index.

    Args:
        queries: Embeddings of the side that searches, ``(q, d)``. The score is the inner product.
        gallery: Embeddings of the side that is searched, ``(m, d)``.
        width: Coordinates per code, at least 1; the last run is shorter if it does not divide
            ``d``.
        codes: Centroids per run, ``1 <= codes <= m``.
        seed: Seeds the rows that k-means starts from.

    Raises:
        ValueError: The matrices are not finite or do not fit together, or ``width`` or ``codes``
            is out of range.

    Warns:
        UnreliableEstimate: With fewer than 39 rows per centroid, which then remember the gallery,
            the share looks better than in a large gallery.

    Meaning:
        How many first answers stay when the gallery is product-quantised to one bit a dimension.

    Beware:
        A rotation before quantising, as real indexes use, changes it much.

    Range:
        In [0, 1]; 1 / m with nothing there; higher is better.

    Reference:
        Jégou, Douze and Schmid 2011, doi:10.1109/TPAMI.2010.57, asymmetric distances (section
        III.A), with inner products and with codebooks fitted to the very rows they encode.

    Examples:
        >>> import torch, probes
        >>> from torch.nn.functional import normalize
        >>> rng = torch.Generator().manual_seed(0)
        >>> x = normalize(torch.randn(700, 8, generator=rng), dim=1)
        >>> 0.0 < probes.pq_agreement(x, x) < 1.0  # some rows can no longer be told apart
        True
    """
    search = _search(queries, gallery)
    check_at_least("width", width, 1)
    check_k(codes, len(search.gallery), name="codes")
    announce(_few_rows(len(search.gallery), codes))
    return _agreement(search, _in_codes(search, width, codes, seed))


def _search(queries: Matrix, gallery: Matrix) -> SearchSides:
    return SearchSides(*queries_and_gallery(queries, gallery))


def _best(search: SearchSides) -> Tensor:
    return closest(search.queries, search.gallery, k=1)[:, 0]


def _agreement(before: SearchSides, after: SearchSides) -> float:
    return (_best(before) == _best(after)).double().mean().item()


def _with_noise(search: SearchSides, sigma: float, seed: int) -> SearchSides:
    check_positive("sigma", sigma)
    generator = torch.Generator().manual_seed(seed)
    queries, gallery = (_shaken(side, sigma, generator) for side in search)
    return SearchSides(queries, gallery)


def _shaken(x: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    drawn = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
    lengths: Tensor = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return x + drawn * lengths * (sigma / math.sqrt(x.shape[1]))


def _in_int8(search: SearchSides) -> SearchSides:
    step = search.gallery.abs().amax(dim=1, keepdim=True) / 127
    return SearchSides(search.queries, (search.gallery / step).round() * step)


def _in_codes(search: SearchSides, width: int, codes: int, seed: int) -> SearchSides:
    m, d = search.gallery.shape
    # Zeros fill up the last run: they add nothing to a distance, and are cut off again.
    filled = F.pad(search.gallery, (0, -d % width))
    runs = filled.view(m, -1, width).transpose(0, 1).contiguous()
    start = torch.randperm(m, generator=torch.Generator().manual_seed(seed))[:codes]
    per_chunk = max(1, _ENTRIES // (m * codes))
    decoded = [_quantised(chunk, start) for chunk in torch.split(runs, per_chunk)]
    return SearchSides(search.queries, torch.cat(decoded).transpose(0, 1).reshape(m, -1)[:, :d])


def _quantised(runs: Tensor, start: Tensor) -> Tensor:
    """Each vector replaced by the nearest of the centroids fitted to its run, ``(s, m, width)``.

    Centroids start from the rows ``start``, and one that loses all its vectors stays where it is.
    """
    s, _, width = runs.shape
    # Distances are the same from anywhere, and differ most from each other seen from the middle.
    middle = runs.mean(dim=1, keepdim=True)
    runs = runs - middle
    centroids = runs[:, start]
    for _ in range(5):  # More rounds leave the agreement where it is.
        member = _nearest_centroid(runs, centroids)
        at = (member + len(start) * torch.arange(s)[:, None]).flatten()
        sums = runs.new_zeros(s * len(start), width).index_add_(0, at, runs.flatten(0, 1))
        counts = torch.bincount(at, minlength=len(sums))[:, None]
        means = (sums / counts.clamp(min=1)).view_as(centroids)
        centroids = torch.where(counts.view(s, -1, 1) > 0, means, centroids)
    member = _nearest_centroid(runs, centroids)
    return middle + centroids.gather(1, member[:, :, None].expand(-1, -1, width))


def _nearest_centroid(runs: Tensor, centroids: Tensor) -> Tensor:
    # The largest x·c - c·c / 2 is the smallest distance.
    halves = centroids.square().sum(dim=2)[:, None] / 2
    score = torch.baddbmm(halves, runs, centroids.transpose(1, 2), beta=-1)
    within = PRODUCTS * runs.square().sum(dim=2).amax(dim=1)
    return first_largest(score, within=within[:, None, None])


def _few_rows(m: int, codes: int) -> tuple[str, ...]:
    # Rows that a codebook entry needs to be fitted rather than remembered: the rule of Faiss.
    enough = 39 * codes
    if m >= enough:
        return ()
    return (
        f"codebooks of {codes} centroids fitted to {m} rows partly remember them: product "
        f"quantisation looks better than it is in a large gallery. Take at least {enough} rows.",
    )


def _measure(
    space: Space,
    *,
    change: Callable[[SearchSides, int], SearchSides],
    notes_for: Callable[[int], tuple[str, ...]] = lambda m: (),
) -> Measured:
    """Agreement before and after ``change``, averaged over both searches of a space."""
    sample, rows = space.sample(SAMPLE)
    same = [
        (best[:, 0] == _best(change(search, space.seed))).double()
        for best, search in zip(sample.retrieved, sample.searches, strict=True)
    ]
    value, replicate = mean_of(torch.stack(same).mean(dim=0))
    return Measured(
        value,
        replicate,
        null=Null(1 / sample.n),
        rows=None if sample is space else rows,
        notes=notes_for(sample.n),
    )


_probe = partial(
    Probe,
    family="pathology",
    better="higher",
    needs="search",
    null="unrelated order: one over the gallery size",
    extreme=1.0,
    scale="width",
)

NOISE_AGREEMENT = _probe(
    name="noise_agreement",
    label="Top 1 kept under 10 % noise",
    function=noise_agreement,
    measure=partial(_measure, change=lambda search, seed: _with_noise(search, SIGMA, seed)),
)
INT8_AGREEMENT = _probe(
    name="int8_agreement",
    label="Top 1 kept in int8",
    function=int8_agreement,
    measure=partial(_measure, change=lambda search, seed: _in_int8(search)),
)
PQ_AGREEMENT = _probe(
    name="pq_agreement",
    label="Top 1 kept in PQ, 1 bit per dimension",
    function=pq_agreement,
    measure=partial(
        _measure,
        change=lambda search, seed: _in_codes(search, WIDTH, CODES, seed),
        notes_for=lambda m: _few_rows(m, CODES),
    ),
)
