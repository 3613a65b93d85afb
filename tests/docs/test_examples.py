"""Every public name has an example in its docstring, and it prints what it says."""

from __future__ import annotations

import doctest
import inspect

import pytest

import align
import probes

NAMES = [
    f"{package.__name__}.{name}"
    for package in (align, probes)
    for name in package.__all__
    if callable(getattr(package, name))
]


@pytest.mark.parametrize("full_name", NAMES)
def test_an_example_prints_what_it_says(full_name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    package, name = full_name.split(".")
    text = inspect.getdoc(getattr({"align": align, "probes": probes}[package], name)) or ""
    test = doctest.DocTestParser().get_doctest(text, {}, full_name, None, 0)
    assert test.examples, f"{full_name} needs an example in its docstring"
    said: list[str] = []
    result = doctest.DocTestRunner().run(test, out=said.append)
    assert result.failed == 0, "".join(said)
