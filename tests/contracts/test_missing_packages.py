"""What an integration says where its package is missing; needs none of the packages."""

import importlib
import sys

import pytest

# Each module with its package; its extra has the same name, with a hyphen for an underscore.
PACKAGES = {
    "bm25": "bm25s",
    "chroma": "chromadb",
    "datasets": "datasets",
    "faiss": "faiss",
    "haystack": "haystack",
    "lancedb": "lancedb",
    "langchain": "langchain_core",
    "llama_index": "llama_index",
    "mteb": "mteb",
    "qdrant": "qdrant_client",
}


@pytest.mark.parametrize(("name", "package"), PACKAGES.items())
def test_a_missing_package_is_named_with_the_extra_that_brings_it(name, package, monkeypatch):
    for loaded in [package, *(each for each in sys.modules if each.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, loaded, None)
    monkeypatch.delitem(sys.modules, f"align.integrations.{name}", raising=False)
    extra = name.replace("_", "-")
    with pytest.raises(ImportError, match=rf"packages of isthmus\[{extra}\].*{package}"):
        importlib.import_module(f"align.integrations.{name}")
