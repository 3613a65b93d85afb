"""What an integration says where its package is missing; needs none of the packages."""

import importlib
import sys

import pytest

MODULES = {
    "langchain": ("langchain", "langchain_core"),
    "llama_index": ("llama-index", "llama_index"),
    "haystack": ("haystack", "haystack"),
    "datasets": ("datasets", "datasets"),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_missing_package_is_named_with_the_extra_that_brings_it(name, monkeypatch):
    extra, package = MODULES[name]
    for loaded in [package, *(each for each in sys.modules if each.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, loaded, None)
    monkeypatch.delitem(sys.modules, f"align.integrations.{name}", raising=False)
    with pytest.raises(ImportError, match=rf"packages of isthmus\[{extra}\].*{package}"):
        importlib.import_module(f"align.integrations.{name}")
