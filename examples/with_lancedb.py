"""Pictures in LanceDB, found by captions; and items of several vectors, ranked by MaxSim.

pip install 'isthmus[lancedb]'
python examples/with_lancedb.py
"""

from __future__ import annotations

import tempfile

import lancedb
import torch
from flags import PICTURES, TEXTS, fitted, share_found

import align
from align.integrations.lancedb import create_gallery, lancedb_search, maxsim_search


def search_pictures(database: lancedb.DBConnection) -> None:
    """Pictures lie in a table; captions ask."""
    adapter, captions, pictures = fitted()
    vectors = adapter.gallery(PICTURES.encode(pictures))
    table = create_gallery(database, "pictures", captions, vectors)
    retriever = align.wrap(lancedb_search(table), adapter, TEXTS)
    recall = share_found(retriever.search(captions, k=5), captions)
    print(f"{len(captions)} captions, {len(pictures)} pictures: recall@5 {recall:.2f}")


def search_pages(database: lancedb.DBConnection) -> None:
    """Five hundred pages of four vectors each, by MaxSim inside LanceDB and by our own."""
    rng = torch.Generator().manual_seed(0)
    pages = align.MultiVector.from_equal(torch.randn(500, 4, 16, generator=rng))
    first = torch.stack([page[0] for page in pages])
    ids = [f"page {row}" for row in range(500)]
    table = create_gallery(
        database,
        "pages",
        ids,
        first,
        tokens=pages,
        metadata={"chapter": [r // 50 for r in range(500)]},
    )
    [hits] = maxsim_search(table, pages[7:8], k=2)
    ours = align.topk(pages[7:8], pages, 2)
    print(f"LanceDB: {hits[0].id} of chapter {hits[0].metadata['chapter']}, {hits[0].score:.3f}")
    print(f"our own: {ids[int(ours.indices[0, 0])]}, {ours.values[0, 0]:.3f}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        search_pictures(lancedb.connect(folder))
        search_pages(lancedb.connect(folder))
