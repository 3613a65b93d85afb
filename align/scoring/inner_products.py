"""Inner products of a block of queries with gallery rows, such that equal rows score equally."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# Gallery rows are padded to a multiple of this; matrix products work in tiles that divide it.
_TILE = 64

# Rows at the end of a large gallery that are multiplied again where it does not end with a tile,
# since a padded copy of the gallery would cost more.
_TAIL = 16 * _TILE

# Rows that start alike in a line of the cache are summed in one order by float32 products of every
# size and layout that were tried; others are not.
_LINE_BYTES = 64

# Up to so many queries, libraries are made for products that are tall and narrow: measured two to
# six times faster than wide and flat.
_FEW = 8

_SHARED_BYTES = 2**23  # a gallery of so many bytes is read by several threads


def check_scorable(queries: Tensor, gallery: Tensor) -> None:
    """Raise ``ValueError`` unless both are floating-point matrices of one width and dtype."""
    if (
        queries.ndim != 2
        or gallery.ndim != 2
        or queries.shape[1] != gallery.shape[1]
        or queries.dtype != gallery.dtype
        or not queries.is_floating_point()
    ):
        raise ValueError(
            "queries and gallery must be floating-point matrices (q, d) and (m, d) of one dtype; "
            f"got {tuple(queries.shape)} {queries.dtype} and {tuple(gallery.shape)} "
            f"{gallery.dtype}. Map both sides into the shared space with one adapter first."
        )


def inner_products(queries: Tensor, gallery: Tensor) -> Tensor:
    """Inner product of each query with each gallery row; meant for blocks.

    Two gallery rows that are equal get scores that are equal to the last bit, so a tie is a tie.
    A plain matrix product does not promise this: the columns left over after the last full tile
    may be summed in another order. So zero rows fill up the last tile and are cut off again,
    or the last rows are multiplied in a product of their own that ends with a tile.

    ``queries`` ``(q, d)`` and ``gallery`` ``(m, d)`` give ``(q, m)``, all of one dtype and device.

    Raises:
        ValueError: A score is NaN or infinite, so that an order of the gallery does not exist.
    """
    m = len(gallery)
    over = m % _TILE
    if _is_one_on_cpu(queries):
        scores = _dots(queries[0], gallery)[None]
    elif not over:
        scores = _product(queries, gallery)
    elif m > _TAIL and _starts_alike(gallery):
        tail = _product(queries, gallery[m - _TAIL :])[:, _TAIL - over :]
        scores = torch.cat([_product(queries, gallery[: m - over]), tail], dim=1)
    else:
        scores = _product(queries, F.pad(gallery, (0, 0, 0, _TILE - over)))[:, :m]
    check_finite(scores)
    return scores


def mutual_products(x: Tensor, y: Tensor) -> Tensor:
    """``inner_products`` of ``x`` ``(q, d)`` with ``y`` ``(m, d)`` that serve both directions.

    Equal rows of either side get equal scores: ``y`` may be ranked for each ``x`` and ``x`` for
    each ``y`` by one product, ``(q, m)``.
    """
    return inner_products(F.pad(x, (0, 0, 0, -len(x) % _TILE)), y)[: len(x)]


def check_finite(scores: Tensor, what: str = "queries and gallery") -> None:
    """Raise ``ValueError`` where a score is NaN or infinite, so that an order does not exist."""
    if scores.numel():
        low, high = (float(bound) for bound in scores.detach().aminmax())
        if not (abs(low) < float("inf") and abs(high) < float("inf")):
            raise ValueError(
                f"scores must be finite; they span [{low}, {high}]. Look for NaN or "
                f"infinity in {what}, or for values so large that they overflow."
            )


def _starts_alike(gallery: Tensor) -> bool:
    return gallery.dtype == torch.float32 and gallery.stride(0) * 4 % _LINE_BYTES == 0


def _is_one_on_cpu(queries: Tensor) -> bool:
    plain = queries.device.type == "cpu" and not queries.requires_grad
    return len(queries) == 1 and plain and queries.dtype in (torch.float32, torch.float64)


def _dots(query: Tensor, gallery: Tensor) -> Tensor:
    """Inner product of one query with each row, row after row: nothing depends on where one lies.

    Memory is the limit here, which a product of a matrix with a vector was measured to miss by
    two to five times.
    """
    rows, vector = gallery.detach().numpy(), query.numpy()
    scores = np.empty(len(rows), dtype=rows.dtype)

    def fill(part: slice) -> None:
        # A score that overflows is refused by the caller, so that NumPy need not warn of it.
        with np.errstate(over="ignore", invalid="ignore"):
            np.vecdot(rows[part], vector, out=scores[part])

    threads = torch.get_num_threads() if gallery.nbytes >= _SHARED_BYTES else 1
    if threads == 1:
        fill(slice(None))
    else:
        step = -(-len(rows) // threads)
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(fill, [slice(at, at + step) for at in range(0, len(rows), step)]))
    return torch.from_numpy(scores)


def _product(queries: Tensor, gallery: Tensor) -> Tensor:
    if len(queries) > _FEW or not _starts_alike(gallery):
        return queries @ gallery.T
    return (gallery @ queries.T).T.contiguous()
