"""Random documents, and the check of an index against the reference."""

from itertools import pairwise

import torch
import torch.nn.functional as F

from align.data.multi_vector import MultiVector
from align.retrieval.index.index import Index
from align.scoring.kernels import reference

DTYPES = ("float32", "float16", "bfloat16", "int8")


def ragged(count, rng, d=8, low=1, high=9):
    lengths = torch.randint(low, high + 1, (count,), generator=rng).tolist()
    return MultiVector.pack(
        [F.normalize(torch.randn(length, d, generator=rng), dim=1) for length in lengths]
    )


def names(count, start=0):
    return [f"item {i}" for i in range(start, start + count)]


def as_stored(documents, dtype):
    """What the index holds of documents, in float32."""
    if dtype == "int8":
        return documents.quantized().to(dtype=torch.float32)
    return documents.to(dtype=getattr(torch, dtype)).to(dtype=torch.float32)


def check_search(index, documents, queries, k, ids=None, **options):
    """The hits are those of the reference over all ``documents`` at once."""
    ids = ids or names(len(documents))
    budget = options.get("budget")
    if budget is not None:
        queries_cut, documents = queries.prefix(budget[0]), documents.prefix(budget[1])
    else:
        queries_cut = queries
    hits = index.search(queries, k=k, **options)
    best = reference.maxsim(queries_cut, documents).topk(k, dim=1)
    assert [[hit.id for hit in row] for row in hits] == [
        [ids[place] for place in row] for row in best.indices.tolist()
    ]
    scores = torch.tensor([[hit.score for hit in row] for row in hits])
    torch.testing.assert_close(scores, best.values)


def saved(path, documents, *, dtype="float32", parts=(0.3, 0.6)):
    """An index that was saved after each of three parts."""
    index = Index.create(path, dtype=dtype)
    n = len(documents)
    ends = [0, *(int(part * n) for part in parts), n]
    for start, stop in pairwise(ends):
        index.add(names(stop - start, start), documents[start:stop])
        index.save()
    return index
