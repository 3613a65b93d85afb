"""What an integration says where its package is missing; needs none of the packages."""

import importlib
import sys

import pytest

MODULES = {
    "bm25": "bm25s",
    "faiss": "faiss",
    "qdrant": "qdrant_client",
    "chroma": "chromadb",
    "lancedb": "lancedb",
    "mteb": "mteb",
}


@pytest.mark.parametrize(("name", "package"), MODULES.items())
def test_a_missing_package_is_named_with_the_extra_that_brings_it(name, package, monkeypatch):
    for loaded in [package, *(name for name in sys.modules if name.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, loaded, None)
    monkeypatch.delitem(sys.modules, f"align.integrations.{name}", raising=False)
    with pytest.raises(ImportError, match=rf"needs the packages of isthmus\[{name}\].*{package}"):
        importlib.import_module(f"align.integrations.{name}")
