"""FAISS as what chooses candidates for exact scoring, and as an index to be wrapped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from align._checks import check_k
from align.data.multi_vector import MultiVector
from align.integrations.answers import Floats, check_unit_norm
from align.integrations.extras import extra
from align.scoring.topk import Neighbours

with extra("faiss"):
    import faiss

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class FaissStage:
    """Inner products of first vectors in a FAISS index, whose row ``i`` is document ``i``."""

    index: Any

    def __len__(self) -> int:
        return int(self.index.ntotal)

    def __call__(self, queries: MultiVector, n: int) -> Neighbours:
        """The ``n`` documents that look best to each query, by the first vector of each.

        Documents that the index did not look at fill up the end, lowest rows first, with a score
        of minus infinity: scored exactly afterwards, they cannot make a result worse.

        Raises:
            ValueError: ``n`` is out of range, or the queries are of another width.
        """
        check_k(n, len(self), name="n", of="the number of documents")
        vectors = _first_vectors(queries)
        _check_width(self.index, vectors)
        scores, rows = self.index.search(vectors, n)
        for query in np.flatnonzero(rows[:, -1] < 0):  # FAISS puts -1 where it finds fewer
            missing = rows[query] < 0
            others = np.setdiff1d(np.arange(len(self)), rows[query][~missing])
            rows[query, missing] = others[: int(missing.sum())]
            scores[query, missing] = -np.inf
        return Neighbours(torch.from_numpy(scores), torch.from_numpy(rows))

    def flops(self, queries: MultiVector) -> int:
        """Floating-point operations if every document were looked at: FAISS does not say."""
        return 2 * len(queries) * len(self) * int(self.index.d)


def faiss_stage(factory: str, *, settings: str = "") -> Callable[[MultiVector], FaissStage]:
    """What makes a first stage of documents, for ``cascade`` and ``align.Index``.

    FAISS itself refuses strings that it cannot read, and documents that are too few to train on.

    Args:
        factory: A FAISS index factory string, such as ``"HNSW32"`` or ``"IVF256,PQ16"``. Kinds
            that learn are trained on the documents, all of them.
        settings: Search settings as FAISS writes them, such as ``"nprobe=16"`` or
            ``"efSearch=64"``; those of FAISS if left out.
    """

    def stage(documents: MultiVector) -> FaissStage:
        vectors = _first_vectors(documents)
        index = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
        index.train(vectors)
        index.add(vectors)
        if settings:
            space: Any = faiss.ParameterSpace()  # typed by its C++ overload, which takes numbers
            space.set_index_parameters(index, settings)
        return FaissStage(index)

    return stage


def faiss_search(index: Any) -> Callable[[Floats, int], tuple[Rows, Floats]]:
    """A search over a FAISS index of one's own, for ``align.wrap``.

    Args:
        index: By inner product, of any kind; ids are those of the index. Or by L2, over stored
            vectors of unit norm: the score is then their inner product, which ranks the same.

    Returns:
        Query vectors ``(q, d)`` and ``k`` in; ids and scores out, both ``(q, k)``, and -1 as the
        id where FAISS finds fewer.

    Raises:
        ValueError: The index is of another metric; later, the queries are of another width, or
            not of unit norm where the index is by L2.
    """
    if index.metric_type not in (faiss.METRIC_INNER_PRODUCT, faiss.METRIC_L2):
        raise ValueError(
            "a FAISS index must rank by inner product or L2 to be searched across sides; got "
            f"metric {index.metric_type}. Build it with faiss.METRIC_INNER_PRODUCT."
        )
    by_distance = index.metric_type == faiss.METRIC_L2

    def search(vectors: Floats, k: int) -> tuple[Rows, Floats]:
        _check_width(index, vectors)
        if by_distance:
            check_unit_norm(vectors, space="L2 distance")
        values, ids = index.search(np.ascontiguousarray(vectors, dtype=np.float32), k)
        # Squared distances of unit vectors.
        return ids, 1 - values / 2 if by_distance else values

    return search


def _first_vectors(items: MultiVector) -> Floats:
    return np.ascontiguousarray(items.prefix(1).to(dtype=torch.float32).tokens.numpy())


def _check_width(index: Any, vectors: Floats) -> None:
    if vectors.shape[1] != index.d:
        raise ValueError(
            f"queries must have width {index.d}, that of the vectors in the FAISS index; got "
            f"{vectors.shape[1]}. Index gallery vectors of the adapter that maps the queries."
        )
