"""What an integration says where its package is missing; needs none of the packages."""

import importlib
import re
import sys
import tomllib
from pathlib import Path

import pytest

# Each module with its package.
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


def extra_of(name):
    return name.replace("_", "-")


@pytest.mark.parametrize(("name", "package"), PACKAGES.items())
def test_a_missing_package_is_named_with_the_extra_that_brings_it(name, package, monkeypatch):
    for loaded in [package, *(each for each in sys.modules if each.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, loaded, None)
    monkeypatch.delitem(sys.modules, f"align.integrations.{name}", raising=False)
    said = rf"packages of isthmus\[{extra_of(name)}\].*{package}"
    with pytest.raises(ImportError, match=said):
        importlib.import_module(f"align.integrations.{name}")


def test_every_integration_has_an_extra_and_one_extra_has_them_all():
    project = Path(__file__).parents[2] / "pyproject.toml"
    extras = tomllib.loads(project.read_text())["project"]["optional-dependencies"]
    [everything] = extras["integrations"]
    assert re.fullmatch(r"isthmus\[(.*)\]", everything)[1].split(",") == sorted(
        extra_of(name) for name in PACKAGES
    )
    assert set(map(extra_of, PACKAGES)) <= set(extras)
