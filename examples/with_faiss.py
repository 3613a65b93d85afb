"""A FAISS index searched from the other side, and FAISS as the first stage of an exact search.

pip install 'isthmus[faiss]'
python examples/with_faiss.py
"""

from __future__ import annotations

import faiss
import torch
from flags import PICTURES, TEXTS, fitted, share_found

import align
from align.integrations.faiss import faiss_search, faiss_stage


def search_pictures() -> None:
    """Pictures lie in an index of one's own; captions ask."""
    adapter, captions, pictures = fitted()
    index = faiss.IndexFlatIP(adapter.d_search)
    index.add(adapter.gallery(PICTURES.encode(pictures)).numpy())
    retriever = align.wrap(faiss_search(index), adapter, TEXTS)
    recall = share_found(retriever.search(captions, k=5), range(len(captions)))
    print(f"{len(captions)} captions, {len(pictures)} pictures: recall@5 {recall:.2f}")


def choose_candidates() -> None:
    """Of 5,000 items with 5 vectors each, FAISS puts some forward and MaxSim ranks those."""
    rng = torch.Generator().manual_seed(0)
    first = torch.nn.functional.normalize(torch.randn(5000, 1, 32, generator=rng), dim=2)
    tokens = first + 0.1 * torch.randn(5000, 4, 32, generator=rng)
    documents = align.MultiVector.from_equal(torch.cat([first, tokens], dim=1))
    asked = documents.take(torch.arange(0, 5000, 50))
    queries = align.MultiVector(asked.tokens + 0.1, asked.offsets)
    index = align.Index.create("pages-index")  # written by index.save() only
    index.add([f"page {row}" for row in range(len(documents))], documents)
    exact = index.search(queries, k=10)
    for factory, settings in (("HNSW32", ""), ("IVF64,SQ8", "nprobe=16")):
        # The FAISS index is built at the first search with it, and kept for the next.
        stage = faiss_stage(factory, settings=settings)
        found = index.search(queries, k=10, candidates=200, first=stage)
        right = [{hit.id for hit in hits} for hits in exact]
        same = [hit.id in ids for hits, ids in zip(found, right, strict=True) for hit in hits]
        share = sum(same) / len(same)
        print(f"{factory:10} 200 of 5000 scored exactly: {share:.2f} of the exact top ten found")


if __name__ == "__main__":
    search_pictures()
    choose_candidates()
