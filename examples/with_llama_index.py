"""Captions find pictures in LlamaIndex: an index of image vectors, a retriever, a reranker.

pip install 'isthmus[llama-index]'
python examples/with_llama_index.py
"""

from __future__ import annotations

import tempfile
from io import BytesIO
from pathlib import Path

import flags
from llama_index.core.schema import NodeWithScore, TextNode

from align.integrations.content import by_adapter
from align.integrations.llama_index import AlignedEmbedding, AlignReranker, AlignRetriever


def main() -> None:
    searcher, captions, pictures = flags.picture_retriever()
    embedder = searcher.embedder
    print(f"asked for {captions[7]!r}")

    # An index of ours: hits of pictures come as image nodes.
    retriever = AlignRetriever(searcher, k=3)
    found = retriever.retrieve(captions[7])
    print("retriever:", [(each.node.image_path, round(each.score, 2)) for each in found])

    # One model for captions and pictures.
    model = AlignedEmbedding(embedder)
    data = BytesIO()
    pictures[7].save(data, format="png")
    likeness = model.similarity(
        model.get_query_embedding(captions[7]), model.get_image_embedding(data)
    )
    print(f"caption and picture: {likeness:.2f}")

    # Candidates of any first stage, in the order of the adapter; pictures are read from files.
    with tempfile.TemporaryDirectory() as folder:
        for row in range(5, 10):
            pictures[row].save(Path(folder, f"{row}.png"))
        nodes = [NodeWithScore(node=TextNode(text=f"{row}.png")) for row in range(5, 10)]
        reranker = AlignReranker(
            rescore=by_adapter(embedder),
            item=lambda node: flags.Image.open(Path(folder, node.text)),
            top_n=2,
        )
        best = reranker.postprocess_nodes(nodes, query_str=captions[7])
    print("reranked:", [each.node.text for each in best])


if __name__ == "__main__":
    main()
