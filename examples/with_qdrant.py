"""Pictures in Qdrant, found by captions; and candidates scored anew by MaxSim inside Qdrant.

pip install 'isthmus[qdrant]'
python examples/with_qdrant.py
"""

from __future__ import annotations

import torch
from flags import PICTURES, TEXTS, fitted, share_found
from qdrant_client import QdrantClient

import align
from align.integrations.qdrant import create_gallery, qdrant_search, rescored_search


def search_pictures(client: QdrantClient) -> None:
    """Pictures lie in a collection; captions ask."""
    adapter, captions, pictures = fitted()
    create_gallery(client, "pictures", captions, adapter.gallery(PICTURES.encode(pictures)))
    search = qdrant_search(client, "pictures", using="dense", id_field="id")
    retriever = align.wrap(search, adapter, TEXTS)
    recall = share_found(retriever.search(captions, k=5), captions)
    print(f"{len(captions)} captions, {len(pictures)} pictures: recall@5 {recall:.2f}")


def rescore_pages(client: QdrantClient) -> None:
    """Items of one and of four vectors: the one puts 50 of 500 forward, the four rank them."""
    rng = torch.Generator().manual_seed(0)
    one = torch.nn.functional.normalize(torch.randn(500, 16, generator=rng), dim=1)
    around = 0.3 * torch.randn(500, 4, 16, generator=rng)
    several = align.MultiVector.from_equal(one[:, None] + around)
    ids = [f"page {row}" for row in range(500)]
    create_gallery(client, "pages", ids, one, tokens=several)
    hits = rescored_search(client, "pages", one[:20], several[:20], k=5, candidates=50)
    ours = align.cascade(
        several[:20],
        several,
        5,
        candidates=50,
        first=align.first_stage(align.MultiVector.from_equal(one[:, None])),
    )
    print("best page of page 7:", hits[7][0].id, f"{hits[7][0].score:.3f}")
    print("best page by our own cascade:", ids[int(ours.indices[7, 0])], f"{ours.values[7, 0]:.3f}")


if __name__ == "__main__":
    local = QdrantClient(":memory:")
    search_pictures(local)
    rescore_pages(local)
    local.close()
