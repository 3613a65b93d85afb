"""Captions find pictures in LangChain: embeddings, a retriever, a chain with a reranker.

pip install 'isthmus[langchain]'
python examples/with_langchain.py
"""

from __future__ import annotations

import flags
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda
from langchain_core.vectorstores import InMemoryVectorStore

from align.integrations.content import by_adapter
from align.integrations.langchain import AlignedEmbeddings, AlignReranker, AlignRetriever


def main() -> None:
    searcher, captions, pictures = flags.picture_retriever()
    embedder = searcher.embedder

    # An index of ours, in a chain.
    retriever = AlignRetriever(searcher=searcher, k=3)
    chain = retriever | RunnableLambda(lambda found: [each.metadata["path"] for each in found])
    print(f"asked for {captions[7]!r}")
    print("retriever:", chain.invoke(captions[7]))

    # The other way round: pictures are what is asked with, captions fill LangChain's own store.
    store = InMemoryVectorStore(AlignedEmbeddings(embedder, documents="source"))
    store.add_texts(captions)
    asked = embedder.queries([pictures[7]], side="target")[0].tolist()
    [caption] = store.similarity_search_by_vector(asked, k=1)
    print("the picture's caption:", caption.page_content)

    # Candidates of any first stage, in the order of the adapter.
    candidates = [Document(f"flag-{row}", metadata={"row": row}) for row in range(5, 10)]
    reranker = AlignReranker(
        rescore=by_adapter(embedder), item=lambda found: pictures[found.metadata["row"]], top_n=2
    )
    best = reranker.compress_documents(candidates, captions[7])
    print("reranked:", [each.page_content for each in best])


if __name__ == "__main__":
    main()
