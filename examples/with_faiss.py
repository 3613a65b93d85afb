"""A FAISS index searched from the other side, and FAISS as the first stage of an exact search.

pip install 'isthmus[faiss]'
python examples/with_faiss.py
"""

from __future__ import annotations

import faiss
import torch
from flags import PICTURES, TEXTS, fitted

import align
from align.integrations.faiss import faiss_search, faiss_stage


def search_pictures() -> None:
    """Pictures lie in an index of one's own; captions ask."""
    adapter, captions, pictures = fitted()
    index = faiss.IndexFlatIP(adapter.d_search)
    index.add(adapter.gallery(PICTURES.encode(pictures)).numpy())
    # align.wrap takes such a search and gives a retriever; these are the steps it takes.
    search = faiss_search(index)
    rows, _ = search(adapter.queries(TEXTS.encode(captions)).numpy(), 5)
    own = torch.arange(len(captions))[:, None]
    found = (torch.from_numpy(rows) == own).any(dim=1).float().mean()
    print(f"{len(captions)} captions, {len(pictures)} pictures: recall@5 {found:.2f}")


def choose_candidates() -> None:
    """Of 5,000 items with 4 vectors each, FAISS puts some forward and MaxSim ranks those."""
    rng = torch.Generator().manual_seed(0)
    first = torch.nn.functional.normalize(torch.randn(5000, 1, 32, generator=rng), dim=2)
    tokens = first + 0.1 * torch.randn(5000, 4, 32, generator=rng)
    documents = align.MultiVector.from_equal(torch.cat([first, tokens], dim=1))
    asked = documents.take(torch.arange(0, 5000, 50))
    queries = align.MultiVector(asked.tokens + 0.1, asked.offsets)
    exact = align.topk(queries, documents, 10)
    for factory, settings in (("HNSW32", ""), ("IVF64,SQ8", "nprobe=16")):
        stage = faiss_stage(factory, settings=settings)(documents)
        found = align.cascade(queries, documents, 10, candidates=200, first=stage)
        same = (found.indices[:, :, None] == exact.indices[:, None]).any(dim=2).float().mean()
        print(f"{factory:10} 200 of 5000 scored exactly: {same:.2f} of the exact top ten found")


if __name__ == "__main__":
    search_pictures()
    choose_candidates()
