"""What each late-interaction kernel means, as plainly as PyTorch can say it. Slow on purpose."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from align.data.multi_vector import MultiVector

Reduction = Literal["sum", "mean"]


def maxsim(queries: MultiVector, documents: MultiVector, *, reduction: Reduction = "sum") -> Tensor:
    """Late-interaction score: each query token's best match, summed over query tokens.

    ``s(q, c) = sum_i max_j <q_i, c_j>``. The gradient of a maximum goes to the first document token
    that attains it.

    Args:
        queries: ``q`` packed queries of width ``d``.
        documents: ``m`` packed documents of width ``d``, on the same device.
        reduction: ``"sum"``, or ``"mean"`` over the tokens of each query.

    Returns:
        Scores, ``(q, m)`` float32; float64 if both sides are. Inputs of other dtypes count as what
        they stand for, int8 tokens scaled, and products are summed in the dtype of the result.

    Reference:
        Khattab and Zaharia 2020, arXiv:2004.12832, eq. 3.
    """
    wide = score_dtype(queries, documents)
    queries, documents = queries.to(dtype=wide), documents.to(dtype=wide)
    scores = queries.tokens.new_empty(len(queries), len(documents))
    rows = [
        [(query @ document.T).max(dim=1).values.sum() for document in documents]
        for query in queries
    ]
    if scores.numel():
        scores = torch.stack([torch.stack(row) for row in rows])
    return scores if reduction == "sum" else scores / queries.lengths[:, None]


def score_dtype(queries: MultiVector, documents: MultiVector) -> torch.dtype:
    """float64 where both sides are float64, else float32."""
    both = {queries.tokens.dtype, documents.tokens.dtype}
    return torch.float64 if both == {torch.float64} else torch.float32
