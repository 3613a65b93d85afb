"""The suites by which LangChain judges embeddings and retrievers."""

import pytest

import align
from tests.integrations import world

pytest.importorskip("langchain_core", reason="needs isthmus[langchain]")
pytest.importorskip("langchain_tests", reason="needs langchain-tests, of isthmus[contracts]")

import torch
from langchain_tests.integration_tests import EmbeddingsIntegrationTests, RetrieversIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

from align.integrations.langchain import AlignedEmbeddings, AlignRetriever


def letters(width):
    def encode(texts):
        return torch.tensor(
            [[text.count(chr(97 + i)) + 0.1 for i in range(width)] for text in texts]
        )

    return align.CallableEncoder(encode, name=f"letters {width}", dim=width)


class OurEmbeddings:
    embeddings_class = AlignedEmbeddings

    @property
    def embedding_model_params(self):
        embedder = align.Embedder(world.corrected_adapter(), source=letters(12), target=letters(9))
        return {"embedder": embedder}


class TestUnits(OurEmbeddings, EmbeddingsUnitTests):
    pass


class TestEmbeddings(OurEmbeddings, EmbeddingsIntegrationTests):
    pass


class TestRetriever(RetrieversIntegrationTests):
    retriever_constructor = AlignRetriever
    retriever_query_example = "question 3"

    @property
    def retriever_constructor_params(self):
        return {"searcher": world.plain_retriever()}
